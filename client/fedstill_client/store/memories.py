"""Texts that their owner asks for again, each with the vector that finds it, in the private store's database.

They are no examples: nothing learns from them, no retention takes them away, and no message has them. They
end when their owner says so, or forgets all examples, or those from before a time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from fedstill_proto.arrays import FloatArray
from fedstill_proto.errors import InvalidValue

from fedstill_client.memory_types import KeptMemory
from fedstill_client.model.student_store import DeviceStoreError
from fedstill_client.store.database import Database
from fedstill_client.store.erasing import Erasing

_TABLE = (
    "CREATE TABLE IF NOT EXISTS memories ("
    "id INTEGER PRIMARY KEY AUTOINCREMENT, "  # never given twice
    "text TEXT NOT NULL, label TEXT NOT NULL, source TEXT NOT NULL, "
    "kept_at REAL NOT NULL, "  # seconds since 1970
    "embedder TEXT NOT NULL, vector BLOB NOT NULL)"  # float32, of length 1
)
_COLUMNS = ("text", "label", "source", "vector")
_LIMITS, _VERSION, _ERASING = "memory limits", "memories version", "erasing memories"


@dataclass(frozen=True, kw_only=True)
class MemoryLimits:
    """How much is kept; where there is no room, nothing new is, and nothing goes away by itself."""

    most: int = 10_000
    max_bytes: int = 64 << 20

    def __post_init__(self) -> None:
        for name in ("most", "max_bytes"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 1 << 40:
                raise InvalidValue(name, f"{value!r} is not a whole number of 1 or more")


@dataclass(frozen=True, eq=False)
class StoredMemories:
    """Memories in the order in which they were kept, with what finds them.

    Attributes:
        memories: The texts.
        embedders: What made each vector (see memory/embedder.py).
        vectors: One of each, float32 [width].
    """

    memories: tuple[KeptMemory, ...]
    embedders: tuple[str, ...]
    vectors: tuple[FloatArray, ...]


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """Which memories are to be erased: up to an id, and of those the ones that are named, if any are."""

    up_to: int
    ids: tuple[int, ...] | None = None
    source: str | None = None
    before: float | None = None

    @property
    def where(self) -> str:
        if self.ids is not None:
            return "id <= ? AND id IN (SELECT value FROM json_each(?))"
        if self.source is not None:
            return "id <= ? AND source = ?"
        return "id <= ?" if self.before is None else "id <= ? AND kept_at < ?"

    @property
    def values(self) -> tuple[Any, ...]:
        if self.ids is not None:
            return self.up_to, json.dumps(self.ids)
        if self.source is not None:
            return self.up_to, self.source
        return (self.up_to,) if self.before is None else (self.up_to, self.before)


class MemoryTable:
    """The memories of a private store; each method raises DeviceStoreError where it cannot read or write.

    Args:
        database: The store's.
        with_reserve: Does something with the room that is set aside, where the disk is full.
    """

    def __init__(self, database: Database, *, with_reserve: Callable[[Callable[[], None]], None]) -> None:
        self._database, self._with_reserve = database, with_reserve

    @property
    def version(self) -> int:
        """Another number after each change."""
        return int(self._setting(_VERSION) or 0)

    @property
    def limits(self) -> MemoryLimits:
        """How much is kept."""
        text = self._setting(_LIMITS)
        return MemoryLimits() if text is None else MemoryLimits(**json.loads(text))

    @limits.setter
    def limits(self, limits: MemoryLimits) -> None:
        with self._database.transaction():
            self._put_setting(_LIMITS, json.dumps(vars(limits)))

    def add(self, memories: Sequence[KeptMemory], vectors: FloatArray, embedder: str) -> tuple[int, ...]:
        """Keep texts with their vectors [n, width], all or none; gives their ids. Their own ids say nothing.

        Raises:
            InvalidValue: There is no room for them.
        """
        with self._database.transaction():
            self._database.execute(_TABLE)
            ids = tuple(
                int(
                    self._database.execute(
                        "INSERT INTO memories (text, label, source, kept_at, embedder, vector) "
                        "VALUES (?, ?, ?, ?, ?, ?)",
                        (one.text, one.label, one.source, one.kept_at, embedder, _packed(vector)),
                    ).lastrowid
                )
                for one, vector in zip(memories, vectors, strict=True)
            )
            self._check_room()
            self._change_version()
        return ids

    def read(self) -> StoredMemories:
        """All of them, the oldest first."""
        rows = self._rows(
            "SELECT id, text, label, source, kept_at, embedder, vector FROM memories ORDER BY id"
        )
        kept = tuple(
            KeptMemory(int(number), str(text), str(label), str(source), float(at))
            for number, text, label, source, at, _, _ in rows
        )
        try:
            vectors = tuple(np.frombuffer(row[6], "<f4") for row in rows)
        except (TypeError, ValueError):
            raise DeviceStoreError(
                f"{self._database.file}: a memory is damaged; run: fedstill-agent memory forget --everything"
            ) from None
        return StoredMemories(kept, tuple(str(row[5]) for row in rows), vectors)

    def put_vectors(self, ids: Sequence[int], vectors: FloatArray, embedder: str) -> None:
        """Find memories by other vectors [n, width] from now on; those that were erased stay so."""
        with self._database.transaction():
            for number, vector in zip(ids, vectors, strict=True):
                self._database.execute(
                    "UPDATE memories SET vector = ?, embedder = ? WHERE id = ?",
                    (_packed(vector), embedder, number),
                )
            self._change_version()

    def count(self) -> tuple[int, int]:
        """How many there are, and how many bytes they take."""
        sizes = " + ".join(f"LENGTH(CAST({column} AS BLOB))" for column in _COLUMNS)
        rows = self._rows(f"SELECT COUNT(*), SUM({sizes}) FROM memories")
        return (int(rows[0][0]), int(rows[0][1] or 0)) if rows else (0, 0)

    def forget(
        self, *, ids: Sequence[int] | None = None, source: str | None = None, everything: bool = False
    ) -> int:
        """Erase memories, from the disk too; gives how many. Whoever is killed: the next to open goes on.

        Raises:
            InvalidValue: Not exactly one of the three is given.
        """
        if (ids is not None) + (source is not None) + everything != 1:
            raise InvalidValue("forget", "name memories by ids, by source, or say everything: one of them")
        if not self._is_there():
            return 0
        wanted = _Wanted(up_to=self._last(), ids=None if ids is None else tuple(ids), source=source)
        found = self._rows(f"SELECT COUNT(*) FROM memories WHERE {wanted.where}", wanted.values)[0][0]
        self._with_reserve(lambda: self._note(wanted))
        self.finish_erasing()
        return int(found)

    def note_forgetting(self, *, before: float | None) -> None:
        """Write down, within a transaction, that memories of before a time, or all, are to be erased."""
        if self._is_there():
            wanted = _Wanted(up_to=self._last(), before=before)
            self._put_setting(_ERASING, json.dumps(vars(wanted)))

    def erase(self, erasing: Erasing) -> None:
        """Erase what was written down; not within a transaction. `finish_erasing` does so, and more."""
        text = self._setting(_ERASING)
        if text is None:
            return
        wanted = _Wanted(**json.loads(text))
        erasing.delete("memories", _COLUMNS, wanted.where, wanted.values)
        with self._database.transaction():
            self._database.execute("DELETE FROM settings WHERE name = ?", (_ERASING,))
            self._change_version()

    def finish_erasing(self) -> None:
        """Leave no byte of what is to be erased in the database's files."""
        if self._setting(_ERASING) is not None:
            self._with_reserve(lambda: self.erase(Erasing(self._database)))
            self._database.erase_deleted()

    def _note(self, wanted: _Wanted) -> None:
        with self._database.transaction():
            self._put_setting(_ERASING, json.dumps(vars(wanted)))

    def _check_room(self) -> None:
        limits, (many, size) = self.limits, self.count()
        if many > limits.most or size > limits.max_bytes:
            raise InvalidValue(
                "memories",
                f"{many} of {size} bytes with those that are there; {limits.most} of {limits.max_bytes} "
                "bytes at most are kept, and nothing was changed: forget some first",
            )

    def _last(self) -> int:
        return int(self._rows("SELECT MAX(id) FROM memories")[0][0] or 0)

    def _change_version(self) -> None:
        self._put_setting(_VERSION, str(self.version + 1))

    def _rows(self, question: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        return self._database.rows(question, values) if self._is_there() else []

    def _is_there(self) -> bool:
        return bool(self._database.rows("SELECT 1 FROM sqlite_master WHERE name = 'memories'"))

    def _setting(self, name: str) -> str | None:
        value = self._database.value("SELECT value FROM settings WHERE name = ?", (name,))
        return None if value is None else str(value)

    def _put_setting(self, name: str, value: str) -> None:
        self._database.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, value))


def _packed(vector: FloatArray) -> bytes:
    return np.ascontiguousarray(vector, "<f4").tobytes()

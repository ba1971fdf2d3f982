"""The owner's word on words: a personal dictionary, and those that are blocked, in the private store.

A word is found by its key (fedstill_proto.text.vocabulary.normal); how it is written stands beside it.
"""

from __future__ import annotations

from collections.abc import Iterable

from fedstill_proto.errors import InvalidValue
from fedstill_proto.text.vocabulary import normal

from fedstill_client.agent_types import OwnWord
from fedstill_client.store.database import Database

IMPORTED_LIMIT, BLOCKED_LIMIT = 50_000, 10_000  # words
_VERSION = "words version"


class WordTable:
    """The imported and the blocked words; what changes them is called within a transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def version(self) -> int:
        """Another number after each change."""
        value = self._database.value("SELECT value FROM settings WHERE name = ?", (_VERSION,))
        return int(value or 0)

    def imported(self) -> list[OwnWord]:
        """The words of the personal dictionary, by the alphabet of their keys."""
        rows = self._database.rows("SELECT written, count, added_at FROM dictionary ORDER BY word")
        return [OwnWord(str(written), int(count), float(at), imported=True) for written, count, at in rows]

    def blocked(self) -> frozenset[str]:
        """The keys of the words that are neither suggested nor learned."""
        return frozenset(str(word) for (word,) in self._database.rows("SELECT word FROM blocked"))

    def add(self, words: Iterable[OwnWord], *, at: float) -> int:
        """Put words into the personal dictionary, or give them another count; gives how many.

        Raises:
            InvalidValue: They are too many with those that are there.
        """
        added = 0
        for word in words:
            self._database.execute(
                "INSERT OR REPLACE INTO dictionary VALUES (?, ?, ?, ?)",
                (normal(word.word), word.word, word.count, word.last or at),
            )
            added += 1
        self._check_room("dictionary", IMPORTED_LIMIT)
        return self._changed(added)

    def drop(self, words: Iterable[str]) -> int:
        """Take words out of the personal dictionary; gives how many were there."""
        return self._changed(self._delete("dictionary", words))

    def block(self, words: Iterable[str], *, at: float) -> int:
        """Block words; gives how many were not blocked before."""
        before = self._count("blocked")
        for word in words:
            self._database.execute("INSERT OR IGNORE INTO blocked VALUES (?, ?)", (normal(word), at))
        self._check_room("blocked", BLOCKED_LIMIT)
        return self._changed(self._count("blocked") - before)

    def unblock(self, words: Iterable[str]) -> int:
        """Block words no longer; gives how many were blocked."""
        return self._changed(self._delete("blocked", words))

    def _delete(self, table: str, words: Iterable[str]) -> int:
        before = self._count(table)
        for word in words:
            self._database.execute(f"DELETE FROM {table} WHERE word = ?", (normal(word),))
        return before - self._count(table)

    def _changed(self, words: int) -> int:
        if words:
            self._database.execute(
                "INSERT OR REPLACE INTO settings VALUES (?, ?)", (_VERSION, self.version + 1)
            )
        return words

    def _count(self, table: str) -> int:
        return int(self._database.value(f"SELECT COUNT(*) FROM {table}"))

    def _check_room(self, table: str, limit: int) -> None:
        words = self._count(table)
        if words > limit:
            raise InvalidValue(
                "words",
                f"{words} with those that are there; {limit} at most are kept, and nothing was changed",
            )

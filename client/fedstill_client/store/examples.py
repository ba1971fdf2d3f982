"""Private examples in the store: what is held out for life, what is kept, and for how long."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import IntArray
from fedstill_proto.errors import FedstillError, InvalidValue
from fedstill_proto.package.artifact import StudentManifest

from fedstill_client.model.student_store import DeviceStoreError
from fedstill_client.store.database import LAST_EXAMPLE, Database

PARTS = ("training", "held-out", "all")
_ONE_IN = 5
_ELEMENT_TYPES = ("float32", "uint8", "int64")
_DAY_S = 86_400.0
UNCLEAR = "unclear"
"""The kind of what nobody has labelled yet (see unclear.py)."""


@dataclass(frozen=True, eq=False)
class StoredExamples:
    """Examples in the order in which they were observed, as they were given."""

    ids: IntArray  # [n]
    x: npt.NDArray[Any]  # float32 or uint8 [n, *shape]; int64 for students of text
    labels: npt.NDArray[Any]  # [n, *label_shape], as they are kept (see Target.stored), or learned

    def followed_by(self, others: StoredExamples) -> StoredExamples:
        """These examples, and then the others."""
        return StoredExamples(
            np.concatenate([self.ids, others.ids]),
            np.concatenate([self.x, others.x]),
            np.concatenate([self.labels, others.labels]),
        )

    def read_by(self, manifest: StudentManifest) -> StoredExamples:
        """What the network of a package reads and learns of them; those of other shapes stay as they are."""
        x, labels = self.x, self.labels
        if x.shape[1:] == manifest.given_shape:
            x = np.ascontiguousarray(manifest.input_rule.apply(x), manifest.input_type)
        if labels.shape[1:] == manifest.label_shape:
            labels = manifest.target.learned(labels)
        return replace(self, x=x, labels=labels)

    def with_ids(self, ids: IntArray) -> StoredExamples | None:
        """The examples with these ids, in their order; None where one of them is not here."""
        order = np.argsort(self.ids)
        places = np.searchsorted(self.ids, ids, sorter=order)
        if len(ids) > len(self.ids) or (places >= len(self.ids)).any():
            return None
        rows = order[places]
        return StoredExamples(ids, self.x[rows], self.labels[rows]) if (self.ids[rows] == ids).all() else None


@dataclass(frozen=True)
class ExampleCounts:
    """How much is kept; `oldest` in seconds since 1970."""

    training: int
    held_out: int
    bytes: int
    oldest: float | None


@dataclass(frozen=True, kw_only=True)
class Retention:
    """Which examples are kept: none that is older, and of the rest the newest up to a number and a size."""

    max_age_days: float = 365.0
    max_examples: int = 20_000
    max_bytes: int = 64 << 20

    def __post_init__(self) -> None:
        if not 0 < self.max_age_days < math.inf:
            raise InvalidValue("max_age_days", f"{self.max_age_days} is not a number of days above 0")
        for name in ("max_examples", "max_bytes"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InvalidValue(name, f"{value!r} is not a whole number of 1 or more")

    def to_json(self) -> str:
        """As JSON."""
        return json.dumps(vars(self))

    @classmethod
    def from_json(cls, text: str) -> Retention:
        """What `to_json` wrote."""
        return cls(**json.loads(text))


def check_example(
    manifest: StudentManifest, x: npt.NDArray[Any], labels: npt.NDArray[Any] | int
) -> tuple[npt.NDArray[Any], IntArray]:
    """One example as it is kept: x [*given_shape], labels [*label_shape]; raises InvalidValue.

    Values are kept as they are given, for the rules of packages to come: whole numbers from 0 to 255 as uint8
    where the student's rule is of such.
    """
    asked = np.dtype(manifest.input_type)
    x, labels = np.asarray(x), np.asarray(labels)
    kinds = "iu" if asked.kind == "i" else "fiu"
    if x.dtype.kind not in kinds or x.shape != manifest.given_shape:
        problem = (
            f"{x.dtype} of shape {list(x.shape)}; the student takes {asked} {list(manifest.given_shape)}"
        )
        raise InvalidValue("x", problem)
    if manifest.input_rule.element_type == "uint8" and x.dtype.kind in "iu" and _are_bytes(x):
        asked = np.dtype(np.uint8)
    taken, needed = ("iuf", "numbers") if manifest.target.is_regression else ("iu", "integers")
    if labels.dtype.kind not in taken or labels.shape != manifest.label_shape:
        problem = f"{labels.dtype} of shape {list(labels.shape)}; give {needed} {list(manifest.label_shape)}"
        raise InvalidValue("labels", problem)
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, and is refused below
        converted = np.ascontiguousarray(x, asked)
    if not np.isfinite(manifest.input_rule.apply(converted[None])).all():
        raise InvalidValue("x", "holds a value that is not a finite float32")
    if asked.kind == "i" and x.size and not 0 <= x.min() <= x.max() < manifest.classes:
        raise InvalidValue("x", f"holds a word outside 0 to {manifest.classes - 1}")
    if manifest.target.is_regression:
        if not np.isfinite(labels).all():
            raise InvalidValue("labels", f"{labels.tolist()!r:.80} holds a value that is not finite")
    elif labels.size and not 0 <= labels.min() <= labels.max() < manifest.classes:
        raise InvalidValue(
            "labels", f"{labels.tolist()!r:.80} is outside the classes 0 to {manifest.classes - 1}"
        )
    # ascontiguousarray makes a list of one of a single number
    return converted.reshape(x.shape), manifest.target.stored(labels).reshape(labels.shape)


def is_held_out(number: int) -> bool:
    """Whether the example of this id is one of the fifth that is never trained on."""
    return hashlib.sha256(b"held out %d" % number).digest()[0] % _ONE_IN == 0


def next_id(database: Database) -> int:
    """The id of the next example, within a transaction: higher than any that there was."""
    highest = int(database.value("SELECT MAX(id) FROM examples") or 0)
    deleted = int(database.value("SELECT value FROM settings WHERE name = ?", (LAST_EXAMPLE,)) or 0)
    return max(highest, deleted) + 1


def note_last_id(database: Database, last: int) -> None:
    """Write down up to which id examples were, within the transaction in which some are deleted."""
    database.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (LAST_EXAMPLE, str(last)))


def add_example(
    database: Database,
    x: npt.NDArray[Any],
    labels: IntArray,
    *,
    kind: str,
    observed_at: float,
    held_out: bool | None,
) -> int:
    """Keep one example, within a transaction; gives its id."""
    if x.dtype.name not in _ELEMENT_TYPES:
        raise InvalidValue("x", f"{x.dtype}; examples are float32 or uint8, or int64 for words")
    number = next_id(database)
    held_out = is_held_out(number) if held_out is None else held_out
    arrays = (
        x.dtype.name,
        json.dumps(x.shape),
        np.ascontiguousarray(x).tobytes(),
        json.dumps(labels.shape),
        np.ascontiguousarray(labels, np.int64).tobytes(),
    )
    database.execute(
        "INSERT INTO examples (id, kind, held_out, observed_at, element_type, shape, x, label_shape, labels) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (number, kind, int(held_out), observed_at, *arrays),
    )
    return number


def read_examples(database: Database, part: str, *, kind: str) -> StoredExamples:
    """Read the examples of a part.

    Raises:
        DeviceStoreError: A row is no example, or rows are of several shapes.
    """
    if part not in PARTS:
        raise InvalidValue("part", f"{part!r} is none of {', '.join(PARTS)}")
    chosen = {"training": (0,), "held-out": (1,), "all": (0, 1)}[part]
    rows = database.rows(
        "SELECT id, element_type, shape, x, label_shape, labels FROM examples "
        f"WHERE kind = ? AND held_out IN ({', '.join(map(str, chosen))}) ORDER BY id",
        (kind,),
    )
    if not rows:
        return StoredExamples(np.zeros(0, np.int64), np.zeros((0,), np.float32), np.zeros(0, np.int64))
    amounts = {row[1] for row in rows} <= {"float32", "uint8"}
    if len({(row[2], row[4]) for row in rows}) != 1 or not (amounts or len({row[1] for row in rows}) == 1):
        raise DeviceStoreError(
            f"{database.file}: holds examples of several shapes; forget those from before the last package."
        )
    _, _, shape, _, label_shape, _ = rows[0]
    try:
        if unknown := {row[1] for row in rows}.difference(_ELEMENT_TYPES):
            raise ValueError(f"{unknown.pop()!r} is no type of examples")
        x = np.stack([_array(row[3], row[1], shape) for row in rows])
        labels = np.stack([_array(row[5], "int64", label_shape) for row in rows])
        if not np.isfinite(x).all():
            raise ValueError("not all are finite")
    except (ValueError, TypeError, FedstillError) as error:
        raise DeviceStoreError(f"{database.file}: its examples cannot be used: {error}.") from None
    return StoredExamples(np.array([row[0] for row in rows], np.int64), x, labels)


def count_examples(database: Database) -> ExampleCounts:
    """Count all examples, texts included, but for what nobody has labelled; their bytes are those of all."""
    row = database.rows(
        "SELECT COALESCE(SUM(kind != ?1 AND NOT held_out), 0), COALESCE(SUM(kind != ?1 AND held_out), 0), "
        "COALESCE(SUM(LENGTH(x) + LENGTH(labels)), 0), MIN(observed_at) FROM examples",
        (UNCLEAR,),
    )[0]
    return ExampleCounts(*row)


def prune_examples(database: Database, retention: Retention, now: float) -> int:
    """Delete what is not to be kept, within a transaction; gives how many that were."""
    before, last = int(database.value("SELECT COUNT(*) FROM examples")), next_id(database) - 1
    database.execute("DELETE FROM examples WHERE observed_at < ?", (now - retention.max_age_days * _DAY_S,))
    # From the newest on, as many as fit the number and the size.
    database.execute(
        "DELETE FROM examples WHERE id IN (SELECT id FROM (SELECT id, ROW_NUMBER() OVER newest AS place, "
        "SUM(LENGTH(x) + LENGTH(labels)) OVER newest AS size FROM examples "
        "WINDOW newest AS (ORDER BY id DESC)) WHERE place > ? OR size > ?)",
        (retention.max_examples, retention.max_bytes),
    )
    pruned = before - int(database.value("SELECT COUNT(*) FROM examples"))
    if pruned:
        note_last_id(database, last)
    return pruned


def _are_bytes(x: npt.NDArray[Any]) -> bool:
    return not x.size or bool(0 <= x.min() <= x.max() <= 255)


def _array(content: bytes, element_type: str, shape: str) -> npt.NDArray[Any]:
    return np.frombuffer(content, element_type).reshape(json.loads(shape))

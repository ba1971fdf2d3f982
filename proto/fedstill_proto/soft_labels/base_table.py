"""What a device last said of each public row: both sides keep it, and the next answer is coded against it.

The server says in its request which of a device's answers it holds, by the round; the device, if it still has
its own table of that round, codes against it and names it by its digest; the server compares. So neither has
to guess what became of a message:

- an answer was lost: the server goes on asking against the one before it, which the device keeps, too;
- the device lost its tables: it answers without one;
- the server lost its own: it asks without one;
- both have a table of that round, but not the same (a disk was put back to an earlier day): the digests
  differ, the answer is refused as one that needs to be whole, and the server asks without a table next time.

An answer against a table extends it, any other starts a new one, on both sides alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedstill_proto.arrays import IntArray
from fedstill_proto.errors import InvalidValue
from fedstill_proto.soft_labels.levels import Levels

MAX_TABLE_ROWS = 1 << 20


@dataclass(frozen=True, eq=False)
class AnswerTable:
    """Levels of the public rows `rows` [n], which increase."""

    rows: IntArray
    levels: Levels

    def __post_init__(self) -> None:
        if len(self.rows) != self.levels.rows or len(self.rows) > MAX_TABLE_ROWS:
            raise InvalidValue("rows", f"{len(self.rows)} rows with {self.levels.rows} soft labels")
        if len(self.rows) and (self.rows[0] < 0 or (np.diff(self.rows) <= 0).any()):
            raise InvalidValue("rows", "not increasing numbers from 0")

    @classmethod
    def of(cls, rows: IntArray, levels: Levels) -> AnswerTable:
        """Of distinct rows in any order."""
        order = np.argsort(rows)
        return cls(rows[order], levels.of_rows(order))

    def extended(self, rows: IntArray, levels: Levels) -> AnswerTable:
        """With newer levels of the rows `rows` [m]; all of it anew where the levels are of another shape."""
        if not levels.is_like(self.levels):
            return AnswerTable.of(rows, levels)
        kept = np.flatnonzero(~np.isin(self.rows, rows))
        together = np.concatenate([self.rows[kept], rows])
        return AnswerTable.of(together, self.levels.of_rows(kept).followed_by(levels))

    def base(self, rows: IntArray, fallback: Levels | None) -> Levels | None:
        """Levels for rows [m] to be coded against; the fallback's where the table has none of a row."""
        place = np.minimum(np.searchsorted(self.rows, rows), max(len(self.rows) - 1, 0))
        known = self.rows[place] == rows if len(self.rows) else np.zeros(len(rows), np.bool_)
        if fallback is None:
            return self.levels.of_rows(place) if known.all() and len(self.rows) else None
        if not fallback.is_like(self.levels):
            return None
        both = self.levels.followed_by(fallback)
        return both.of_rows(np.where(known, place, len(self.rows) + np.arange(len(rows))))

    @property
    def bytes(self) -> int:
        """Of memory that it takes, about."""
        indices = 0 if self.levels.indices is None else self.levels.indices.nbytes
        return self.rows.nbytes + self.levels.codes.nbytes + indices

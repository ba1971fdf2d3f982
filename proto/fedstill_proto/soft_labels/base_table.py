"""What a device sent last of each public row: both sides keep it, and the next answer is coded against it.

The server names in its request the round whose table it holds of the device; the device, if it still has its
own table of that round, codes against it and names it by its digest; the server compares. So neither has to
guess what became of a message:

- an answer was lost: the server goes on asking against the one before it, which the device keeps, too;
- the device lost its tables: it answers without one;
- the server lost its own: it asks without one;
- both have a table of that round, but not the same (a disk was put back to an earlier day): the digests
  differ, the answer is refused for its missing base, and the server asks without a table next time.

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
class BaseTable:
    """Levels of the public rows `rows` [n], which increase."""

    rows: IntArray
    levels: Levels

    def __post_init__(self) -> None:
        if len(self.rows) != self.levels.rows or len(self.rows) > MAX_TABLE_ROWS:
            raise InvalidValue("rows", f"{len(self.rows)} rows with {self.levels.rows} soft labels")
        if len(self.rows) and (self.rows[0] < 0 or (np.diff(self.rows) <= 0).any()):
            raise InvalidValue("rows", "not increasing numbers from 0")

    @classmethod
    def of(cls, rows: IntArray, levels: Levels) -> BaseTable:
        """The table of distinct rows in any order."""
        order = np.argsort(rows)
        return cls(rows[order], levels.of_rows(order))

    def extended(self, rows: IntArray, levels: Levels) -> BaseTable:
        """The table with newer levels of `rows` [m]; a new one where the levels have another shape."""
        if not levels.is_like(self.levels):
            return BaseTable.of(rows, levels)
        kept = np.flatnonzero(~np.isin(self.rows, rows))
        together = np.concatenate([self.rows[kept], rows])
        return BaseTable.of(together, self.levels.of_rows(kept).followed_by(levels))

    def base(self, rows: IntArray, fallback: Levels | None) -> Levels | None:
        """Levels for rows [m] to be coded against, the fallback's for rows that the table does not hold."""
        place = np.minimum(np.searchsorted(self.rows, rows), max(len(self.rows) - 1, 0))
        present = self.rows[place] == rows if len(self.rows) else np.zeros(len(rows), np.bool_)
        if fallback is None:
            return self.levels.of_rows(place) if present.all() and len(self.rows) else None
        if not fallback.is_like(self.levels):
            return None
        both = self.levels.followed_by(fallback)
        return both.of_rows(np.where(present, place, len(self.rows) + np.arange(len(rows))))

    @property
    def bytes(self) -> int:
        """The memory that it takes, about."""
        indices = 0 if self.levels.indices is None else self.levels.indices.nbytes
        return self.rows.nbytes + self.levels.codes.nbytes + indices

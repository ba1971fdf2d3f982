"""The student family of each device as a column of small numbers."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import IntArray
from fedstill_proto.errors import FedstillError

FamilyCodes = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


class FamilyColumn(Sequence[str]):
    """The families of a fleet's devices: for users a sequence of names, and within a small number a device.

    Attributes:
        names: The families, in the order of the first device of each.
        codes: The place of each device's family in `names`: uint8 or uint16 [devices].
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, names: Sequence[str], codes: FamilyCodes) -> None:
        """Take names and codes as they are.

        Raises:
            FedstillError: A code is that of no family.
        """
        self.names, self.codes = tuple(names), codes
        if len(codes) and int(codes.max()) >= len(self.names):
            raise FedstillError(f"families: code {codes.max()} is of none of {len(self.names)}; run again")

    @classmethod
    def of(cls, families: Sequence[str]) -> FamilyColumn:
        """The column of one name a device."""
        if isinstance(families, FamilyColumn):
            return families
        numbers: dict[str, int] = {}
        listed = [numbers.setdefault(family, len(numbers)) for family in families]
        return cls(tuple(numbers), _codes(listed, families=len(numbers)))

    @classmethod
    def in_turn(cls, families: Sequence[str], *, devices: int) -> FamilyColumn:
        """Deal families out in turn: device i gets family i modulo their number."""
        dealt = families[:devices]
        names = tuple(dict.fromkeys(dealt))
        cycle = _codes([names.index(family) for family in dealt], families=len(names))
        return cls(names, cycle[np.arange(devices) % max(1, len(cycle))])

    def __len__(self) -> int:
        return len(self.codes)

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[str, ...]: ...

    def __getitem__(self, place: int | slice) -> str | tuple[str, ...]:
        if isinstance(place, slice):
            return tuple(self.names[code] for code in self.codes[place].tolist())
        return self.names[int(self.codes[place])]

    def __iter__(self) -> Iterator[str]:
        return (self.names[code] for code in self.codes.tolist())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, FamilyColumn):
            return self.names == other.names and np.array_equal(self.codes, other.codes)
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    def __repr__(self) -> str:
        return f"FamilyColumn({len(self)} devices of {', '.join(self.names)})"

    def is_of(self, family: str) -> npt.NDArray[np.bool_]:
        """Which devices [devices] are of a family."""
        if family not in self.names:
            return np.zeros(len(self), np.bool_)
        return np.asarray(self.codes == self.names.index(family))

    def members(self, family: str) -> IntArray:
        """The devices [n] of a family, rising."""
        return np.flatnonzero(self.is_of(family))

    def counts(self) -> dict[str, int]:
        """How many devices are of each family."""
        found = np.bincount(self.codes, minlength=len(self.names)).tolist()
        return dict(zip(self.names, found, strict=True))

    @functools.cached_property
    def rows(self) -> npt.NDArray[np.int32]:
        """The place of each device among those of its own family: int32 [devices]."""
        rows = np.empty(len(self), np.int32)
        for code in range(len(self.names)):
            members = self.codes == code
            rows[members] = np.arange(int(members.sum()), dtype=np.int32)
        return rows


def _codes(listed: Sequence[int], *, families: int) -> FamilyCodes:
    return np.array(listed, np.uint8) if families <= 256 else np.array(listed, np.uint16)

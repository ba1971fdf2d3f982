"""Names of devices that are made when somebody asks: by a rule, or of a text that holds them all."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
from fedstill_proto.arrays import IntArray
from fedstill_proto.errors import FedstillError

_NUMBER = re.compile(r"\d+")


class _Names(Sequence[str]):
    """A sequence of names that is equal to any other sequence of the same names."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[str, ...]: ...

    def __getitem__(self, place: int | slice) -> str | tuple[str, ...]:
        if isinstance(place, slice):
            return tuple(self._name(each) for each in range(*place.indices(len(self))))
        device = int(place) + (len(self) if place < 0 else 0)
        if not 0 <= device < len(self):
            raise IndexError(f"device {place}: there are {len(self)}")
        return self._name(device)

    def __iter__(self) -> Iterator[str]:
        return map(self._name, range(len(self)))

    def _name(self, device: int) -> str:
        raise NotImplementedError


class NumberedNames(_Names):
    """Names by number: device-0 to device-9, device-00 to device-49."""

    def __init__(self, devices: int, *, prefix: str = "device-") -> None:
        """Name `devices` devices, whose numbers follow `prefix` with as many digits as the last one has."""
        self.prefix = prefix
        self._devices = devices
        self._digits = len(str(max(devices - 1, 0)))

    def __len__(self) -> int:
        return self._devices

    def __eq__(self, other: object) -> bool:
        if isinstance(other, NumberedNames):
            return (len(self), self.prefix) == (len(other), other.prefix)
        return super().__eq__(other)

    __hash__ = None

    def __contains__(self, name: object) -> bool:
        return self._device(name) is not None

    def index(self, name: object, start: int = 0, stop: int | None = None) -> int:
        """The device of a name; raises ValueError where none has it."""
        device = self._device(name)
        if device is None or not start <= device < (len(self) if stop is None else stop):
            raise ValueError(f"{name!r} is no device")
        return device

    def _name(self, device: int) -> str:
        return f"{self.prefix}{device:0{self._digits}d}"

    def _device(self, name: object) -> int | None:
        if not isinstance(name, str) or not name.startswith(self.prefix):
            return None
        digits = name[len(self.prefix) :]
        if len(digits) != self._digits or not _NUMBER.fullmatch(digits) or not digits.isascii():
            return None
        return device if (device := int(digits)) < self._devices else None


class NameColumn(_Names):
    """Names as one text in UTF-8 and where each begins in it, which may both lie in mapped files.

    Attributes:
        text: All names, one after the other: uint8 [bytes].
        offsets: Where each begins, and the end: int64 [devices + 1].
    """

    def __init__(self, text: np.ndarray[tuple[int, ...], np.dtype[np.uint8]], offsets: IntArray) -> None:
        """Take the columns as they are.

        Raises:
            FedstillError: The offsets are not those of the text.
        """
        if offsets.ndim != 1 or not len(offsets) or offsets[0] != 0 or offsets[-1] != len(text):
            raise FedstillError(
                f"names of devices: offsets must rise from 0 to the text's {len(text)} bytes; run again"
            )
        self.text, self.offsets = text, offsets

    @classmethod
    def of(cls, names: Sequence[str]) -> NameColumn:
        """The column of these names."""
        blobs = [name.encode() for name in names]
        offsets = np.zeros(len(blobs) + 1, np.int64)
        np.cumsum([len(blob) for blob in blobs], out=offsets[1:])
        return cls(np.frombuffer(b"".join(blobs), np.uint8), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def _name(self, device: int) -> str:
        return self.text[self.offsets[device] : self.offsets[device + 1]].tobytes().decode()

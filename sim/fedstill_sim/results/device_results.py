"""The devices of a result: one object a device for those who ask for one, columns for those who ask for all.

Up to MOST_INLINE devices are listed in result.json; of more, columns lie beside it (device_columns.py), and
a `DeviceTable` makes the object of a device when somebody asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar, overload

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import Float64Array

from fedstill_sim.data.columns.families import FamilyColumn
from fedstill_sim.results.device_columns import DeviceColumns
from fedstill_sim.results.json_files import ResultError

MOST_INLINE = 1_000
"""Devices that are listed in result.json."""


@dataclass(frozen=True, kw_only=True)
class DeviceResult:
    """One device: its data and how its student ended."""

    name: str
    family: str
    train_examples: int
    test_examples: int
    class_counts: tuple[int, ...]
    personal_accuracy: float | None
    global_accuracy: float | None
    summaries_counted: int = 0


@dataclass(frozen=True, kw_only=True)
class BaselineDevice:
    """How one device's student ended under a baseline."""

    name: str
    personal_accuracy: float | None
    global_accuracy: float | None


@dataclass(frozen=True, kw_only=True)
class DeviceFile:
    """The file of columns that the devices of a result are in, beside result.json."""

    name: str
    devices: int
    digest: str  # SHA-256


Device = TypeVar("Device", DeviceResult, BaselineDevice)


class _Table(Sequence[Device], Generic[Device]):
    """Devices as columns; equal to any sequence of the same devices."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, columns: DeviceColumns) -> None:
        self.columns = columns

    def __len__(self) -> int:
        return len(self.columns)

    @overload
    def __getitem__(self, place: int) -> Device: ...

    @overload
    def __getitem__(self, place: slice) -> tuple[Device, ...]: ...

    def __getitem__(self, place: int | slice) -> Device | tuple[Device, ...]:
        if isinstance(place, slice):
            return tuple(self._device(each) for each in range(*place.indices(len(self))))
        device = int(place) + (len(self) if place < 0 else 0)
        if not 0 <= device < len(self):
            raise IndexError(f"device {place}: there are {len(self)}")
        return self._device(device)

    def __iter__(self) -> Iterator[Device]:
        return map(self._device, range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self):,} devices>"

    def _device(self, device: int) -> Device:
        raise NotImplementedError


class DeviceTable(_Table[DeviceResult]):
    """The devices of a run."""

    def _device(self, device: int) -> DeviceResult:
        columns = self.columns
        return DeviceResult(
            name=columns.names[device],
            family=columns.family_names[int(columns.family_codes[device])],
            train_examples=int(columns.train_examples[device]),
            test_examples=int(columns.test_examples[device]),
            class_counts=tuple(columns.class_counts[device].tolist()),
            personal_accuracy=_known(columns.personal_accuracy[device]),
            global_accuracy=_known(columns.global_accuracy[device]),
            summaries_counted=int(columns.summaries_counted[device]),
        )


class BaselineTable(_Table[BaselineDevice]):
    """The devices of a baseline."""

    def _device(self, device: int) -> BaselineDevice:
        columns = self.columns
        return BaselineDevice(
            name=columns.names[device],
            personal_accuracy=_known(columns.personal_accuracy[device]),
            global_accuracy=_known(columns.global_accuracy[device]),
        )


@dataclass(frozen=True, eq=False)
class DeviceFigures:
    """Figures of all devices of a result, for who draws or averages them; NaN is not known.

    Attributes:
        personal_accuracy: float64 [devices].
        global_accuracy: float64 [devices].
        summaries_counted: Whole numbers [devices]; 0 of a baseline.
        class_counts: Whole numbers [devices, classes], without classes where there are none, as of a
            baseline.
        train_examples: Whole numbers [devices].
        test_examples: The same of those that a device is tested on.
    """

    personal_accuracy: Float64Array
    global_accuracy: Float64Array
    summaries_counted: npt.NDArray[np.integer]
    class_counts: npt.NDArray[np.integer]
    train_examples: npt.NDArray[np.integer]
    test_examples: npt.NDArray[np.integer]

    @classmethod
    def of(cls, devices: Sequence[DeviceResult] | Sequence[BaselineDevice]) -> DeviceFigures:
        """The figures of devices, whatever holds them."""
        if isinstance(devices, _Table):
            columns: DeviceColumns = devices.columns
            own = isinstance(devices, DeviceTable)
            return cls(
                columns.personal_accuracy,
                columns.global_accuracy,
                columns.summaries_counted if own else np.zeros(len(columns), np.int64),
                columns.class_counts if own else np.zeros((len(columns), 0), np.int64),
                columns.train_examples,
                columns.test_examples,
            )
        counts = [getattr(device, "class_counts", ()) for device in devices]
        most = max(map(len, counts), default=0)
        filled = np.array([[*own, *[0] * (most - len(own))] for own in counts], np.int64)
        return cls(
            np.array([_number(device.personal_accuracy) for device in devices], np.float64),
            np.array([_number(device.global_accuracy) for device in devices], np.float64),
            np.array([getattr(device, "summaries_counted", 0) for device in devices], np.int64),
            filled.reshape(len(counts), most),
            np.array([getattr(device, "train_examples", 0) for device in devices], np.int64),
            np.array([getattr(device, "test_examples", 0) for device in devices], np.int64),
        )


def listed(devices: Sequence[Device]) -> Sequence[Device]:
    """A few devices as objects, which is what reading result.json gives; many as they are."""
    return tuple(devices) if len(devices) <= MOST_INLINE else devices


def families_of(devices: Sequence[DeviceResult]) -> FamilyColumn:
    """The student family of each device, whatever holds them."""
    if isinstance(devices, DeviceTable):
        return devices.columns.families
    return FamilyColumn.of([device.family for device in devices])


def names_of(devices: Sequence[DeviceResult] | Sequence[BaselineDevice]) -> Sequence[str]:
    """The names of devices, whatever holds them."""
    return devices.columns.names if isinstance(devices, _Table) else [device.name for device in devices]


def keep_devices(devices: Sequence[object], path: Path) -> DeviceFile | None:
    """Write the columns of many devices to a file; a few are listed in result.json and need none."""
    if not isinstance(devices, _Table) or len(devices) <= MOST_INLINE:
        return None
    return DeviceFile(name=path.name, devices=len(devices), digest=devices.columns.save(path))


def kept_columns(file: DeviceFile, folder: Path) -> DeviceColumns:
    """Read the columns that `keep_devices` wrote.

    Raises:
        ResultError: They are not there, or not those that were written.
    """
    if Path(file.name).name != file.name or not file.name.endswith(".npz"):
        raise ResultError(f"{folder}: device_file.name: {file.name!r} is no .npz file beside result.json")
    columns = DeviceColumns.load(folder / file.name, sha256=file.digest)
    if len(columns) != file.devices:
        raise ResultError(
            f"{folder / file.name}: {len(columns)} devices, and result.json names {file.devices}; run again"
        )
    return columns


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _number(value: float | None) -> float:
    return np.nan if value is None else value

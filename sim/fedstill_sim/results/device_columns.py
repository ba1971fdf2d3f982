"""`DeviceColumns`: what a run knows of each device, as numpy columns in one file of plain arrays.

A million devices of ten classes take about 90 MB, in memory and on disk, however many rounds they do. What
was measured after a round is kept in devices/measured_<round>.npz of the run's folder before the server
commits the round, so that a run that was killed goes on with that of its last committed round.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import BoolArray, Float64Array, IntArray
from fedstill_proto.errors import FedstillError
from fedstill_proto.system.files import SHARED, replace_file

from fedstill_sim.data.columns.families import FamilyColumn
from fedstill_sim.data.columns.names import NameColumn, NumberedNames
from fedstill_sim.data.fleet import FleetData
from fedstill_sim.results.json_files import ResultError

COLUMNS_FILE = "devices.npz"
"""The columns of a finished run, in its folder, beside result.json."""

_ACCURACIES = ("personal_accuracy", "global_accuracy", "fleet_personal_accuracy", "fleet_global_accuracy")
COUNTS = (
    *("personal_correct", "personal_examples", "global_correct", "global_examples"),
    *("fleet_personal_correct", "fleet_global_correct"),
)
"""What is counted of a device's answers, as in the engine's EvaluationCounts."""
_TYPES: Mapping[str, Any] = {
    "train_examples": np.int32,
    "test_examples": np.int32,
    "class_counts": np.int32,
    "family_codes": np.uint16,
    "summaries_counted": np.int32,
    **dict.fromkeys(_ACCURACIES, np.float64),
}
_SEEN_AT_ONCE = 1 << 16  # devices whose examples are counted at once


@dataclass(frozen=True, kw_only=True, eq=False)
class DeviceColumns:
    """One row a device, in the fleet's order.

    Attributes:
        names: The devices' names, made or read when they are asked for.
        train_examples: Examples that a device trains on: int32 [devices].
        test_examples: Examples that it is tested on: int32 [devices].
        class_counts: Its training examples by class: int32 [devices, classes]; [devices, 0] where there are
            no classes.
        family_codes: The place of its family in `family_names`: uint16 [devices].
        family_names: The families.
        summaries_counted: In how many rounds its summary was folded: int32 [devices].
        personal_accuracy: Of what an app gets, on its own tests, when devices were last measured: float64
            [devices], NaN where it was not, or has no such examples.
        global_accuracy: Of the same answers on everyone's test.
        fleet_personal_accuracy: Of the fleet's student alone on its own tests.
        fleet_global_accuracy: Of the same on everyone's test.
    """

    names: Sequence[str]
    train_examples: npt.NDArray[np.int32]
    test_examples: npt.NDArray[np.int32]
    class_counts: npt.NDArray[np.int32]
    family_codes: npt.NDArray[np.uint16]
    family_names: tuple[str, ...]
    summaries_counted: npt.NDArray[np.int32]
    personal_accuracy: Float64Array
    global_accuracy: Float64Array
    fleet_personal_accuracy: Float64Array
    fleet_global_accuracy: Float64Array

    @classmethod
    def of(cls, data: FleetData) -> DeviceColumns:
        """The columns of a fleet before its first round."""
        devices = data.devices
        return cls(
            names=data.device_names,
            train_examples=data.train.counts.astype(np.int32),
            test_examples=data.test.counts.astype(np.int32),
            class_counts=_class_counts(data),
            family_codes=data.families.codes.astype(np.uint16),
            family_names=data.families.names,
            summaries_counted=np.zeros(devices, np.int32),
            **{name: np.full(devices, np.nan) for name in _ACCURACIES},
        )

    def __len__(self) -> int:
        return len(self.train_examples)

    @property
    def families(self) -> FamilyColumn:
        """The family of each device."""
        return FamilyColumn(self.family_names, self.family_codes)

    @property
    def measured(self) -> IntArray:
        """The devices [n] that have been measured on any test, rising."""
        return np.flatnonzero(~(np.isnan(self.personal_accuracy) & np.isnan(self.global_accuracy)))

    def add_round(self, *, counted: BoolArray | IntArray) -> None:
        """Count a round's summaries.

        Args:
            counted: The devices whose summaries were folded: their numbers [n], or for each device of the
                fleet whether its was.
        """
        numbers: Any = np.flatnonzero(counted) if counted.dtype == np.bool_ else counted
        np.add.at(self.summaries_counted, numbers, 1)

    def add_evaluation(self, devices: IntArray, counts: Mapping[str, npt.NDArray[np.integer]]) -> None:
        """Take down what devices answered rightly; of all others, what was known before is forgotten.

        Args:
            devices: The devices [n] that were measured.
            counts: Of each, the COUNTS [n] by name.
        """
        for name, shares in shares_of(counts).items():
            column: Float64Array = getattr(self, f"{name}_accuracy")
            column[:] = np.nan
            column[devices] = shares

    def save(self, path: Path) -> str:
        """Write the columns, whole or not at all; returns the SHA-256 of the file."""
        arrays = {name: np.asarray(getattr(self, name), kind) for name, kind in _TYPES.items()}
        arrays["family_names"] = np.frombuffer("\n".join(self.family_names).encode(), np.uint8)
        arrays["names"], arrays["names_offsets"] = _name_arrays(self.names)
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        blob = buffer.getvalue()
        replace_file(path, blob, mode=SHARED)
        return hashlib.sha256(blob).hexdigest()

    @classmethod
    def load(cls, path: Path, *, sha256: str | None = None) -> DeviceColumns:
        """Read columns that `save` wrote.

        Args:
            path: The file.
            sha256: What the file must be, where somebody has noted it.

        Raises:
            ResultError: There is no such file, or it is not what was written.
        """
        blob = path_blob(path)
        if sha256 is not None and hashlib.sha256(blob).hexdigest() != sha256:
            raise ResultError(
                f"{path}: damaged: its bytes are not those that were written (SHA-256). Delete it and "
                "result.json beside it, and resume the run"
            )
        arrays = _read_arrays(path, blob, (*_TYPES, "family_names", "names", "names_offsets"))
        families, text, offsets = (arrays.pop(name) for name in ("family_names", "names", "names_offsets"))
        try:
            named = families.tobytes().decode()
            columns = cls(
                names=_names_of(text, offsets, devices=len(arrays["train_examples"])),
                family_names=tuple(named.split("\n")) if named else (),
                **arrays,
            )
        except (FedstillError, ValueError) as error:
            raise ResultError(f"{path}: names: {error}") from None
        columns._check(path)
        return columns

    def _check(self, path: Path) -> None:
        for name, kind in _TYPES.items():
            column = getattr(self, name)
            rank = 2 if name == "class_counts" else 1
            if column.dtype != kind or column.ndim != rank or len(column) != len(self):
                raise ResultError(
                    f"{path}: {name} is {column.dtype} {list(column.shape)}, of {len(self)} devices; "
                    "run again"
                )
        if len(self.names) != len(self):
            raise ResultError(f"{path}: {len(self.names)} names of {len(self)} devices; run again")
        if len(self) and int(self.family_codes.max()) >= len(self.family_names):
            raise ResultError(f"{path}: family_codes: {self.family_codes.max()} is no family; run again")


def shares_of(counts: Mapping[str, npt.NDArray[np.integer]]) -> dict[str, Float64Array]:
    """Accuracies [n] of the COUNTS [n] by name, without "_accuracy"; NaN where there are no examples."""
    shares = {}
    for name in (accuracy.removesuffix("_accuracy") for accuracy in _ACCURACIES):
        scope = "personal" if "personal" in name else "global"
        correct = np.asarray(counts[f"{name}_correct"], np.float64)
        examples = np.asarray(counts[f"{scope}_examples"], np.float64)
        shares[name] = np.divide(correct, examples, out=np.full(len(correct), np.nan), where=examples > 0)
    return shares


class MeasuredStore:
    """What devices answered rightly after a run's last evaluated rounds, in its folder."""

    def __init__(self, folder: Path) -> None:
        """Keep it in a folder, which is made when there is something to keep."""
        self._folder = folder

    def keep(self, round_number: int, devices: IntArray, counts: Mapping[str, npt.NDArray[Any]]) -> None:
        """Keep what was measured after a round that the server is about to commit, and the one before.

        Args:
            round_number: The round.
            devices: The devices [n] that were measured.
            counts: As `DeviceColumns.add_evaluation` takes them.
        """
        buffer = io.BytesIO()
        columns: dict[str, Any] = {name: np.asarray(counts[name], np.int64) for name in COUNTS}
        np.savez(buffer, devices=devices, **columns)
        replace_file(self._path(round_number), buffer.getvalue(), mode=SHARED)
        for path in sorted(self._folder.glob("measured_*.npz"))[:-2]:
            path.unlink()

    def read(self, round_number: int) -> tuple[IntArray, dict[str, IntArray]]:
        """The devices [n] that were measured after a round, and their counts [n] by name.

        Raises:
            ResultError: They are not there, or damaged.
        """
        path = self._path(round_number)
        arrays = _read_arrays(path, path_blob(path), ("devices", *COUNTS))
        return arrays.pop("devices"), arrays

    def _path(self, round_number: int) -> Path:
        return self._folder / f"measured_{round_number:06d}.npz"


def path_blob(path: Path) -> bytes:
    """The bytes of a file of columns; raises ResultError where there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise ResultError(f"{path}: no such file; the devices of the run were in it") from None


def _read_arrays(path: Path, blob: bytes, names: Sequence[str]) -> dict[str, Any]:
    try:
        with np.load(io.BytesIO(blob), allow_pickle=False) as file:
            return {name: file[name] for name in names}
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ResultError(f"{path}: holds no columns of devices: {error}") from None


def _class_counts(data: FleetData) -> npt.NDArray[np.int32]:
    """Count by pieces: the whole table of a large fleet's examples would take many times what is left."""
    first = data.class_counts(0, min(_SEEN_AT_ONCE, data.devices))
    counts = np.zeros((data.devices, first.shape[1]), np.int32)
    for start in range(0, data.devices, _SEEN_AT_ONCE):
        stop = min(start + _SEEN_AT_ONCE, data.devices)
        counts[start:stop] = data.class_counts(start, stop)
    return counts


def _name_arrays(names: Sequence[str]) -> tuple[npt.NDArray[np.uint8], IntArray]:
    """Names as a file holds them: those of a rule are its prefix, without offsets."""
    if isinstance(names, NumberedNames):
        return np.frombuffer(names.prefix.encode(), np.uint8), np.zeros(0, np.int64)
    column = names if isinstance(names, NameColumn) else NameColumn.of(names)
    return column.text, column.offsets


def _names_of(text: npt.NDArray[np.uint8], offsets: IntArray, *, devices: int) -> Sequence[str]:
    if not len(offsets):
        return NumberedNames(devices, prefix=text.tobytes().decode())
    return NameColumn(text, offsets)

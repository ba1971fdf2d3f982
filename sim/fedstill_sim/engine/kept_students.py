"""Which devices of a run keep their students from round to round, and in which rows of their family's file.

Where a method starts each round anew, only the devices that are measured need a student when the round is
over: devices/kept_students.npy then names them, and the files of students have rows for no others.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import BoolArray, IntArray
from fedstill_proto.errors import FedstillError
from fedstill_proto.system.files import SHARED, replace_file

from fedstill_sim.data.columns.families import FamilyColumn
from fedstill_sim.folder import DEVICES_FOLDER

KEPT_FILE = "kept_students.npy"


class StudentsError(FedstillError):
    """A device is asked for a student that it does not have, or has not kept."""


class StudentRows:
    """The rows of the devices that keep their students.

    Attributes:
        devices: The devices that do [n], rising; None is all.
    """

    def __init__(self, families: FamilyColumn, devices: IntArray | None) -> None:
        """Number the rows of the devices that keep their students, of each family from 0."""
        self._families, self.devices = families, devices
        self._rows: npt.NDArray[np.int32] = families.rows
        if devices is not None:
            self._rows = np.full(len(families), -1, np.int32)
            for family in families.names:
                members = devices[families.is_of(family)[devices]]
                self._rows[members] = np.arange(len(members), dtype=np.int32)

    @classmethod
    def open(cls, run_folder: Path, families: FamilyColumn) -> StudentRows:
        """Those of a run; all, unless `keep_only` was told of fewer.

        Raises:
            StudentsError: The file is not one of devices of this fleet.
        """
        path = run_folder / DEVICES_FOLDER / KEPT_FILE
        if not path.exists():
            return cls(families, None)
        try:
            devices = np.load(path, allow_pickle=False)
        except (ValueError, EOFError, OSError):
            devices = np.zeros(0)
        is_rising = devices.ndim == 1 and bool(np.all(np.diff(devices) > 0))
        if devices.dtype != np.int64 or not is_rising or (devices[-1:] >= len(families)).any():
            raise StudentsError(
                f"{path}: names no devices of this fleet of {len(families)}; start the run anew"
            )
        return cls(families, devices)

    @property
    def _kept(self) -> int:
        return len(self._rows) if self.devices is None else len(self.devices)

    @property
    def are_kept(self) -> BoolArray:
        """Which devices keep their students [devices]."""
        return np.asarray(self._rows >= 0)

    def count(self, family: str) -> int:
        """How many rows the file of a family has."""
        if self.devices is None:
            return self._families.counts().get(family, 0)
        return int(self._families.is_of(family)[self.devices].sum())

    def rows(self, devices: IntArray) -> IntArray:
        """The row [n] of each device in the file of its family.

        Raises:
            StudentsError: One of them keeps no student.
        """
        rows = self._rows[devices].astype(np.int64)
        if (rows < 0).any():
            device = int(np.asarray(devices)[rows < 0][0])
            raise StudentsError(
                f"device {device} has kept no student: {self._kept:,} of {len(self._rows):,} "
                "devices do in this run; start one with --keep-students all"
            )
        return rows


def drop_students(run_folder: Path) -> None:
    """Remove the students of a run's devices: from now on, none has kept its own."""
    keep_only(run_folder, np.zeros(0, np.int64))
    for path in (run_folder / DEVICES_FOLDER).glob("*.f32"):
        path.unlink()


def keep_only(run_folder: Path, devices: IntArray | None) -> None:
    """Have a run keep the students of these devices [n], rising; None is all of them."""
    path = run_folder / DEVICES_FOLDER / KEPT_FILE
    if devices is None:
        path.unlink(missing_ok=True)
        return
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(devices, np.int64))
    replace_file(path, buffer.getvalue(), mode=SHARED)

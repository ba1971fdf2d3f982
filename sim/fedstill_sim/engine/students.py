"""The students of all virtual devices, on disk.

A family's students lie in one file with two slots for each device that keeps its student (kept_students.py).
A round reads a device's student from the slot it is in and writes it to the other one, so what a killed round
left half-written is never what the resumed round reads. Which slot holds whose student after round r, and in
which round it was trained, is in slots_<r>.npy, which is written last.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import FloatArray, IntArray, Parameters
from fedstill_proto.package.artifact import StudentManifest

SlotArray = npt.NDArray[np.uint8]

NO_STUDENT = 255
_SLOTS_FILE = re.compile(r"slots_(\d+)\.npy")


def named_parameters(students: FloatArray, manifest: StudentManifest) -> Parameters:
    """View students [n, width] as parameters [n, *shape] by name; they share their memory."""
    named, start = {}, 0
    for spec in manifest.parameters:
        named[spec.name] = students[:, start : start + spec.size].reshape(-1, *spec.shape)
        start += spec.size
    return named


def flat_parameters(named: Mapping[str, FloatArray], manifest: StudentManifest) -> FloatArray:
    """What `named_parameters` makes parameters [n, *shape] of, [n, width]."""
    parts = [named[spec.name].reshape(-1, spec.size) for spec in manifest.parameters]
    return np.concatenate(parts, axis=1)


class StudentFile:
    """One family's students: float32 [2 slots, devices, width], all parameters of a student in one row."""

    def __init__(self, path: Path, *, devices: int, width: int) -> None:
        self._path = path
        self._shape = (2, devices, width)

    @property
    def control_variates(self) -> StudentFile:
        """The file of the devices' control variates, in the slots of their students, for what needs it."""
        _, devices, width = self._shape
        return StudentFile(self._path.with_suffix(".control.f32"), devices=devices, width=width)

    @property
    def exists(self) -> bool:
        """Whether the file is there."""
        return self._path.exists()

    def create(self) -> None:
        """Make the file unless it is there; it takes no space before students are written."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            file.truncate(4 * int(np.prod(self._shape)))

    def read(self, slots: SlotArray, rows: IntArray) -> FloatArray:
        """Read the students [n, width] of the family's devices `rows` [n] from their `slots` [n]."""
        return np.array(self._map("r")[slots, rows])

    def write(self, slots: SlotArray, rows: IntArray, students: FloatArray) -> None:
        """Write students [n, width] into their slots."""
        self._map("r+")[slots, rows] = students

    def flush(self) -> None:
        """Wait until what was written is on the disk, if anything was."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            os.fsync(file.fileno())

    def _map(self, mode: str) -> np.memmap[tuple[int, ...], np.dtype[np.float32]]:
        # Mapped for one access: a mapping that stays counts every touched page as this process's memory.
        return np.memmap(self._path, np.float32, mode=mode, shape=self._shape)  # type: ignore[call-overload,no-any-return]


class StudentSlots:
    """The slot of each device's student after each round: uint8 [devices], NO_STUDENT where there is none.

    A file holds two rows, int32 [2, devices]: the slots, and the rounds that the devices last trained in.
    """

    def __init__(self, folder: Path, *, devices: int) -> None:
        self._folder = folder
        self._none = np.stack([np.full(devices, NO_STUDENT, np.int32), np.zeros(devices, np.int32)])

    def before(self, round_number: int) -> SlotArray:
        """Return the slots that a round starts from, whatever a killed run left of the round itself."""
        return np.asarray(self._slots_before(round_number)[0], np.uint8)

    def after(self, round_number: int) -> SlotArray:
        """Return the slots as they are when a round is done."""
        return np.asarray(self._slots_before(round_number + 1)[0], np.uint8)

    def trained_in(self, round_number: int) -> IntArray:
        """Return the round that each device last trained in, when a round is done; 0 is none."""
        return np.asarray(self._slots_before(round_number + 1)[1], np.int64)

    def commit(self, round_number: int, slots: SlotArray) -> None:
        """Make these the slots after a round, at once or not at all; forget all rounds but the one before."""
        before, path = self._slots_before(round_number), self._path(round_number)
        trained = np.where(slots == before[0], before[1], round_number)
        new = path.with_suffix(".new")
        with new.open("wb") as file:
            np.save(file, np.stack([slots, trained]).astype(np.int32))
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        _sync_folder(self._folder)
        for number in sorted(self._rounds())[:-2]:
            self._path(number).unlink()

    def forget_from(self, round_number: int) -> None:
        """Drop what a killed run left of this round and of later ones."""
        for number in self._rounds():
            if number >= round_number:
                self._path(number).unlink()

    def _slots_before(self, round_number: int) -> npt.NDArray[np.int32]:
        rounds = [number for number in self._rounds() if number < round_number]
        if not rounds:
            return self._none.copy()
        slots: npt.NDArray[np.int32] = np.load(self._path(max(rounds)), allow_pickle=False)
        return slots

    def _rounds(self) -> list[int]:
        names = (_SLOTS_FILE.fullmatch(path.name) for path in self._folder.iterdir())
        return [int(match[1]) for match in names if match]

    def _path(self, round_number: int) -> Path:
        return self._folder / f"slots_{round_number}.npy"


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

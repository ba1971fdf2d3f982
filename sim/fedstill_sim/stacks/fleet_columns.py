"""What the server knows of each device, as columns beside the students: who has one, and was told what.

They belong to a committed round, as the rest of the run's state: a round's are written before the server
commits it, and those of the round before are kept.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import BoolArray, IntArray
from fedstill_proto.codec.told_labels import KEPT_ROUNDS
from fedstill_proto.errors import FedstillError
from fedstill_server.rounds.told_labels import ToldRounds

_FILE = re.compile(r"fleet_(\d+)\.npz")
_MOST_UNANSWERED = 255


class NoColumns(FedstillError):
    """A round's columns are not there."""


@dataclass(frozen=True, eq=False)
class FleetColumns:
    """The devices of a fleet; never changed in place.

    Attributes:
        installed: Whether a device is known to have a student [devices].
        told: The round that it answered last, whose soft labels it was told; 0 is none [devices].
        unanswered: How many tasks it was sent since that it has not answered [devices].
        counted: How many of its answers were folded so far [devices].
    """

    installed: BoolArray
    told: npt.NDArray[np.int32]
    unanswered: npt.NDArray[np.uint8]
    counted: npt.NDArray[np.int32]

    @classmethod
    def start(cls, devices: int) -> FleetColumns:
        """Those before the first round."""
        return cls(
            np.zeros(devices, np.bool_),
            np.zeros(devices, np.int32),
            np.zeros(devices, np.uint8),
            np.zeros(devices, np.int32),
        )

    def bases(self, devices: IntArray, told: ToldRounds) -> IntArray:
        """The rounds [n] whose soft labels tasks for these devices can be coded against; 0 is none."""
        rounds = self.told[devices]
        known = (self.unanswered[devices] < KEPT_ROUNDS) & np.isin(rounds, list(told.tables))
        return np.where(known, rounds, 0).astype(np.int64)

    def after(
        self, number: int, *, asked: IntArray, answered: IntArray, counted: IntArray, told: ToldRounds
    ) -> FleetColumns:
        """The columns after a round.

        Args:
            number: The round.
            asked: The devices that got its task.
            answered: Those whose answers were good.
            counted: Those whose answers were folded.
            told: What is held of the rounds from now on.
        """
        installed, counts = self.installed.copy(), self.counted.copy()
        installed[answered] = True
        counts[counted] += 1
        last, unanswered = self.told.copy(), self.unanswered.copy()
        if number in told.tables:
            last[answered] = number
            unanswered[answered] = 0
            silent = asked[(last[asked] != 0) & (last[asked] != number)]
            unanswered[silent] = np.minimum(unanswered[silent].astype(np.int64) + 1, _MOST_UNANSWERED)
        return FleetColumns(installed, last, unanswered, counts)


class ColumnsStore:
    """The columns of the last two rounds on disk, in <run>/devices."""

    def __init__(self, folder: Path, *, devices: int) -> None:
        self._folder, self._devices = folder, devices

    def read(self, number: int) -> FleetColumns:
        """Return the columns after a round; later ones are those of a killed run, and go.

        Raises:
            NoColumns: There are none of this fleet.
        """
        for later in [one for one in self._numbers() if one > number]:
            self._path(later).unlink()
        if number == 0:
            return FleetColumns.start(self._devices)
        path = self._path(number)
        if not path.exists():
            raise NoColumns(
                f"{path}: no such file; the rounds before were run over messages, or by another release. Go "
                "on with --path messages, or start it anew"
            )
        with np.load(path, allow_pickle=False) as kept:
            installed = np.unpackbits(kept["installed"], count=self._devices).astype(np.bool_)
            return FleetColumns(installed, kept["told"], kept["unanswered"], kept["counted"])

    def write(self, number: int, columns: FleetColumns) -> None:
        """Write the columns after a round, whole and synced, and forget all but the round before."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._path(number)
        new = path.with_suffix(".new")
        with new.open("wb") as file:
            np.savez(
                file,
                installed=np.packbits(columns.installed),
                told=columns.told,
                unanswered=columns.unanswered,
                counted=columns.counted,
            )
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        for one in self._numbers()[:-2]:
            self._path(one).unlink()

    def last(self) -> FleetColumns:
        """The newest columns there are."""
        return self.read(max(self._numbers(), default=0))

    @property
    def exists(self) -> bool:
        """Whether a round was run with columns."""
        return bool(self._numbers())

    def _numbers(self) -> list[int]:
        if not self._folder.is_dir():
            return []
        names = (_FILE.fullmatch(path.name) for path in self._folder.iterdir())
        return sorted(int(match[1]) for match in names if match)

    def _path(self, number: int) -> Path:
        return self._folder / f"fleet_{number}.npz"

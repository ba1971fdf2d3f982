"""The students of all virtual devices by family and round, as the engine's own process sees them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from fedstill_proto.arrays import BoolArray, IntArray, Parameters
from fedstill_proto.package.artifact import StudentManifest

from fedstill_sim.data.fleet import FleetData
from fedstill_sim.engine.fleet_starts import forget_starts
from fedstill_sim.engine.kept_students import StudentRows, StudentsError
from fedstill_sim.engine.open_run import students_path
from fedstill_sim.engine.students import NO_STUDENT, SlotArray, StudentFile, StudentSlots, named_parameters
from fedstill_sim.folder import DEVICES_FOLDER


class FleetStudents:
    """The files of a run's students, one a family, and which of their slots are good."""

    def __init__(self, run_folder: Path, data: FleetData, manifests: Mapping[str, StudentManifest]) -> None:
        self._folder = run_folder
        self._families = data.families
        self._kept = StudentRows.open(run_folder, data.families)
        self._manifests = manifests
        self._files = {
            family: StudentFile(
                students_path(run_folder, family),
                devices=self._kept.count(family),
                width=manifest.parameter_count,
            )
            for family, manifest in manifests.items()
        }
        for file in self._files.values():
            file.create()
        self._slots = StudentSlots(run_folder / DEVICES_FOLDER, devices=data.devices)
        self._round = -1

    @property
    def are_kept(self) -> BoolArray:
        """Which devices [devices] keep their students from round to round."""
        return self._kept.are_kept

    def begin(self, round_number: int) -> tuple[SlotArray, SlotArray]:
        """Return the slots that a round starts from, and those so far: a round may come in several parts."""
        if round_number != self._round:
            self._slots.forget_from(round_number)
            self._round = round_number
        return self._slots.before(round_number), self._slots.after(round_number)

    def commit(self, round_number: int, slots: SlotArray, *, families: Iterable[str]) -> None:
        """Put on the disk what the workers have written, then make it valid."""
        for family in families:
            self._files[family].flush()
            self._files[family].control_variates.flush()
        self._slots.commit(round_number, slots)
        trained = self._slots.trained_in(round_number)
        for family in families:
            rounds = np.unique(trained[self._families.is_of(family)])
            forget_starts(self._folder, family, keep=set(rounds.tolist()))

    def after(self, round_number: int) -> SlotArray:
        """Return the slots as they are when a round is done."""
        return self._slots.after(round_number)

    def trained_in(self, round_number: int) -> IntArray:
        """Return the round [devices] that each device last trained in, when a round is done."""
        return self._slots.trained_in(round_number)

    def of(self, devices: Sequence[int], *, after_round: int) -> Parameters:
        """Return the students [n, *shape] of devices of one family as they were after a round.

        Raises:
            StudentsError: The devices are of several families, or one has no student, or has not kept it.
        """
        chosen = np.array(devices, np.int64)
        family = self._families[chosen[0]]
        rows, slots = self._kept.rows(chosen), self._slots.after(after_round)[chosen]
        if not self._families.is_of(family)[chosen].all() or (slots == NO_STUDENT).any():
            raise StudentsError(f"devices {list(devices)} are not all {family!r} devices with a student")
        return named_parameters(self._files[family].read(slots, rows), self._manifests[family])

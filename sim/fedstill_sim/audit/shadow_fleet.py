"""Devices that the adversary makes up: the watched device's tasks, done on private sets of its choice.

A shadow device is a device of the simulator. It is sent, round by round, the very tasks that the server sent
to the watched device, and what it answers is encoded and decoded by the real codecs.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedstill_proto.arrays import IntArray
from fedstill_proto.codec.api import Expected, decode_summary, decode_task, encode_task
from fedstill_proto.flower_records import pack
from fedstill_proto.messages import WITH_SOFT_LABELS, SoftLabelSummary
from fedstill_proto.soft_labels.base_table import BaseTable
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec

from fedstill_sim.audit.observed_run import AuditError, ObservedRound, ObservedRun, answer_bytes
from fedstill_sim.data.columns.families import FamilyColumn
from fedstill_sim.data.fleet import DeviceRows, save_fleet
from fedstill_sim.engine.cohort import CohortEngine
from fedstill_sim.folder import ARTIFACTS_FOLDER, DATA_FOLDER, INSTALLED_FOLDER


@dataclass(frozen=True, kw_only=True, eq=False)
class ShadowFleet:
    """Shadows of the watched device.

    Attributes:
        observed: The run whose tasks they do.
        private: The rows of the fleet's examples that each shadow holds.
        names: The shadows' names, from which each draws the order of its batches.
    """

    observed: ObservedRun
    private: Sequence[IntArray]
    names: Sequence[str]

    def answers(
        self, *, noise_seed: int, noiseless: bool = False, rounds: int | None = None
    ) -> Iterator[tuple[ObservedRound, list[SoftLabelSummary]]]:
        """What all shadows answer, round by round.

        Args:
            noise_seed: Seed of the noise that they add.
            noiseless: Whether they add none, as an adversary does who makes their private sets up.
            rounds: How many of the rounds are done; by default all.

        Raises:
            AuditError: A shadow sends no answer.
        """
        observed = self.observed
        tables: list[BaseTable | None] = [None] * len(self.names)
        with tempfile.TemporaryDirectory(prefix="fedstill-audit-") as place:
            folder = self._write(Path(place))
            with CohortEngine(
                folder,
                stack_sizes=observed.stack_sizes,
                processes=observed.config.simulation.engine.processes,
                owner_share=observed.config.owner_share,
                noise_seed=noise_seed,
            ) as engine:
                for one in observed.rounds[:rounds]:
                    blob = self._noiseless(one) if noiseless else one.task
                    contents = [pack("RoundTask", blob) for _ in self.names]
                    replies = engine.handlers["train"](range(len(self.names)), contents)
                    expected = self._expected(blob, one)
                    summaries = []
                    for shadow, reply in enumerate(replies):
                        coded = answer_bytes(reply)
                        if coded is None:
                            raise AuditError(f"a shadow device sends no answer: {reply}")
                        summary = decode_summary(coded, expected=expected.with_table(tables[shadow]))
                        tables[shadow] = summary.table
                        summaries.append(summary)
                    yield one, summaries

    def _write(self, folder: Path) -> Path:
        """A run's folder for the shadows, with the artifacts and packages of the observed run."""
        data = self.observed.data
        shadows = dataclasses.replace(
            data,
            device_names=tuple(self.names),
            families=FamilyColumn.in_turn((self.observed.family,), devices=len(self.names)),
            train=DeviceRows.of(self.private),
            test=DeviceRows.of([rows[:1] for rows in self.private]),
        )
        save_fleet(shadows, folder / DATA_FOLDER)
        for shared in (ARTIFACTS_FOLDER, INSTALLED_FOLDER):
            (folder / shared).symlink_to(self.observed.folder / shared, target_is_directory=True)
        return folder

    def _expected(self, task: bytes, one: ObservedRound) -> Expected:
        classes = self.observed.config.fleet.classes
        return Expected.of(decode_task(task), classes, one.state.students[self.observed.family])

    def _noiseless(self, one: ObservedRound) -> bytes:
        """The task, asking for the same answer to the last digit where it asks for one with noise."""
        task = one.decoded
        if task.request.noising is None:
            return one.task
        codec = SoftLabelCodec(Encoding.FLOAT32) if task.request.kind in WITH_SOFT_LABELS else None
        request = dataclasses.replace(task.request, noising=None, codec=codec)
        quiet = dataclasses.replace(task, request=request)
        return encode_task(quiet, codec=self.observed.config.fleet.downlink)

"""Has a run's Grid follow virtual time: by shares of the fleet that come and go, or by a trace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fedstill_proto.package.artifact import load_artifact
from fedstill_server.rounds.round_record import RoundRecord

from fedstill_sim.availability import draw_schedule
from fedstill_sim.config import RunConfig
from fedstill_sim.data.fleet import FleetData
from fedstill_sim.engine.grid import InProcessGrid
from fedstill_sim.engine.pending_replies import PendingReplies
from fedstill_sim.folder import artifact_folder
from fedstill_sim.traces.pacing import TracePacing
from fedstill_sim.traces.work import RoundArithmetic, forward_gflop

WORK_FILE = "device_work.npz"


def passes_time(config: RunConfig) -> bool:
    """Whether time passes in a run."""
    return config.simulation.participation is not None or config.simulation.trace is not None


@dataclass(frozen=True)
class VirtualFleet:
    """A run whose devices live in virtual time.

    Attributes:
        folder: The run.
        config: Its configuration.
        data: Its data.
        stack_sizes: By family; they name the artifacts, which tell what work costs.
    """

    folder: Path
    config: RunConfig
    data: FleetData
    stack_sizes: Mapping[str, int]

    def follow(self, grid: InProcessGrid, pending: PendingReplies, records: Sequence[RoundRecord]) -> None:
        """Let time pass on the run's Grid.

        Args:
            grid: The Grid.
            pending: Where replies are kept until they are due.
            records: The rounds that an earlier start of the run has committed.
        """
        simulation, fleet = self.config.simulation, self.config.fleet
        rule = simulation.trace
        if rule is None:
            assert simulation.participation is not None
            rounds = draw_schedule(
                simulation.participation, devices=simulation.devices, rounds=fleet.rounds, seed=fleet.seed
            )
            grid.follow_schedule(rounds, pending, committed_rounds=len(records))
            return
        schedule = rule.schedule(rule.trace(simulation.devices, seed=fleet.seed), self.work())
        pacing = TracePacing(
            rule.pace(fleet.cohort, simulation.devices),
            schedule,
            rounds=fleet.rounds,
            ended_s=[record.clock_s or 0.0 for record in records],
        )
        grid.follow_schedule(schedule, pending, committed_rounds=len(records), pacing=pacing)

    def keep_work(self, pending: PendingReplies) -> None:
        """Keep what each device did, of a run whose rounds are over."""
        if self.config.simulation.trace is not None:
            counts: dict[str, Any] = dict(pending.work_counts(self.config.simulation.devices))
            np.savez(self.folder / WORK_FILE, **counts)

    def work(self) -> RoundArithmetic:
        """The arithmetic of a round of each device, once the run's artifacts are built."""
        forward = {
            family: forward_gflop(load_artifact(artifact_folder(self.folder, family, size)))
            for family, size in self.stack_sizes.items()
        }
        of_devices = np.array([forward[family] for family in self.data.families])
        return RoundArithmetic.of(
            of_devices, self.data.train.counts, self.config.fleet, public=len(self.data.public_x)
        )

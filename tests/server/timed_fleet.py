"""The scripted fleet in virtual time: each device with its own seconds, and rounds in which it is gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from fedstill_server.config.fleet import FleetConfig
from fedstill_server.rounds.fleet_run import FleetRun
from fedstill_server.rounds.round_record import RoundRecord
from fedstill_server.rounds.run_store import RunStore
from fedstill_server.state import FleetState
from fedstill_sim.engine.pending_replies import PendingReplies
from flwr.app import Error, RecordDict

from tests.server.scripted_fleet import ScriptedGrid, public_examples


class Plan:
    """seconds: of each device. gone: by device, the rounds (first, until) that it is gone for."""

    def __init__(self, seconds: Sequence[float], gone: Mapping[int, tuple[int, int]] | None = None) -> None:
        self.seconds = np.array(seconds, np.float64)
        self._gone = gone or {}

    def gone(self, round_number: int) -> npt.NDArray[np.bool_]:
        return np.array(
            [
                device in self._gone and self._gone[device][0] <= round_number < self._gone[device][1]
                for device in range(len(self.seconds))
            ]
        )


class TimedGrid(ScriptedGrid):
    """A scripted fleet whose summaries take their time; `asked` are (second, device, round) of all tasks."""

    def __init__(self, plan: Plan, pending: PendingReplies, *, done: int, families: Sequence[str]) -> None:
        self._plan, self._pending_replies, self._done = plan, pending, done
        self.asked: list[tuple[float, int, int]] = []
        super().__init__(devices=len(plan.seconds), families=families)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.follow_schedule(self._plan, self._pending_replies, committed_rounds=self._done)

    def _train(self, devices: Sequence[int], contents: Sequence[RecordDict]) -> list[RecordDict | Error]:
        answers = super()._train(devices, contents)
        for device, task in self.tasks[len(self.tasks) - len(devices) :]:
            assert self.clock is not None
            self.asked.append((self.clock.now_s(), device, task.round))
        return answers


def play_timed(
    folder: Path, plan: Plan, config: FleetConfig, *, families: Sequence[str] = ("mlp-small",)
) -> tuple[FleetState, list[RoundRecord], TimedGrid]:
    """Run what is left of a run in virtual time."""
    store, pending = RunStore(folder), PendingReplies(folder)
    try:
        store.latest()
        grid = TimedGrid(plan, pending, done=store.last_round(), families=families)
        state = FleetRun(grid, config, public=public_examples(), store=store).run()
        return state, store.records(), grid
    finally:
        pending.close(remove=False)
        store.close()

"""What workers need to know of a round besides their devices: sent once, and opened once in each worker."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from fedstill_proto.codec.api import decode_task
from fedstill_proto.messages import PrivateStatistics, RoundTask, SoftLabelSummary
from fedstill_server.config.fleet import FleetConfig
from fedstill_server.consensus.aggregation import Statistics
from fedstill_server.consensus.exact_sum import ExactFold
from fedstill_server.methods import Method, build_method
from fedstill_server.rounds.partial_fold import PartialFold, no_answers
from fedstill_server.run_folder import read_fleet_config
from fedstill_server.state import FleetState
from fedstill_server.tasks import load_public

from fedstill_sim.workers.keeper import Arrays, Handle, Keeper

_STATE, _TASK, _ROUND = "state/", "task/", "round"


def context_arrays(state: FleetState, tasks: Mapping[str, bytes], round_number: int) -> Arrays:
    """A round's context: the state that its tasks were made from, and the tasks by name, encoded."""
    arrays = {f"{_STATE}{name}": array for name, array in state.flat().items()}
    arrays |= {f"{_TASK}{name}": np.frombuffer(blob, np.uint8) for name, blob in tasks.items()}
    return {**arrays, _ROUND: np.array(round_number)}


class RoundContext:
    """A round, as a worker has it open."""

    def __init__(
        self,
        config: FleetConfig,
        method: Method,
        state: FleetState,
        *,
        number: int,
        blobs: Mapping[str, bytes],
    ) -> None:
        """Open a round.

        Args:
            config: The fleet's configuration.
            method: The method whose round it is.
            state: The state that its tasks were made from.
            number: The round.
            blobs: The tasks by name, encoded.
        """
        self.config, self.method, self.blobs = config, method, blobs
        self._number = number
        self.part = PartialFold(method, state, number)
        self._tasks: dict[str, RoundTask] = {}

    def no_answers(self) -> ExactFold[Statistics]:
        """The fold over no devices."""
        return no_answers(self.method, self._number)

    def summary(self, task: RoundTask, statistics: PrivateStatistics) -> SoftLabelSummary:
        """An answer to a task of the round."""
        return SoftLabelSummary(task.run, task.round, task.family, task.request.kind, statistics)

    def task(self, name: str) -> RoundTask:
        """A task, as devices decode it."""
        if name not in self._tasks:
            self._tasks[name] = decode_task(self.blobs[name])
        return self._tasks[name]


@functools.lru_cache(maxsize=1)
def _run_method(run_folder: Path) -> tuple[FleetConfig, Method]:
    config = read_fleet_config(run_folder)
    return config, build_method(config, load_public(run_folder, config))


@functools.lru_cache(maxsize=1)
def open_context(run_folder: Path, keeper: Keeper, handle: Handle) -> RoundContext:
    """Open a round's context, which this process keeps open for the next shard of the round."""
    arrays = keeper.read(handle)
    config, method = _run_method(run_folder)
    parts = {
        prefix: {
            name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)
        }
        for prefix in (_STATE, _TASK)
    }
    state, number = FleetState.from_flat(parts[_STATE]), int(arrays[_ROUND])
    return RoundContext(
        config,
        method.of_round(state, round_number=number),
        state,
        number=number,
        blobs={name: blob.tobytes() for name, blob in parts[_TASK].items()},
    )


def forget_contexts() -> None:
    """Close what this process keeps open: the run's folder may change once it is over."""
    open_context.cache_clear()
    _run_method.cache_clear()

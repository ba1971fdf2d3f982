"""`StackedFleet`: the fleet's part of a run, folded where its devices run, without a message.

The main process holds columns of the fleet and sums; what comes of single devices stays in the workers. The
consensus, accuracies and bytes are those of the path over messages, bit for bit: tasks and answers are the
same and their lengths exact, the fold is the server's own code, and its sums depend on no order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fedstill_server.config.fleet import FleetConfig
from fedstill_server.methods import Method
from fedstill_server.rounds import events
from fedstill_server.rounds.fleet_work import FoldedRound, Measured, Stopwatch
from fedstill_server.rounds.run_store import Checkpoint
from fedstill_server.rounds.sampling import cohort_places, goal_of
from fedstill_server.state import FleetState

from fedstill_sim.engine.cohort import EngineError
from fedstill_sim.folder import DEVICES_FOLDER
from fedstill_sim.stacks.fleet_columns import ColumnsStore, FleetColumns
from fedstill_sim.stacks.measuring import measured_fleet
from fedstill_sim.stacks.open_fleet import OpenFleet
from fedstill_sim.stacks.stacked_round import StackedRound
from fedstill_sim.stacks.tasks import RoundTasks
from fedstill_sim.workers.calls import WorkerLost


class StackedFleet:
    """All devices of an open fleet, which are there in every round."""

    keeps = 0  # states of earlier rounds: nobody answers them

    def __init__(self, fleet: OpenFleet, config: FleetConfig, method: Method) -> None:
        self._fleet, self._config, self._method = fleet, config, method
        self._store = ColumnsStore(fleet.folder / DEVICES_FOLDER, devices=fleet.devices)
        self._columns = FleetColumns.start(0)

    def resume(self, checkpoint: Checkpoint, state_of: Callable[[int], FleetState | None]) -> None:
        """Go on after a checkpoint, with the columns of its round."""
        self._columns = self._store.read(checkpoint.round)

    def gather(self, number: int) -> int | None:
        """Return how many devices there are; None after the last round."""
        return None if number > self._config.rounds else self._fleet.devices

    def fold(self, method: Method, before: Checkpoint, watch: Stopwatch) -> FoldedRound:
        """Have a cohort train, and fold what it answers."""
        config, number, fleet = self._config, before.round + 1, self._fleet
        places = cohort_places(fleet.devices, config.cohort, seed=config.seed, round_number=number)
        cohort = fleet.by_name[places]
        events.publish(events.RoundStarted(round=number, rounds=config.rounds, asked=len(cohort)))
        tasks = RoundTasks(self._method, before, number)
        groups = tasks.groups(fleet, self._columns, cohort)
        work = StackedRound(fleet, method, before.state, number, cohort=cohort, tasks=tasks)
        with _workers_there():
            work.train(groups, goal=goal_of(config.cohort, fleet.devices))
            watch.lap("train")
            consensus = work.folded()
        watch.lap("ingest")
        base_tables = tasks.tables_after()
        self._columns = self._columns.after(
            number,
            asked=cohort,
            answered=work.answered,
            counted=work.counted,
            told=base_tables.told,
        )
        self._store.write(number, self._columns)
        left_out = work.left_out()
        return FoldedRound(
            consensus=consensus,
            present=fleet.devices,
            asked=len(cohort),
            replied=len(cohort),
            accepted=len(work.counted),
            late=len(work.answered) - len(work.counted),
            quarantined=left_out.entries,
            left_out=left_out.by_reason,
            counted=fleet.names_of(work.counted),
            ages=(0,) * len(work.counted) if fleet.lists_devices else (),
            mean_age=0.0 if len(work.counted) and not fleet.lists_devices else None,
            uplink_bytes=work.uplink_bytes,
            downlink_bytes=tasks.sent_bytes,
            base_tables=base_tables,
        )

    def measure(self, after: Checkpoint) -> Measured:
        """Have devices count their correct answers."""
        with _workers_there():
            return measured_fleet(self._fleet, self._config, self._method, after, self._columns)

    def committed(self, number: int) -> None:
        """Forget what workers kept of the round."""
        self._fleet.keeper.clear()


@contextmanager
def _workers_there() -> Iterator[None]:
    try:
        yield
    except WorkerLost as lost:
        raise EngineError(
            f"{lost}. `fedstill-sim resume` goes on from the last full round; fewer --processes need less "
            "memory"
        ) from lost

"""One round on the stacks path: a pass that trains and folds, or keeps; then, where needed, one that folds.

Answers are kept where methods compare all of a round before any is summed, or where more devices are asked
than are to count. What was kept by a worker that is lost is made anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import BoolArray, IntArray
from fedstill_server.consensus.aggregation import Statistics
from fedstill_server.consensus.exact_sum import ExactFold
from fedstill_server.consensus.folds.norms import Norms
from fedstill_server.methods import Method
from fedstill_server.rounds import events
from fedstill_server.rounds.round_record import Quarantined
from fedstill_server.state import FleetState

from fedstill_sim.engine.grid import FIRST_DEVICE_NODE_ID
from fedstill_sim.engine.groups import makes_start
from fedstill_sim.engine.shards import TaskShard
from fedstill_sim.engine.students import NO_STUDENT
from fedstill_sim.stacks.open_fleet import OpenFleet
from fedstill_sim.stacks.passes import done_by
from fedstill_sim.stacks.round_context import context_arrays
from fedstill_sim.stacks.shards import Arrays, FoldedShard, FoldShard, KeptShard, SharedStart
from fedstill_sim.stacks.tasks import CohortGroup, RoundTasks
from fedstill_sim.stacks.work import fold_kept, fold_stacks, make_start, measure_kept
from fedstill_sim.workers.keeper import Handle, HandleLost

MOST_LISTED_FAILURES = 100


@dataclass(frozen=True, eq=False)
class LeftOutAnswers:
    """The answers of a round that do not count: the first of them, and all by reason."""

    entries: tuple[Quarantined, ...]
    by_reason: Mapping[str, int]


@dataclass(eq=False)
class _Shard:
    """Devices at these places of the cohort [n], what is asked of them, and what is kept of their answers."""

    ask: FoldShard
    places: IntArray
    family: str
    kept: Handle | None = None


class StackedRound:
    """A round of an open fleet."""

    def __init__(
        self,
        fleet: OpenFleet,
        method: Method,
        state: FleetState,
        number: int,
        *,
        cohort: IntArray,
        tasks: RoundTasks,
    ) -> None:
        """Begin a round.

        Args:
            fleet: The fleet.
            method: The method whose round it is.
            state: The state before it.
            number: The round.
            cohort: The devices that are asked, in the order of their selection [n].
            tasks: The round's tasks.
        """
        self._fleet, self._method, self._number, self._cohort = fleet, method, number, cohort
        self._tasks, self._state = tasks, state
        self._shards: list[_Shard] = []
        self._good: BoolArray = np.zeros(len(cohort), np.bool_)  # whose answers are, by place in the cohort
        self._count: BoolArray = self._good  # whose answers count
        self._left_out: dict[int, tuple[str, str]] = {}  # reason and text, by place
        self._reasons: Counter[str] = Counter()
        self._total = ExactFold(method.bounded_zero(round_number=number))
        self._norms = ExactFold(Norms())
        self._folds = False
        self.uplink_bytes = 0

    @property
    def answered(self) -> IntArray:
        """The devices whose answers are good."""
        return self._cohort[self._good]

    @property
    def counted(self) -> IntArray:
        """The devices whose answers are folded."""
        return self._cohort[self._count]

    def train(self, groups: Sequence[CohortGroup], *, goal: int) -> None:
        """Have the cohort train and answer; the first `goal` good answers, in its order, count."""
        all_count = len(self._cohort) <= goal
        self._folds = all_count and not self._method.compares
        context = self._fleet.keeper.keep(context_arrays(self._state, self._tasks.blobs, self._number))
        students = self._fleet.students
        before, after = students.begin(self._number)
        self._shards = []
        asks = self._shard_asks(groups, before, context, all_count=all_count)
        replied = 0
        for place, done in self._done_by(fold_stacks, asks):
            shard = self._shards[place]
            self._take(shard, done)
            now = shard.ask.shard.devices[done.trained & shard.ask.stored]
            after[now] = np.where(before[now] == 0, 1, 0)
            gone = shard.ask.shard.devices[done.trained & ~shard.ask.stored]
            after[gone] = NO_STUDENT
            replied += len(shard.places)
            self._publish(replied)
        students.commit(self._number, after, families={group.task.family for group in groups})
        self._count = self._good
        if int(self._good.sum()) > goal:
            self._count = np.zeros(len(self._cohort), np.bool_)
            self._count[np.flatnonzero(self._good)[:goal]] = True

    def folded(self) -> Statistics:
        """The sum over the answers that count, as the method learns from it."""
        if not self._folds and self._count.any():
            self._fold_kept()
        total: Statistics = self._total.result()
        if total.devices == 0:
            return total
        settled: Statistics = self._method.settled(total, round_number=self._number)
        return settled

    def left_out(self) -> LeftOutAnswers:
        """The answers that do not count, in the order of the cohort."""
        entries = tuple(
            Quarantined(
                device=self._fleet.names[int(self._cohort[place])],
                node=str(FIRST_DEVICE_NODE_ID + int(self._cohort[place])),
                reason=self._left_out[place][0],
                text=self._left_out[place][1],
            )
            for place in sorted(self._left_out)[:MOST_LISTED_FAILURES]
        )
        whole = len(entries) == self._reasons.total()
        return LeftOutAnswers(entries, {} if whole else dict(self._reasons))

    def _shard_asks(
        self,
        groups: Sequence[CohortGroup],
        before: npt.NDArray[np.uint8],
        context: Handle,
        *,
        all_count: bool,
    ) -> Iterator[FoldShard]:
        """Yield what is asked of each shard, of a group as soon as the start that it shares is made."""
        for group, start in self._started(groups, context):
            for ask, places in self._asks(group, before, context, all_count=all_count):
                shard = _Shard(replace(ask, start=start), places, group.task.family)
                self._shards.append(shard)
                yield shard.ask

    def _started(
        self, groups: Sequence[CohortGroup], context: Handle
    ) -> Iterator[tuple[CohortGroup, Handle | None]]:
        """Yield each group with the start that its devices share, if any; workers make these meanwhile."""
        fleet = self._fleet
        making = fleet.largest_first(
            [group for group in groups if makes_start(group.task)], lambda group: group.task.family
        )
        asks = [
            SharedStart(
                run_folder=fleet.folder,
                stack_size=fleet.stack_sizes[group.task.family],
                task=group.name,
                context=context,
                keeper=fleet.keeper,
            )
            for group in making
        ]
        left = {
            fleet.executor.submit(make_start, ask): group for ask, group in zip(asks, making, strict=True)
        }
        ready = [group for group in groups if not makes_start(group.task)]
        yield from ((group, None) for group in fleet.largest_first(ready, lambda group: group.task.family))
        while left:
            for future in wait(left, return_when=FIRST_COMPLETED).done:
                yield left.pop(future), future.result()

    def _asks(
        self, group: CohortGroup, before: npt.NDArray[np.uint8], context: Handle, *, all_count: bool
    ) -> list[tuple[FoldShard, IntArray]]:
        fleet, asks = self._fleet, []
        stored = fleet.students.are_kept
        for part in fleet.parts(group.task, group.devices, group.places, before):
            own = before[part.devices]
            starts_own = own[0] != NO_STUDENT and not group.task.forgets
            shard = TaskShard(
                run_folder=fleet.folder,
                stack_size=fleet.stack_sizes[group.task.family],
                task=b"",
                devices=part.devices,
                slots=own if starts_own else None,
                new_slots=np.where(own == 0, 1, 0).astype(np.uint8),
                owner_share=fleet.owner_share,
                noise_seed=fleet.noise_seed,
            )
            ask = FoldShard(
                shard=shard,
                task=group.name,
                context=context,
                keeper=fleet.keeper,
                stored=stored[part.devices],
                folds=self._folds,
                measures=all_count and self._method.compares,
            )
            asks.append((ask, part.places))
        return asks

    def _take(self, shard: _Shard, done: FoldedShard) -> None:
        self._fleet.worker_ids.add(done.process)
        self._good[shard.places] = done.counts
        self.uplink_bytes += int(done.bytes.sum())
        shard.kept = done.kept
        if done.partial is not None:
            self._total.merge_arrays(done.partial)
        if done.norms is not None:
            self._norms.merge_arrays(done.norms)
        for one in done.left_out:
            self._reasons[one.reason] += 1
            place = int(shard.places[one.place])
            if len(self._left_out) < MOST_LISTED_FAILURES or place < max(self._left_out):
                self._left_out[place] = (one.reason, one.text)
                if len(self._left_out) > MOST_LISTED_FAILURES:
                    del self._left_out[max(self._left_out)]

    def _publish(self, replied: int) -> None:
        good = replied - self._reasons.total()
        events.publish(
            events.Collected(round=self._number, replied=replied, accepted=good, asked=len(self._cohort))
        )

    def _fold_kept(self) -> None:
        """Fold the kept answers that count, once their norms are known."""
        norms = None
        if self._method.compares:
            if not self._shards[0].ask.measures:
                for arrays in self._of_kept(measure_kept, norms=None):
                    self._norms.merge_arrays(arrays)
            norms = self._fleet.keeper.keep(self._norms.to_arrays())
        for arrays in self._of_kept(fold_kept, norms=norms):
            self._total.merge_arrays(arrays)

    def _of_kept(self, work: Callable[[KeptShard], Arrays], *, norms: Handle | None) -> Iterator[Arrays]:
        """Yield what a pass over all kept answers makes of each shard's that has some which count."""
        shards = [shard for shard in self._shards if self._count[shard.places].any()]
        for place, future in done_by(
            self._fleet.executor,
            work,
            [self._kept_ask(shard, norms) for shard in shards],
            processes=self._fleet.workers,
        ):
            try:
                found = future.result()
            except HandleLost:
                found = self._again(shards[place], work, norms)
            yield found

    def _kept_ask(self, shard: _Shard, norms: Handle | None) -> KeptShard:
        good = self._good[shard.places]
        counted = self._count[shard.places][good]
        assert shard.kept is not None  # what does not fold keeps
        return KeptShard(
            run_folder=shard.ask.shard.run_folder,
            task=shard.ask.task,
            kept=shard.kept,
            counted=None if counted.all() else counted,
            context=shard.ask.context,
            keeper=shard.ask.keeper,
            norms=norms,
        )

    def _again(self, shard: _Shard, work: Callable[[KeptShard], Arrays], norms: Handle | None) -> Arrays:
        """Train a shard anew whose answers are lost: it comes out the same."""
        executor = self._fleet.executor
        for last in (False, False, True):
            shard.kept = executor.submit(fold_stacks, replace(shard.ask, measures=False)).result().kept
            try:
                return executor.submit(work, self._kept_ask(shard, norms)).result()
            except HandleLost:
                if last:
                    raise
        raise AssertionError("the last time either returns or raises")

    def _done_by(self, work: Callable[[FoldShard], FoldedShard], asks: Iterable[FoldShard]) -> Any:
        """Yield what became of each shard, with its place, in the order in which they are done."""
        for place, future in done_by(self._fleet.executor, work, asks, processes=self._fleet.workers):
            yield place, future.result()

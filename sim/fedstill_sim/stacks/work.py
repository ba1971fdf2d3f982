"""What a worker does on the stacks path: train, answer, check and fold, stack by stack. No torch, no flwr."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from fedstill_client.rounds import round as round_work
from fedstill_client.rounds.round import TrainingDiverged
from fedstill_client.rounds.summarizer import StackAnswers, stack_answers
from fedstill_client.rounds.trained_stack import TrainedStack
from fedstill_proto.arrays import BoolArray, IntArray
from fedstill_proto.errors import FedstillError
from fedstill_proto.messages import PrivateStatistics, RoundTask, SoftLabelSummary
from fedstill_proto.privacy import seeded_bits
from fedstill_server.consensus.exact_sum import ExactFold
from fedstill_server.consensus.folds.norms import Norms
from fedstill_server.rounds.reasons import TEXT_LIMIT, Reason

from fedstill_sim.engine.open_run import OpenFamily, OpenRun, open_shard, open_task
from fedstill_sim.engine.shards import EvaluationCounts, TaskShard
from fedstill_sim.engine.students import flat_parameters, named_parameters
from fedstill_sim.engine.worker import counts_of_stack, stack_starts, student_stack
from fedstill_sim.stacks.packing import packed, unpacked
from fedstill_sim.stacks.round_context import RoundContext, open_context
from fedstill_sim.stacks.shards import (
    CountedShard,
    FoldedShard,
    FoldShard,
    KeptShard,
    ShardRefusal,
    SharedStart,
)
from fedstill_sim.workers.keeper import Handle

# What Flower's error replies of simulated devices say, which the message path quarantines.
_ERROR_REPLY = "error 99: {}"


def make_start(asked: SharedStart) -> Handle | None:
    """Make the start that all devices of a task share, and keep it; None where there is none to make."""
    context = open_context(asked.run_folder, asked.keeper, asked.context)
    run, task = open_task(asked.run_folder, context.blobs[asked.task])
    try:
        made = run.family(task.family, asked.stack_size).with_start(task, run.public_x)
    except FedstillError:  # each shard says so of its own devices
        return None
    handle: Handle | None = None if made is task else asked.keeper.keep(dict(made.parameters))
    return handle


def fold_stacks(asked: FoldShard) -> FoldedShard:
    """Train every device of the shard, store the students that are to be, and fold or keep the answers."""
    context = open_context(asked.shard.run_folder, asked.keeper, asked.context)
    shard = replace(asked.shard, task=context.blobs[asked.task])
    run, task = open_shard(shard)
    family = run.family(task.family, shard.stack_size)
    work = _Pass(asked, context, run, family, task, shard)
    if asked.start is not None:
        family.know_start(task, asked.keeper.read(asked.start))
    try:
        work.task = family.with_start(task, run.public_x)
        family.keep_start(work.task)
    except FedstillError as error:  # what no device of the family can do
        work.fail(range(len(shard.devices)), Reason.ERROR_REPLY, _ERROR_REPLY.format(_line(error)))
        return work.done()
    for start in stack_starts(shard):
        work.train(start, min(start + shard.stack_size, len(shard.devices)))
    return work.done()


@dataclass
class _Pass:
    """The first pass over a shard: what has come of its devices so far."""

    asked: FoldShard
    context: RoundContext
    run: OpenRun
    family: OpenFamily
    task: RoundTask
    shard: TaskShard
    left_out: list[ShardRefusal] = field(default_factory=list)
    kept: list[PrivateStatistics] = field(default_factory=list)

    def __post_init__(self) -> None:
        devices = len(self.shard.devices)
        self.bytes: IntArray = np.zeros(devices, np.int64)
        self.trained: BoolArray = np.zeros(devices, np.bool_)
        self.partial = self.context.no_answers() if self.asked.folds else None
        self.norms = ExactFold(Norms()) if self.asked.measures else None

    def train(self, start: int, stop: int) -> None:
        """Train a stack; of one that cannot be trained together, each device on its own."""
        try:
            self._train(start, stop)
        except FedstillError as error:
            if stop - start == 1:
                self.fail([start], Reason.ERROR_REPLY, _ERROR_REPLY.format(_line(error)))
                return
            for device in range(start, stop):
                self.train(device, device + 1)

    def _train(self, start: int, stop: int) -> None:
        members, task, family, shard = slice(start, stop), self.task, self.family, self.shard
        names = [self.run.stacks.device_names[device] for device in shard.devices[members].tolist()]

        def noise(name: str) -> Any:
            return seeded_bits(shard.noise_seed, "device", name, task.round)

        def answer(trained: TrainedStack) -> StackAnswers:
            return stack_answers(task, trained, devices=stop - start, names=names, noise=noise)

        trained = np.empty((shard.stack_size, family.manifest.parameter_count), np.float32)
        done = round_work.perform_round(
            student_stack(self.run, family, shard, members, control_variates=bool(task.control_variates)),
            task,
            family.personalizer,
            family.forward,
            self.run.public_x,
            out=named_parameters(trained, family.manifest),
            options=round_work.RoundOptions(noise=noise, answer=answer),
        )
        self._store(members, trained, done)
        diverged = done.diverged[: stop - start]
        if diverged.any():
            text = _ERROR_REPLY.format(TrainingDiverged(task.training.learning_rate))
            self.fail((start + np.flatnonzero(diverged)).tolist(), Reason.ERROR_REPLY, text)
        self._take(start, done.answer, diverged)

    def _store(self, members: slice, trained: np.ndarray, done: round_work.RoundWork) -> None:
        shard, family = self.shard, self.family
        assert shard.new_slots is not None
        stored = np.flatnonzero(self.asked.stored[members])
        self.trained[members] = ~done.diverged[: members.stop - members.start]
        if len(stored) == 0:
            return
        rows = self.run.family_rows(family.manifest.family, shard.devices[members][stored])
        slots = shard.new_slots[members][stored]
        family.file.write(slots, rows, trained[stored])
        if done.control_variates:
            own = flat_parameters(done.control_variates, family.manifest)[stored]
            family.file.control_variates.create()
            family.file.control_variates.write(slots, rows, own)

    def _take(self, start: int, answers: StackAnswers, diverged: BoolArray) -> None:
        good = np.flatnonzero(~diverged)
        statistics = [answers.statistics[device] for device in good.tolist()]
        self.bytes[start + good] = answers.bytes[good]
        if self.partial is None:
            self.kept += statistics
        summaries = [self.context.summary(self.task, one) for one in statistics]
        if self.norms is not None:
            self.context.part.norms(summaries, into=self.norms)
        if self.partial is not None:
            self.context.part.fold(summaries, Norms(), into=self.partial)

    def fail(self, places: Any, reason: Reason, text: str) -> None:
        """Leave devices of the shard out."""
        self.left_out += [
            ShardRefusal(place=place, reason=reason.value, text=text[:TEXT_LIMIT]) for place in places
        ]

    def done(self) -> FoldedShard:
        """What became of the shard."""
        kept = None
        if not self.asked.folds:
            kept = self.asked.keeper.keep(packed(self.kept, self.task.request.codec))
        if self.partial is not None:
            self.context.part.trim(self.partial)
        return FoldedShard(
            process=os.getpid(),
            bytes=self.bytes,
            left_out=tuple(self.left_out),
            trained=self.trained,
            partial=None if self.partial is None else self.partial.to_arrays(),
            norms=None if self.norms is None else self.norms.to_arrays(),
            kept=kept,
        )


def measure_kept(asked: KeptShard) -> Any:
    """Return the fold of the norms of kept answers, as arrays."""
    context, summaries = _kept(asked)
    return context.part.norms(summaries).to_arrays()


def fold_kept(asked: KeptShard) -> Any:
    """Return the fold of kept answers, as arrays."""
    context, summaries = _kept(asked)
    norms = Norms()
    if asked.norms is not None:
        norms = ExactFold.from_arrays(norms, asked.keeper.read(asked.norms)).result()
    partial = context.part.fold(summaries, norms)
    context.part.trim(partial)
    return partial.to_arrays()


def _kept(asked: KeptShard) -> tuple[RoundContext, Iterator[SoftLabelSummary]]:
    """The round, and the kept answers that count."""
    context = open_context(asked.run_folder, asked.keeper, asked.context)
    task = context.task(asked.task)
    answers = unpacked(asked.keeper.read(asked.kept), task.request.codec)

    def summaries() -> Iterator[SoftLabelSummary]:
        for place, statistics in enumerate(answers):
            if asked.counted is None or asked.counted[place]:
                yield context.summary(task, statistics)

    return context, summaries()


def count_stacks(shard: TaskShard) -> CountedShard:
    """Count the right answers of every device of the shard."""
    run, task = open_shard(shard)
    family = run.family(task.family, shard.stack_size)
    counts = np.full((len(shard.devices), len(EvaluationCounts._fields)), -1, np.int64)
    failures: dict[int, str] = {}

    def count(start: int, stop: int) -> None:
        try:
            counts[start:stop] = counts_of_stack(run, family, task, shard, slice(start, stop))
        except FedstillError as error:
            if stop - start == 1:
                failures[start] = _ERROR_REPLY.format(_line(error))[:TEXT_LIMIT]
                return
            for device in range(start, stop):
                count(device, device + 1)

    for start in stack_starts(shard):
        count(start, min(start + shard.stack_size, len(shard.devices)))
    return CountedShard(process=os.getpid(), counts=counts, failures=failures)


def _line(error: FedstillError) -> str:
    return " ".join(str(error).split())

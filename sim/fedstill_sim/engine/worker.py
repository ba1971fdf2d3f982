"""What a worker process does: the client's round for virtual devices, stack by stack. No torch, no flwr."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from fedstill_client.rounds import round as round_work
from fedstill_client.rounds.round import DeviceStack, TrainingDiverged
from fedstill_proto.arrays import IntArray
from fedstill_proto.errors import FedstillError
from fedstill_proto.messages import RoundTask
from fedstill_proto.privacy import seeded_bits

from fedstill_sim.engine.open_run import OpenFamily, OpenRun, open_shard
from fedstill_sim.engine.shards import DeviceFailure, DeviceReply, EvaluationCounts, ShardReplies, TaskShard
from fedstill_sim.engine.stacks import padded
from fedstill_sim.engine.students import flat_parameters, named_parameters


def train(shard: TaskShard) -> ShardReplies:
    """Train and summarize every device of the shard, and store its student."""
    return _stack_by_stack(_train_stack, shard)


def evaluate(shard: TaskShard) -> ShardReplies:
    """Count the right answers of every device of the shard."""
    return _stack_by_stack(_evaluate_stack, shard)


StackFunction = Callable[[OpenRun, OpenFamily, RoundTask, TaskShard, slice], Sequence[DeviceReply]]


def stack_starts(shard: TaskShard) -> range:
    """Return where each stack begins among the shard's devices."""
    return range(0, len(shard.devices), shard.stack_size)


def _stack_by_stack(function: StackFunction, shard: TaskShard) -> ShardReplies:
    run, task = open_shard(shard)
    family = run.family(task.family, shard.stack_size)
    if shard.new_slots is not None:
        try:
            task = family.with_start(task, run.public_x)
            family.keep_start(task)
        except FedstillError as error:  # what no device of the family can do
            failure: DeviceReply = DeviceFailure(str(error))
            return ShardReplies(os.getpid(), [failure] * len(shard.devices))

    def replies_of(start: int, stop: int) -> Sequence[DeviceReply]:
        try:
            return function(run, family, task, shard, slice(start, stop))
        except FedstillError as error:
            if stop - start == 1:
                return [DeviceFailure(str(error))]
        # One device's failure is not its neighbours': each works on its own.
        return [reply for device in range(start, stop) for reply in replies_of(device, device + 1)]

    replies: list[DeviceReply] = []
    for start in stack_starts(shard):
        replies += replies_of(start, min(start + shard.stack_size, len(shard.devices)))
    return ShardReplies(os.getpid(), replies)


def _train_stack(
    run: OpenRun, family: OpenFamily, task: RoundTask, shard: TaskShard, members: slice
) -> list[DeviceReply]:
    assert shard.new_slots is not None
    trained = np.empty((shard.stack_size, family.manifest.parameter_count), np.float32)
    options = round_work.RoundOptions(
        base_tables=run.answers,
        noise=lambda name: seeded_bits(shard.noise_seed, "device", name, task.round),
    )
    done = round_work.perform_round(
        student_stack(run, family, shard, members, control_variates=bool(task.control_variates)),
        task,
        family.personalizer,
        family.forward,
        run.public_x,
        out=named_parameters(trained, family.manifest),
        options=options,
    )
    devices = shard.devices[members]
    rows = run.family_rows(task.family, devices)
    family.file.write(shard.new_slots[members], rows, trained[: len(devices)])
    if done.control_variates:
        own = flat_parameters(done.control_variates, family.manifest)[: len(devices)]
        family.file.control_variates.create()
        family.file.control_variates.write(shard.new_slots[members], rows, own)
    diverged = DeviceFailure(str(TrainingDiverged(task.training.learning_rate)))
    return [diverged if summary is None else summary for summary in done.summaries]


def _evaluate_stack(
    run: OpenRun, family: OpenFamily, task: RoundTask, shard: TaskShard, members: slice
) -> list[DeviceReply]:
    return [EvaluationCounts(*row) for row in counts_of_stack(run, family, task, shard, members).tolist()]


def counts_of_stack(
    run: OpenRun, family: OpenFamily, task: RoundTask, shard: TaskShard, members: slice
) -> IntArray:
    """The counts [n, 6] of a stack of the shard's devices, in the order of EvaluationCounts."""
    devices, stack = shard.devices[members], student_stack(run, family, shard, members)
    if shard.trained_in is not None:
        fleet = family.fleet(padded(shard.trained_in[members], shard.stack_size))
        stack = replace(stack, fleet=fleet)
    evaluation = round_work.evaluate(
        stack,
        task,
        family.forward,
        personal_test=run.stacks.test(padded(devices, shard.stack_size)),
        global_test=run.global_test,
        owner_share=shard.owner_share,
    )
    columns = [getattr(evaluation, name) for name in EvaluationCounts._fields]
    counts: IntArray = np.stack(columns, axis=1)[: len(devices)]
    return counts


def student_stack(
    run: OpenRun, family: OpenFamily, shard: TaskShard, members: slice, *, control_variates: bool = False
) -> DeviceStack:
    """A stack of the shard's devices, filled up, with their students, and control variates if asked."""
    devices = shard.devices[members]
    filled = padded(devices, shard.stack_size)
    parameters = own = None
    if shard.slots is not None:
        rows = run.family_rows(family.manifest.family, filled)
        slots = padded(shard.slots[members], shard.stack_size)
        parameters = named_parameters(family.file.read(slots, rows), family.manifest)
        if control_variates:
            own = named_parameters(family.file.control_variates.read(slots, rows), family.manifest)
    return DeviceStack(
        names=[run.stacks.device_names[device] for device in devices],
        private=run.stacks.private(filled),
        parameters=parameters,
        device_ids=run.stacks.ids(filled),
        installed=family.installed,
        control_variates=own,
    )

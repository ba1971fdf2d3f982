"""Groups the messages of a push by their task, and splits the groups into shards for worker processes."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fedstill_proto.arrays import IntArray
from fedstill_proto.codec.api import TASK_LIMIT_BYTES, decode_task
from fedstill_proto.errors import WireError
from fedstill_proto.flower_records import unpack
from fedstill_proto.messages import RoundTask, StartSource
from flwr.app import RecordDict

from fedstill_sim.workers.growing import GrowingPool
from fedstill_sim.workers.pool import start_workers, usable_cores, workers_of
from fedstill_sim.workers.remote import RemoteExecutor

_SHARDS_A_PROCESS = 3  # so that no process waits long for the last one
_MOST_STACKS_IN_A_SHARD = 16
_FEWEST_STACKS_A_PROCESS = 8  # fewer in a round may take less time than a process takes to start


@dataclass(frozen=True)
class TaskGroup:
    """Devices [n] that got the same task, and their messages' places [n] in the push."""

    blob: bytes
    task: RoundTask
    devices: IntArray
    places: IntArray

    def part(self, members: IntArray) -> TaskGroup:
        """Return the group of some of its members [m], which are places in the group."""
        return TaskGroup(self.blob, self.task, self.devices[members], self.places[members])


def group_messages(
    devices: Sequence[int], contents: Sequence[RecordDict], *, families: Sequence[str]
) -> tuple[list[TaskGroup], dict[int, str]]:
    """Group the messages of a push.

    Args:
        devices: The device that each message goes to.
        contents: The messages, in the same order.
        families: The student family of every device of the fleet.

    Returns:
        The groups, and by place in the push why a message is no task for its device.
    """
    places: defaultdict[bytes, list[int]] = defaultdict(list)
    refused: dict[int, str] = {}
    for place, content in enumerate(contents):
        try:
            places[unpack(content, "RoundTask", size_limit_bytes=TASK_LIMIT_BYTES)].append(place)
        except WireError as error:
            refused[place] = str(error)
    groups = []
    for blob, members in places.items():
        try:
            task = decode_task(blob)
        except WireError as error:
            refused |= dict.fromkeys(members, str(error))
            continue
        own = [place for place in members if families[devices[place]] == task.family]
        for place in set(members).difference(own):
            family = families[devices[place]]
            refused[place] = f"the round is for student family {task.family!r}; here is {family!r}."
        if own:
            groups.append(TaskGroup(blob, task, np.array(devices)[own], np.array(own)))
    return groups, refused


def worthwhile_processes(stacks: int) -> int:
    """Return one process a core, but none that would have only a few stacks a round; 0 for a small fleet."""
    processes = min(usable_cores(), stacks // _FEWEST_STACKS_A_PROCESS)
    return processes if processes > 1 else 0


def fitting_workers(stacks: int) -> Executor:
    """Return what works for a fleet of so many stacks: worker processes, at once where they are sure to be
    worth it and else once rounds have taken as long as they do to start; this process for a single stack.
    """
    processes = worthwhile_processes(stacks)
    if processes:
        return start_workers(processes)
    most = min(usable_cores(), stacks)
    return GrowingPool(most) if most > 1 else start_workers(0)


def workers_for_run(
    run_folder: Path, *, executor: Executor | None, processes: int | None, stacks: int
) -> tuple[Executor, int]:
    """Return what makes a run's calls, and how many workers it has.

    Args:
        run_folder: The run.
        executor: What was given to make them; None starts worker processes.
        processes: How many workers there are to be, or are; None is what fits the fleet, or what was given.
        stacks: How many stacks the whole fleet makes.
    """
    if executor is None:
        own = fitting_workers(stacks) if processes is None else start_workers(processes)
        return own, workers_of(own)
    workers = workers_of(executor) if processes is None else processes
    return executor.of_run(run_folder) if isinstance(executor, RemoteExecutor) else executor, workers


def split_group(
    group: TaskGroup, *, train_counts: IntArray, stack_size: int, processes: int
) -> list[TaskGroup]:
    """Split a group into shards of whole stacks, each with about equally much to do.

    Devices with equally many examples stand together in a stack, since a stack works as long as its longest;
    stacks are dealt out to shards in turn. A few stacks that share the making of a start are one shard: each
    worker makes the start anew.

    Args:
        group: The devices and their task.
        train_counts: Training examples of every device of the fleet.
        stack_size: Devices in a stack.
        processes: Worker processes that share the work; 0 is this one.
    """
    order = np.argsort(-train_counts[group.devices], kind="stable")
    stacks = np.split(order, range(stack_size, len(order), stack_size))
    fewest = math.ceil(len(stacks) / _MOST_STACKS_IN_A_SHARD)
    shards = max(min(processes * _SHARDS_A_PROCESS, len(stacks)), fewest)
    if len(stacks) < _FEWEST_STACKS_A_PROCESS and makes_start(group.task):
        shards = fewest
    # The last stack may not be full: it ends the shard that it is dealt to.
    return [group.part(np.concatenate(stacks[shard::shards])) for shard in range(shards) if len(order)]


def makes_start(task: RoundTask) -> bool:
    """Whether the devices of a task train what they start from, all the same."""
    start = task.start
    return start is not None and start.source is StartSource.INSTALLED and start.epochs > 0

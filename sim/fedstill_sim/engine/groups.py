"""Sorts the messages of a push into groups of devices with the same task, and cuts groups into jobs."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from fedstill_proto.arrays import IntArray
from fedstill_proto.codec.api import TASK_LIMIT_BYTES, decode_task
from fedstill_proto.errors import WireError
from fedstill_proto.flower_records import unpack
from fedstill_proto.messages import RoundTask
from flwr.app import RecordDict

from fedstill_sim.workers.pool import usable_cores

_JOBS_A_PROCESS = 3  # so that no process waits long for the last one
_MOST_STACKS_IN_A_JOB = 16
_FEWEST_STACKS_A_PROCESS = 8  # fewer in a round take less time than a process takes to start


@dataclass(frozen=True)
class Group:
    """Devices [n] that got the same task, in `places` [n] of the push."""

    blob: bytes
    task: RoundTask
    devices: IntArray
    places: IntArray

    def part(self, members: IntArray) -> Group:
        """Some of the group."""
        return Group(self.blob, self.task, self.devices[members], self.places[members])


def grouped(
    devices: Sequence[int], contents: Sequence[RecordDict], *, families: Sequence[str]
) -> tuple[list[Group], dict[int, str]]:
    """The groups of a push, and why other messages of it are no task for their device, by place."""
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
            groups.append(Group(blob, task, np.array(devices)[own], np.array(own)))
    return groups, refused


def worthwhile_processes(stacks: int) -> int:
    """Return one process a core, but none that would have only a few stacks a round; 0 for a small fleet."""
    processes = min(usable_cores(), stacks // _FEWEST_STACKS_A_PROCESS)
    return processes if processes > 1 else 0


def cut(group: Group, *, train_counts: IntArray, stack_size: int, processes: int) -> list[Group]:
    """The group in jobs of whole stacks, each with about equally much to do.

    Devices with equally many examples (train_counts, of the whole fleet) stand together in a stack, since a
    stack works as long as its longest; stacks are dealt out to jobs in turn.
    """
    order = np.argsort(-train_counts[group.devices], kind="stable")
    stacks = np.split(order, range(stack_size, len(order), stack_size))
    jobs = max(min(processes * _JOBS_A_PROCESS, len(stacks)), math.ceil(len(stacks) / _MOST_STACKS_IN_A_JOB))
    # The last stack may not be full: it ends the job that it is dealt to.
    return [group.part(np.concatenate(stacks[job::jobs])) for job in range(jobs) if len(order)]

"""Messages become groups with the same task, groups become jobs of whole stacks."""

from dataclasses import replace
from itertools import pairwise

import fedstill_proto.flower_records  # noqa: F401  (before flwr)
import numpy as np
import pytest
from fedstill_proto.codec.api import decode_task
from fedstill_proto.flower_records import pack
from fedstill_proto.messages import PublicSoftLabels, StartPlan, StartSource
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels
from fedstill_sim.engine.groups import TaskGroup, group_messages, split_group
from flwr.app import RecordDict
from hypothesis import given
from hypothesis import strategies as st

from tests.sim.fleets import class_means_task

TASK = class_means_task("mlp-small", 1, with_student=False)
OTHER = class_means_task("cnn", 1, with_student=False)


def test_devices_with_the_same_task_are_one_group() -> None:
    contents = [pack("RoundTask", blob) for blob in (TASK, OTHER, TASK)]
    groups, refused = group_messages([5, 6, 7], contents, families=["mlp-small"] * 6 + ["cnn", "mlp-small"])
    assert refused == {}
    assert [(group.task.family, group.devices.tolist(), group.places.tolist()) for group in groups] == [
        ("mlp-small", [5, 7], [0, 2]),
        ("cnn", [6], [1]),
    ]


def test_what_is_no_task_for_its_device_is_refused_alone() -> None:
    contents = [pack("RoundTask", TASK), RecordDict(), pack("RoundTask", TASK), pack("RoundTask", b"x")]
    groups, refused = group_messages([0, 1, 2, 3], contents, families=["mlp-small", "cnn", "cnn", "cnn"])
    assert [group.places.tolist() for group in groups] == [[0]]
    assert sorted(refused) == [1, 2, 3]
    assert "for student family 'mlp-small'; here is 'cnn'" in refused[2]


def group_of(devices: int) -> TaskGroup:
    everyone = np.arange(devices)
    return TaskGroup(TASK, decode_task(TASK), everyone, everyone[::-1])


def stacks_of(jobs: list[TaskGroup], stack_size: int) -> list[list[int]]:
    """The devices of each stack that the jobs' workers will form."""
    return [
        job.devices[start : start + stack_size].tolist()
        for job in jobs
        for start in range(0, len(job.devices), stack_size)
    ]


@given(
    counts=st.lists(st.integers(0, 90), min_size=1, max_size=120),
    stack_size=st.integers(1, 16),
    processes=st.integers(0, 5),
)
def test_jobs_hold_every_device_once_in_stacks_of_like_devices(
    counts: list[int], stack_size: int, processes: int
) -> None:
    train_counts = np.array(counts)
    group = group_of(len(counts))
    jobs = split_group(group, train_counts=train_counts, stack_size=stack_size, processes=processes)
    stacks = stacks_of(jobs, stack_size)
    assert sorted(device for stack in stacks for device in stack) == list(range(len(counts)))
    assert all(job.places.tolist() == (len(counts) - 1 - job.devices).tolist() for job in jobs)
    assert len(stacks) == -(-len(counts) // stack_size)
    ranges = sorted((max(train_counts[stack]), min(train_counts[stack])) for stack in stacks)
    assert all(low[0] <= high[1] for low, high in pairwise(ranges))


def test_stacks_do_not_depend_on_the_number_of_processes() -> None:
    train_counts = np.arange(100) % 7

    def stacks(processes: int) -> list[list[int]]:
        jobs = split_group(group_of(100), train_counts=train_counts, stack_size=8, processes=processes)
        return sorted(stacks_of(jobs, 8))

    assert stacks(0) == stacks(1) == stacks(2) == stacks(9)


@pytest.mark.parametrize(("processes", "jobs"), [(0, 1), (1, 3), (2, 6), (100, 13)])
def test_more_processes_get_more_and_smaller_jobs(processes: int, jobs: int) -> None:
    parts = split_group(group_of(100), train_counts=np.ones(100, np.int64), stack_size=8, processes=processes)
    assert len(parts) == jobs
    sizes = [len(part.devices) for part in parts]
    assert max(sizes) - min(sizes) <= 8


def test_nobody_asked_is_no_job() -> None:
    assert split_group(group_of(0), train_counts=np.ones(1, np.int64), stack_size=8, processes=2) == []


def test_a_few_stacks_that_share_the_making_of_a_start_are_one_job() -> None:
    """Every worker would make it anew."""
    group = group_of(12)
    start = StartPlan(source=StartSource.INSTALLED, epochs=3, learning_rate=0.1)
    known = PublicSoftLabels(np.arange(4), DenseSoftLabels(np.full((4, 10), 0.1, np.float32)))
    made = replace(group, task=replace(group.task, start=start, soft_targets=known))

    def jobs(of: TaskGroup) -> int:
        return len(split_group(of, train_counts=np.ones(12, np.int64), stack_size=2, processes=2))

    assert (jobs(group), jobs(made)) == (6, 1)

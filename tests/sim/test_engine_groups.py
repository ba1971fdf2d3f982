"""Messages become groups with the same task, groups become jobs of whole stacks."""

import fedstill_proto.records  # noqa: F401  (before flwr)
import numpy as np
import pytest
from fedstill_proto.codec import decode_task
from fedstill_proto.records import pack
from fedstill_sim.engine.groups import Group, cut, grouped
from flwr.app import RecordDict
from hypothesis import given
from hypothesis import strategies as st

from tests.sim.fleets import class_means_task

TASK = class_means_task("mlp-small", 1, with_student=False)
OTHER = class_means_task("cnn", 1, with_student=False)


def test_devices_with_the_same_task_are_one_group() -> None:
    contents = [pack("RoundTask", blob) for blob in (TASK, OTHER, TASK)]
    groups, refused = grouped([5, 6, 7], contents, families=["mlp-small"] * 6 + ["cnn", "mlp-small"])
    assert refused == {}
    assert [(group.task.family, group.devices.tolist(), group.places.tolist()) for group in groups] == [
        ("mlp-small", [5, 7], [0, 2]),
        ("cnn", [6], [1]),
    ]


def test_what_is_no_task_for_its_device_is_refused_alone() -> None:
    contents = [pack("RoundTask", TASK), RecordDict(), pack("RoundTask", TASK), pack("RoundTask", b"x")]
    groups, refused = grouped([0, 1, 2, 3], contents, families=["mlp-small", "cnn", "cnn", "cnn"])
    assert [group.places.tolist() for group in groups] == [[0]]
    assert sorted(refused) == [1, 2, 3]
    assert "for student family 'mlp-small'; here is 'cnn'" in refused[2]


def group_of(devices: int) -> Group:
    everyone = np.arange(devices)
    return Group(TASK, decode_task(TASK), everyone, everyone[::-1])


@given(
    counts=st.lists(st.integers(0, 90), min_size=1, max_size=120),
    stack_size=st.integers(1, 16),
    processes=st.integers(0, 5),
)
def test_jobs_hold_every_device_once_in_whole_stacks(
    counts: list[int], stack_size: int, processes: int
) -> None:
    train_counts = np.array(counts)
    jobs = list(
        cut(group_of(len(counts)), train_counts=train_counts, stack_size=stack_size, processes=processes)
    )
    devices = np.concatenate([job.devices for job in jobs])
    assert sorted(devices.tolist()) == list(range(len(counts)))
    assert all(len(job.devices) % stack_size == 0 for job in jobs[:-1])
    assert all(job.places.tolist() == (len(counts) - 1 - job.devices).tolist() for job in jobs)
    assert (np.diff(train_counts[devices]) <= 0).all()


def test_stacks_do_not_depend_on_the_number_of_processes() -> None:
    train_counts = np.arange(100) % 7

    def stacks(processes: int) -> list[list[int]]:
        jobs = cut(group_of(100), train_counts=train_counts, stack_size=8, processes=processes)
        devices = np.concatenate([job.devices for job in jobs])
        return [devices[start : start + 8].tolist() for start in range(0, 100, 8)]

    assert stacks(0) == stacks(1) == stacks(2) == stacks(9)


@pytest.mark.parametrize(("processes", "jobs"), [(1, 4), (2, 7), (100, 13)])
def test_more_processes_get_more_and_smaller_jobs(processes: int, jobs: int) -> None:
    parts = cut(group_of(100), train_counts=np.ones(100, np.int64), stack_size=8, processes=processes)
    assert len(list(parts)) == jobs

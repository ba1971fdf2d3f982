"""Federated averaging in the workers: the sum of the parts is the whole, and the mean is the mean."""

from pathlib import Path

import numpy as np
import pytest
from fedstill_proto.codec.api import decode_task
from fedstill_proto.package.artifact import StudentManifest, load_artifact
from fedstill_sim.data.fleet import FleetDataError
from fedstill_sim.engine.averaging import WeightedSum, train_and_sum
from fedstill_sim.engine.cohort import CohortEngine
from fedstill_sim.engine.shards import TaskShard
from fedstill_sim.folder import artifact_folder

from tests.sim.fleets import class_means_task, write_run
from tests.sim.test_engine_cohort import train

FAMILY, STACK, DEVICES = "mlp-small", 4, 10


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_run(tmp_path, devices=DEVICES, stack_sizes={FAMILY: STACK})
    return tmp_path


def summed(run: Path, devices: list[int]) -> WeightedSum:
    task = class_means_task(FAMILY, 1, with_student=True)
    return train_and_sum(
        TaskShard(run_folder=run, stack_size=STACK, task=task, devices=np.array(devices), slots=None)
    )


def manifest(run: Path) -> StudentManifest:
    return load_artifact(artifact_folder(run, FAMILY, STACK)).manifest


def test_the_average_is_weighted_by_examples(run: Path) -> None:
    average = summed(run, list(range(DEVICES))).result(manifest(run))
    with CohortEngine(run, stack_sizes={FAMILY: STACK}, processes=0) as engine:
        data = engine.data
        train(engine, data, 1)
        students = engine.students(range(DEVICES), after_round=1)
    for name, array in students.items():
        expected = np.average(array.astype(np.float64), axis=0, weights=data.train.counts)
        np.testing.assert_allclose(average[name], expected, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("cut", [1, 4, 9])
def test_the_sum_of_the_parts_is_the_whole(run: Path, cut: int) -> None:
    whole = summed(run, list(range(DEVICES)))
    parts = summed(run, list(range(cut))) + summed(run, list(range(cut, DEVICES)))
    assert parts.examples == whole.examples
    np.testing.assert_allclose(parts.total, whole.total, rtol=1e-5, atol=1e-3)


def test_zero_adds_nothing() -> None:
    one = WeightedSum(np.array([2.0, 4.0]), 2)
    both = WeightedSum.zero(2) + one
    assert both.total.tolist() == [2.0, 4.0]
    assert both.examples == 2


def test_no_examples_have_no_average(run: Path) -> None:
    with pytest.raises(FleetDataError, match="no device has an example"):
        WeightedSum.zero(4).result(manifest(run))


def test_a_task_brings_the_student_to_start_from(run: Path) -> None:
    task = decode_task(class_means_task(FAMILY, 1, with_student=True))
    average = summed(run, [0]).result(manifest(run))
    assert average.keys() == task.parameters.keys()
    assert all(not np.array_equal(average[name], start) for name, start in task.parameters.items())

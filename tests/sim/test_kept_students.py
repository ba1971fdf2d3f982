"""Which devices keep their students, and where they lie."""

from pathlib import Path

import numpy as np
import pytest
from fedstill_proto.arrays import ParameterSpec
from fedstill_server.config.codec import ConfigError
from fedstill_sim.config import requested_data, resolve
from fedstill_sim.data.columns.families import FamilyColumn
from fedstill_sim.engine.kept_students import StudentRows, StudentsError, keep_only
from fedstill_sim.engine.students import StudentFile
from fedstill_sim.request import RunRequest
from fedstill_sim.runner.samples import keeping_devices, measured_devices

FAMILIES = FamilyColumn.in_turn(("a", "b"), devices=10)


def test_where_all_keep_theirs_a_device_has_the_row_of_its_place_in_its_family(tmp_path: Path) -> None:
    kept = StudentRows.open(tmp_path, FAMILIES)

    assert kept.rows(np.array([0, 1, 8, 9])).tolist() == [0, 0, 4, 4]
    assert (kept.count("a"), kept.are_kept.all()) == (5, True)


def test_of_a_sample_each_family_s_file_has_its_rows_alone(tmp_path: Path) -> None:
    keep_only(tmp_path, np.array([2, 3, 8]))

    kept = StudentRows.open(tmp_path, FAMILIES)

    assert (kept.count("a"), kept.count("b")) == (2, 1)
    assert kept.rows(np.array([8, 2, 3])).tolist() == [1, 0, 0]
    assert np.flatnonzero(kept.are_kept).tolist() == [2, 3, 8]
    with pytest.raises(StudentsError, match=r"device 4 has kept no student: 3 of 10.*--keep-students all"):
        kept.rows(np.array([2, 4]))
    keep_only(tmp_path, None)
    assert StudentRows.open(tmp_path, FAMILIES).are_kept.all()


@pytest.mark.parametrize("devices", [np.array([3, 2]), np.array([2, 10]), np.array([1.0]), np.array([[1]])])
def test_another_fleet_s_devices_are_refused(tmp_path: Path, devices: np.ndarray) -> None:
    keep_only(tmp_path, np.array([2]))
    np.save(tmp_path / "devices" / "kept_students.npy", devices)

    with pytest.raises(StudentsError, match="names no devices of this fleet of 10"):
        StudentRows.open(tmp_path, FAMILIES)


def test_a_file_of_few_rows_is_small(tmp_path: Path) -> None:
    width = ParameterSpec("w", (3, 4)).size
    file = StudentFile(tmp_path / "a.f32", devices=2, width=width)

    file.create()

    assert (tmp_path / "a.f32").stat().st_size == 2 * 2 * width * 4


@pytest.mark.parametrize(
    ("asked", "keeps", "rows"),
    [
        ({"devices": 50}, "all", None),
        ({"devices": 50, "keep_students": "sample", "evaluate_devices": "20"}, "sample", 20),
        ({"devices": 50, "keep_students": "none", "evaluate_devices": "20"}, "none", 20),
        ({"devices": 50, "keep_students": "sample", "evaluate_devices": "all"}, "sample", None),
        ({"devices": 20_001, "examples_per_device": 2}, "sample", 10_000),
        ({"devices": 20_001, "examples_per_device": 2, "method": "class-logits"}, "all", None),
        (
            {"devices": 20_001, "examples_per_device": 2, "method": "class-logits", "rounds": 1},
            "sample",
            10_000,
        ),
    ],
)
def test_who_keeps_a_student(asked: dict[str, object], keeps: str, rows: int | None) -> None:
    request = RunRequest(dataset="digits", **asked)  # type: ignore[arg-type]
    data = requested_data(request)
    config = resolve(request, data)

    kept = keeping_devices(config, data)

    assert config.simulation.keep_students == keeps
    assert (None if kept is None else len(kept)) == rows
    if kept is not None:
        assert np.array_equal(kept, measured_devices(config, data))


def test_a_method_that_goes_on_from_students_says_so() -> None:
    request = RunRequest(dataset="digits", method="class-logits", keep_students="sample")

    with pytest.raises(ConfigError, match=r"'sample' cannot be: under method 'class-logits'.*--rounds 1"):
        resolve(request, requested_data(request))


@pytest.mark.parametrize("asked", ["0", "-3", "ten", "1.5"])
def test_a_number_of_measured_devices_is_one(asked: str) -> None:
    with pytest.raises(ConfigError, match=r"--evaluate-devices: .* is not all, and not a number"):
        RunRequest(dataset="digits", evaluate_devices=asked)

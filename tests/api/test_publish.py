"""Publishing in one call: what was distilled, simulated or saved becomes the students of a fleet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fedstill_server.families import initial_parameters
from fedstill_server.publish.repository import Repository
from fedstill_server.publish.students import newest_state

import fedstill as fs
from fedstill.models import PackagedStudent
from tests.server.scripted_fleet import CLASSES, SHAPE, fleet_config, write_run
from tests.server.test_publish_handover import FAMILY, committed, given, package


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """The folder of a fleet whose first round is done, with its keys."""
    folder = tmp_path / "fleet"
    folder.mkdir()
    write_run(folder, fleet_config())
    committed(folder, FAMILY, initial_parameters(FAMILY, SHAPE, CLASSES, 0))
    Repository.create(folder)
    return folder


def test_students_are_handed_over_and_signed(fleet: Path, tmp_path: Path) -> None:
    made = PackagedStudent(package(FAMILY, SHAPE, CLASSES))
    (published,) = fs.publish(made, fleet)
    assert (published.family, published.package_version) == (FAMILY, 1)
    for name, array in made.package.parameters.items():
        np.testing.assert_array_equal(newest_state(fleet).students[FAMILY][name], array)

    (again,) = fs.publish([given(tmp_path / "other", package(FAMILY, SHAPE, CLASSES, seed=8))], str(fleet))
    assert again.package_version == 2
    (newest,) = fs.publish(None, fleet, families=[FAMILY])
    assert newest.package_version == 3


def test_what_is_no_student_of_the_fleet_is_refused(fleet: Path, tmp_path: Path) -> None:
    with pytest.raises(fs.FedstillError, match="cnn"):
        fs.publish(given(tmp_path / "cnn", package("cnn", (1, 8, 8), CLASSES)), fleet)
    with pytest.raises(fs.FedstillError):
        fs.publish(tmp_path / "nowhere", fleet)
    with pytest.raises(fs.FedstillError, match="nosuch"):
        fs.publish(None, fleet, families=["nosuch"])

"""fedstill-server release, kill and revive, as an operator meets them: real packages of a small fleet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fedstill_proto.package.artifact import StudentPackage, save_package
from fedstill_proto.package.release_plan import ReleasePlan
from fedstill_server import cli
from fedstill_server.families import initial_parameters
from fedstill_server.fleet.devices import DeviceRegister
from fedstill_server.fleet.folder import FleetFolder, FleetSettings
from fedstill_server.fleet.releasing import (
    StageQuestions,
    has_students_to_take_over,
    switched_off,
    take_students_over,
)
from fedstill_server.operations.audit import AuditLog
from fedstill_server.operations.database import FleetDatabase
from fedstill_server.publish.repository import Repository
from fedstill_server.publish.students import newest_state, publish_students
from typer.testing import CliRunner

from tests.server.scripted_fleet import CLASSES, SHAPE, fleet_config, write_run
from tests.server.test_fleet_folder import key_file
from tests.server.test_publish_handover import committed
from tests.server.test_publish_handover import package as made_elsewhere

FAMILY = "mlp-small"
AT_ONCE = ("--least-time", "0s", "--least-reports", "1")


def good_student() -> StudentPackage:
    """A student that has every public example right: a class is where its number is large."""
    student = made_elsewhere(FAMILY, SHAPE, CLASSES)
    hidden = np.zeros_like(student.parameters["hidden.weight"])
    output = np.zeros_like(student.parameters["output.weight"])
    for place in range(CLASSES):
        hidden[place, place] = output[place, place] = 1.0
    zeros = {name: np.zeros_like(array) for name, array in student.parameters.items()}
    parameters = {**zeros, "hidden.weight": hidden, "output.weight": output}
    return StudentPackage(student.manifest, student.inference_graph, parameters)


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    """A fleet of one device, whose student has the whole test set right."""
    folder = tmp_path / "fleet"
    FleetFolder.create(folder, FleetSettings(host="127.0.0.1", port=8443, superlink_port=8000))
    write_run(folder, fleet_config(test_set="public.npz"))
    Repository.create(folder)
    committed(folder, FAMILY, good_student().parameters, rounds=0)
    publish_students(folder)
    DeviceRegister(FleetFolder(folder).devices).add(key_file(tmp_path), "kitchen")
    return folder


def said(*words: object) -> Any:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(cli.cli, [*map(str, words), "--json"])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refused(*words: object) -> str:
    return str(CliRunner().invoke(cli.cli, [*map(str, words)]).exception)


def plan(fleet: Path) -> ReleasePlan:
    found = Repository.open(fleet).plan()
    assert found is not None
    return found


def test_a_release_is_started_looked_at_paused_and_let_go_on_to_all(fleet: Path) -> None:
    started = said("release", "start", fleet, "--stages", "50,100", "--least-time", "30s")
    assert (started["package_version"], started["status"], started["stage"]) == (2, "staged", 0)
    assert "release 2 is on its way" in refused("release", "start", fleet)
    assert "release 2 is on its way to the devices in stages" in refused("publish", fleet)
    asked = StageQuestions(fleet)()
    assert asked is not None
    assert (asked.package_version, asked.devices, asked.every_s) == (2, {"kitchen"}, 10.0)

    assert said("release", "pause", fleet)["waits_for"].startswith("it is paused")
    assert plan(fleet).paused
    assert "the stage lasts" in said("release", "resume", fleet)["waits_for"]
    assert said("release", "advance", fleet)["stage"] == 1
    assert said("release", "advance", fleet)["status"] == "done"
    assert Repository.open(fleet).published()[FAMILY].package_version == 2
    assert said("release", "rollback", fleet, "--reason", "slow")["reason"] == "slow"
    assert Repository.open(fleet).published()[FAMILY].package_version == 1
    assert said("release", "status", fleet, "--release", "2")["status"] == "taken back"

    actions = [entry.action for entry in AuditLog(fleet).entries()]
    names = ("start", "pause", "resume", "advance", "advance", "rollback")
    assert actions == [f"release-{name}" for name in names]
    with FleetDatabase.open(fleet) as database:
        assert database.last_events()[-1].kind == "release-taken-back"


def test_a_worse_student_is_not_released_unless_forced_and_rounds_go_on_from_one_that_all_have(
    fleet: Path, tmp_path: Path
) -> None:
    before = newest_state(fleet).students[FAMILY]
    worse = initial_parameters(FAMILY, SHAPE, CLASSES, 0)
    constant = {name: np.zeros_like(array) for name, array in worse.items()}
    bad = good_student()
    save_package(tmp_path / "bad", StudentPackage(bad.manifest, bad.inference_graph, constant))
    words = ("release", "start", fleet, "--package", tmp_path / "bad", *AT_ONCE)
    assert "33.3% of the test set is right, 100.0% with the package in use" in refused(*words)
    assert said(*words, "--force")["package_version"] == 2
    said("release", "rollback", fleet)
    assert not has_students_to_take_over(fleet)

    said(*words, "--force")
    np.testing.assert_array_equal(
        newest_state(fleet).students[FAMILY]["hidden.weight"], before["hidden.weight"]
    )
    for _ in range(3):
        said("release", "advance", fleet)
    assert has_students_to_take_over(fleet)
    assert take_students_over(fleet) == [FAMILY]
    assert not newest_state(fleet).students[FAMILY]["hidden.weight"].any()
    assert not has_students_to_take_over(fleet)


def test_the_kill_switch_holds_rounds_and_publish_ends_a_release_when_asked_to(fleet: Path) -> None:
    said("publish", fleet)
    said("release", "start", fleet, *AT_ONCE)
    assert switched_off(fleet) == ""
    killed = said("kill", fleet, "--answer-from", "1", "--reason", "smoke")
    assert (killed["rounds_off"], killed["withdrawn"], killed["candidate"]) == (True, [2, 3], None)
    assert "rounds are switched off; fedstill-server revive" in switched_off(fleet)
    assert Repository.open(fleet).published()[FAMILY].package_version == 1
    assert said("revive", fleet)["rounds_off"] is False
    assert said("release", "start", fleet, *AT_ONCE)["package_version"] == 4
    assert said("publish", fleet, "--instead")["published"][FAMILY]["package_version"] == 5
    assert plan(fleet).withdrawn == (2, 3, 4)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--stages", "1,10,150"), "stages: 1,10,150 are not percents that grow"),
        (("--stages", "1,x"), "stages: '1,x' is not a list of percents"),
        (("--least-time", "soon"), "--least-time: 'soon'"),
        (("--slowest", "0.5"), "slowest: 0.5 is not 1 or more"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(fleet: Path, words: tuple[str, ...], error: str) -> None:
    assert error in refused("release", "start", fleet, *words)

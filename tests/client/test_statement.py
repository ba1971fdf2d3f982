"""What a fleet says, signed, that it will ask: pinned when a device enrols, and a bound from then on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fedstill_client.cli import app
from fedstill_client.fleet.enrol import enrol
from fedstill_client.fleet.update import pinned
from fedstill_client.home import AgentHome
from fedstill_client.packages import PackageError, PackageSource
from fedstill_client.privacy.guard import PolicyRefused
from fedstill_client.privacy.policy import DevicePolicy
from fedstill_client.privacy.statement import pin_statement, read_statement
from fedstill_client.rounds.device import FleetDevice
from fedstill_proto.errors import FedstillError
from fedstill_proto.system.enrolment import Enrolment
from fedstill_proto.task_bounds import TaskBounds
from fedstill_server.publish.repository import Repository
from typer.testing import CliRunner

from tests.client.agent_samples import PLAIN_TOO
from tests.client.package_samples import full_package
from tests.client.samples import FAMILY
from tests.client.test_policy import asked, home_of, perform

SAID = TaskBounds(most_bits=4, most_rows=320, most_numbers=3200, most_epochs=8, rounds_a_day=40)
WANTS_WEIGHTS = replace(SAID, answers=("parameters",), starts=("task",), most_epochs=30)


def invitation(folder: Path, asks: TaskBounds | None) -> Path:
    """A fleet's repository with a package, and the file that invites devices."""
    repository = Repository.create(folder / "fleet")
    repository.publish([full_package(1)], asks=None if asks is None else {FAMILY: asks})
    enrolment = Enrolment(
        run="0123abcd",
        address="localhost:9092",
        repository=str(repository.folder),
        families=(FAMILY,),
        certificate_authority="-----BEGIN CERTIFICATE-----\n",
        package_root=repository.trusted_root().decode(),
    )
    file = folder / "invitation"
    file.write_text(enrolment.to_json())
    return file


def invoke(*words: object) -> Any:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done.output


def test_a_fleet_within_the_policy_is_enrolled_without_a_word(tmp_path: Path) -> None:
    file, home = invitation(tmp_path, SAID), tmp_path / "home"
    enrolled = json.loads(invoke("enrol", file, "--name", "kitchen", "--home", home, "--json"))
    assert enrolled["refused"] == []
    assert read_statement(home) == SAID
    assert DevicePolicy.read(home) == DevicePolicy()
    assert (home / "policy.json").exists()


def test_a_fleet_that_asks_for_more_is_told_with_what_would_allow_it(tmp_path: Path) -> None:
    file, home = invitation(tmp_path, WANTS_WEIGHTS), tmp_path / "home"
    said = invoke("enrol", file, "--name", "kitchen", "--home", home)
    assert "answers: parameters is asked for, the bound is public-set" in said
    options = "--allow parameters --allow task --set most_epochs=30"
    assert f"fedstill-agent policy --home {home} {options}" in said

    invoke("policy", "--home", home, *options.split())
    assert not list(DevicePolicy.read(home).excess(WANTS_WEIGHTS))


def test_it_can_be_allowed_with_the_enrolment(tmp_path: Path) -> None:
    file, home = invitation(tmp_path, WANTS_WEIGHTS), tmp_path / "home"
    words = ("--allow", "parameters", "--allow", "task", "--set", "most_epochs=30")
    enrolled = json.loads(invoke("enrol", file, "--name", "kitchen", "--home", home, *words, "--json"))
    assert enrolled["refused"] == []


def test_a_statement_that_nobody_signed_is_not_believed(tmp_path: Path) -> None:
    file = invitation(tmp_path, SAID)
    targets = max((tmp_path / "fleet" / "repository" / "metadata").glob("*.targets.json"))
    targets.write_text(targets.read_text().replace('most_epochs\\": 8', 'most_epochs\\": 9'))
    with pytest.raises(PackageError):
        enrol(AgentHome(tmp_path / "home"), Enrolment.from_json(file.read_text()), name="kitchen")


def test_a_task_beyond_what_was_said_is_refused_whatever_the_policy_allows(tmp_path: Path) -> None:
    home = home_of(tmp_path / "home", PLAIN_TOO)
    pin_statement(home.folder, replace(SAID, protection=("plain",), rounds_a_day=1, evaluations_a_day=0))
    with pytest.raises(
        PolicyRefused, match="more than the fleet said: most_epochs: 9 is asked for, the bound is 8"
    ):
        perform(home, asked(epochs=9))
    perform(home, asked(epochs=8))
    with pytest.raises(PolicyRefused, match="rounds_a_day: 2 is asked for, the bound is 1"):
        perform(home, asked(2))
    with FleetDevice.opened(home.folder) as device, pytest.raises(PolicyRefused, match="evaluations_a_day"):
        device.evaluate(asked())


def test_a_later_release_that_asks_for_more_waits_for_the_owner(tmp_path: Path) -> None:
    file, home = invitation(tmp_path, SAID), AgentHome(tmp_path / "home")
    enrol(home, Enrolment.from_json(file.read_text()), name="kitchen")
    source = PackageSource.of(tmp_path / "fleet" / "repository", home.trust)
    repository = Repository.open(tmp_path / "fleet")
    less, more = replace(SAID, most_epochs=7), replace(SAID, most_epochs=9)

    repository.publish([full_package(2)], asks={FAMILY: less})
    assert pinned(home, source, FAMILY) is None
    assert read_statement(home.folder) == less

    repository.publish([full_package(3)], asks={FAMILY: more})
    news = pinned(home, source, FAMILY)
    assert news is not None
    assert "most_epochs: 9 is asked for, the bound is 7" in news
    assert pinned(home, source, FAMILY) is None  # told once
    assert read_statement(home.folder) == less

    shown = json.loads(invoke("policy", "--home", home.folder, "--json"))
    assert (shown["fleet_asks"]["most_epochs"], shown["fleet_wants"]["most_epochs"]) == (7, 9)
    invoke("policy", "--home", home.folder, "--accept")
    assert read_statement(home.folder) == more
    done = CliRunner().invoke(app, ["policy", "--home", str(home.folder), "--accept"])
    assert isinstance(done.exception, FedstillError)


def test_a_fleet_of_an_earlier_release_says_nothing(tmp_path: Path) -> None:
    file, home = invitation(tmp_path, None), AgentHome(tmp_path / "home")
    assert enrol(home, Enrolment.from_json(file.read_text()), name="kitchen").refused == ()
    assert read_statement(home.folder) is None

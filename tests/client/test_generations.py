"""A device moves over to a package of another generation of its fleet: what it keeps, and what it refuses."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import fedstill_proto
import numpy as np
import pytest
from fedstill_client.cli import app as cli
from fedstill_client.home import AgentHome
from fedstill_client.model.student_store import OwnStudent
from fedstill_client.packages import install, load_installed, update
from fedstill_client.privacy.statement import pin_statement, read_statement
from fedstill_client.rounds.device import FleetDevice
from fedstill_client.rounds.round import AnotherGeneration
from fedstill_client.store import PrivateStore, Release
from fedstill_proto.flower_records import hello, read_hello_reply
from fedstill_proto.package.artifact import StudentPackage
from fedstill_proto.package.input_rule import InputRule
from fedstill_proto.task_bounds import TaskBounds
from typer.testing import CliRunner

from tests.client.agent_samples import enrolled_home, trainable_package
from tests.client.flower_calls import call, node_of
from tests.client.package_samples import Fleet, full_package
from tests.client.samples import FAMILY, examples, student
from tests.client.test_device_home import task

NOISED = Release("r1", 4, "public-set", values=1, bytes=6, digest="0" * 64, mechanism="gaussian", rho=0.5)
PERSONAL = {name: array + np.float32(1) for name, array in student().items()}


def next_package(**changes: object) -> StudentPackage:
    package = trainable_package()
    version = package.manifest.package_version + 1
    manifest = dataclasses.replace(package.manifest, package_version=version, **changes)
    return dataclasses.replace(package, manifest=manifest)


@pytest.fixture
def home(tmp_path: Path) -> AgentHome:
    """With a student of its own, and what it told and was told in its last rounds."""
    home = enrolled_home(tmp_path / "home")
    x, labels = examples(30, seed=1)
    with PrivateStore.open(home) as store:
        for row in range(len(x)):
            store.observe(x[row], labels[row])
        manifest = load_installed(home, store).manifest
        own, before = OwnStudent("r1", 4, PERSONAL, PERSONAL), OwnStudent("r1", 3, student())
        store.students(manifest, manifest.package_version).save(own, before=before, fleet=student())
        store.keep_soft_labels(manifest.package_version, "r1", 4, b"labels")
        store.ledger.debit_noised(NOISED, b"noised", budget=None)
    home.answers.mkdir()
    home.told.write_bytes(b"told")
    return home


def kept(home: AgentHome) -> OwnStudent | None:
    with FleetDevice.opened(home.folder) as device:
        return device.store.latest()


@pytest.mark.parametrize("generation", [1, 2])
def test_the_owner_s_student_goes_on(home: AgentHome, generation: int) -> None:
    with PrivateStore.open(home) as store:
        installed = install(home, store, next_package(generation=generation))
        labels = store.soft_labels(installed.version)

    assert installed.anew == ""
    with FleetDevice.opened(home.folder) as device:
        own, before = device.store.latest(), device.store.before("r1", 4)
        assert device.store.fleet() is None  # the package's student is newer
    assert own is not None
    assert before is not None
    assert (own.run, own.round, before.round) == ("r1", 4, 3)
    np.testing.assert_array_equal(own.parameters["hidden.weight"], PERSONAL["hidden.weight"])
    same = generation == 1
    with PrivateStore.open(home) as store:  # no round of another one is answered by it; it stays paid for
        assert store.ledger.noised_answer("r1", 4) == (b"noised" if same else b"")
        assert store.ledger.totals().rho == 0.5
    assert (labels is not None, bool(own.control_variates)) == (same, same)
    assert (home.told.exists(), home.answers.exists()) == (same, same)


def test_a_student_that_reads_otherwise_begins_anew_and_says_so(home: AgentHome) -> None:
    with PrivateStore.open(home) as store:
        rule = InputRule(offset=(1.0,))
        installed = install(home, store, next_package(generation=2, input_rule=rule))
    assert installed.anew == f"{FAMILY!r} reads examples in another way now"
    assert kept(home) is None


def test_what_a_package_before_the_last_one_had_is_not_kept_for_ever(home: AgentHome) -> None:
    with PrivateStore.open(home) as store:
        first = load_installed(home, store).manifest
        for version in (2, 3):
            package = next_package()
            manifest = dataclasses.replace(package.manifest, package_version=first.package_version + version)
            install(home, store, dataclasses.replace(package, manifest=manifest))
        assert store.students(first, first.package_version).latest() is None
    assert kept(home) is not None


def test_a_round_of_another_generation_is_refused_and_a_release_is_looked_for(home: AgentHome) -> None:
    newer = dataclasses.replace(task(5), generation=2)
    with FleetDevice.opened(home.folder) as device:
        for refused in (device.perform, device.evaluate):
            with pytest.raises(AnotherGeneration, match="package of generation 1"):
                refused(newer)
    assert home.release_wanted.exists()
    with PrivateStore.open(home) as store:
        assert [one.round for one in store.ledger.releases()] == [4]
        install(home, store, next_package(generation=2))
    with FleetDevice.opened(home.folder) as device:
        device.perform(newer)
    after = kept(home)
    assert after is not None
    assert after.round == 5


def test_a_device_says_which_package_it_has(home: AgentHome) -> None:
    with PrivateStore.open(home) as store:
        version = install(home, store, next_package(generation=3)).version

    reply = call("query.hello", hello("abcd1234"), node_of(home.folder))

    greeting = read_hello_reply(reply.content)
    assert (greeting.package_version, greeting.generation) == (version, 3)
    assert (greeting.agent, greeting.family) == (fedstill_proto.__version__, FAMILY)


def test_a_generation_that_asks_for_more_waits_for_the_owner(tmp_path: Path) -> None:
    fleet = Fleet.at(tmp_path)
    own_key = fleet.home.device_key.with_suffix(".pub")
    own_key.parent.mkdir()
    own_key.write_text("ecdsa-sha2-nistp384 AAAA device")
    said, more = TaskBounds(most_epochs=8), TaskBounds(most_epochs=30)
    with PrivateStore.create(fleet.home) as store:
        update(fleet.home, store, fleet.source, FAMILY)
        pin_statement(fleet.home.folder, said)
        package = full_package(2)
        manifest = dataclasses.replace(package.manifest, generation=2)
        package = dataclasses.replace(package, manifest=manifest)
        fleet.repository.publish([package], asks={FAMILY: more})

        assert update(fleet.home, store, fleet.source, FAMILY, accepted=said) is None
        assert load_installed(fleet.home, store).manifest.generation == 1  # it goes on answering
        assert [one.rule for one in pin_statement(fleet.home.folder, more)] == ["most_epochs"]

    done = CliRunner().invoke(cli, ["policy", "--accept", "--home", str(fleet.home.folder)])
    assert done.exit_code == 0, done.output
    assert fleet.home.release_wanted.exists()
    with PrivateStore.open(fleet.home) as store:
        accepted = read_statement(fleet.home.folder)
        assert update(fleet.home, store, fleet.source, FAMILY, accepted=accepted) is not None
        assert load_installed(fleet.home, store).manifest.generation == 2

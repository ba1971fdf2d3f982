"""A release comes: what becomes of the owner's student, with a good package and with bad ones."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from fedstill_client.agent.agent import Agent
from fedstill_client.agent.learning import learn_now
from fedstill_client.agent_types import PersonalizeOptions
from fedstill_client.home import AgentHome
from fedstill_client.packages import install, load_installed
from fedstill_client.packages.install import go_back
from fedstill_client.releases.rebasing import PackageFailed, rebase_home
from fedstill_client.releases.record import ReleaseRecord, change_record, read_record, rebase_is_due
from fedstill_client.rounds.round import Interrupted
from fedstill_client.store import PrivateStore
from fedstill_proto.package.artifact import StudentPackage
from fedstill_proto.package.input_rule import InputRule

from tests.client.agent_samples import enrolled_home, trainable_package
from tests.client.samples import examples, student

NOISE = {name: np.sin(np.arange(array.size)).reshape(array.shape) for name, array in student().items()}


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> AgentHome:
    """A home whose student has learned from 60 examples."""
    home = enrolled_home(tmp_path_factory.mktemp("learned") / "home", owner_share=0.3)
    x, labels = examples(60, seed=1)
    with PrivateStore.open(home) as store:
        store.observe_all(zip(x[:40], labels[:40], strict=True), held_out=False)
        store.observe_all(zip(x[40:], labels[40:], strict=True), held_out=True)
        learn_now(home, store, PersonalizeOptions(), lambda progress: None, lambda: None)
    return home


@pytest.fixture
def home(learned: AgentHome, tmp_path: Path) -> AgentHome:
    import shutil

    shutil.copytree(learned.folder, tmp_path / "home")
    return AgentHome(tmp_path / "home")


def next_package(version: int = 2, *, parameters: dict[str, object], **changes: object) -> StudentPackage:
    package = trainable_package()
    manifest = dataclasses.replace(package.manifest, package_version=version, **changes)
    weights = {name: np.asarray(array, np.float32) for name, array in parameters.items()}
    return dataclasses.replace(package, manifest=manifest, parameters=weights)


def release(home: AgentHome, package: StudentPackage) -> None:
    with PrivateStore.open(home) as store:
        install(home, store, package)


def right(home: AgentHome, scope: str = "owner") -> int:
    """Right answers to the 20 held-out examples."""
    x, labels = examples(60, seed=1)
    with Agent.open(home.folder) as agent:
        return int((agent.predict(x[40:], scope=scope).argmax(axis=1) == labels[40:]).sum())


def record(home: AgentHome) -> ReleaseRecord:
    with PrivateStore.open(home) as store:
        return read_record(store)


def owners(home: AgentHome) -> int:
    """The version of the earlier package that answers the owner; 0 where it is the one in use."""
    with PrivateStore.open(home) as store:
        found = store.owners()
    return 0 if found is None else found.version


def test_a_bad_package_does_not_make_the_owner_s_answers_worse(home: AgentHome) -> None:
    before = right(home)
    release(home, next_package(parameters=NOISE))
    assert right(home) == before  # until it is re-based, the student of before goes on

    said = rebase_home(home)

    found = record(home)
    assert found.settled
    assert found.counts is not None
    assert found.counts.examples == 20
    assert found.counts.owner_after >= found.counts.owner_before
    assert found.counts.fleet_after < found.counts.owner_before  # what a gate of the server looks at
    assert right(home) >= before
    assert "package 2" in said
    assert rebase_home(home) == ""


def test_a_student_is_distilled_into_a_package_that_it_could_not_go_over_to(home: AgentHome) -> None:
    before = right(home)
    rule = InputRule(offset=(-0.5,))
    release(home, next_package(parameters=student(3), input_rule=rule))
    with PrivateStore.open(home) as store:
        assert not store.student_of(2)
    assert right(home) == before  # by the package of before

    rebase_home(home, may_learn=False)
    assert right(home) == before
    assert not record(home).settled
    rebase_home(home)

    found = record(home)
    assert found.settled
    assert owners(home) == 0
    assert right(home) >= before - 1  # the temperature is fitted anew
    with PrivateStore.open(home) as store:
        assert store.student_of(2) == store.student_of(1)


def test_where_nothing_is_as_good_the_package_of_before_answers_the_owner(home: AgentHome) -> None:
    before = right(home)
    release(home, next_package(parameters=NOISE, input_rule=InputRule(scale=(1e-9,))))

    said = rebase_home(home)

    assert "package 1 goes on answering the owner" in said
    found = record(home)
    assert (found.settled, owners(home)) == (True, 1)
    assert right(home) == before
    assert right(home, "everyone") == found.counts.fleet_after  # type: ignore[union-attr]
    with PrivateStore.open(home) as store:
        assert not rebase_is_due(store)  # before another student has learned under package 2

    # The next release is compared with what the owner gets, and not with the bad one in between.
    release(home, next_package(3, parameters=NOISE, input_rule=InputRule(scale=(1e-9,), offset=(1.0,))))
    release(home, next_package(4, parameters=student(3)))
    assert (right(home), owners(home), record(home).before_version) == (before, 1, 1)
    rebase_home(home)
    assert record(home).counts.owner_before == found.counts.owner_before  # type: ignore[union-attr]
    assert right(home) >= before - 1
    with PrivateStore.open(home) as store:
        store.forget(everything=True)
    assert owners(home) == 0


def test_what_a_killed_installation_left_is_re_based_by_whoever_comes_next(home: AgentHome) -> None:
    release(home, next_package(parameters=student(3)))
    asked = 0

    def stop() -> str | None:
        nonlocal asked
        asked += 1
        return "killed" if asked > 5 else None

    with PrivateStore.open(home) as store:
        before = store.students(load_installed(home, store).manifest, 2).latest()
    with pytest.raises(Interrupted):
        rebase_home(home, stop=stop)
    with PrivateStore.open(home) as store:
        after = store.students(load_installed(home, store).manifest, 2).latest()
        assert rebase_is_due(store)
    assert before is not None
    assert after is not None
    np.testing.assert_array_equal(after.parameters["hidden.weight"], before.parameters["hidden.weight"])
    rebase_home(home)
    assert record(home).settled


def test_a_device_that_went_back_has_its_student_of_then(home: AgentHome) -> None:
    before = right(home)
    with PrivateStore.open(home) as store:
        first = store.installed()
        assert first is not None
        install(home, store, next_package(parameters=NOISE))
    rebase_home(home)
    with PrivateStore.open(home) as store:
        change_record(store, lambda found: found.shunning(2))
        go_back(home, store, first)
    assert right(home) == before
    found = record(home)
    assert (found.settled, found.package_version, found.shunned, found.failures) == (True, 1, (2,), 1)


def test_a_package_that_cannot_answer_is_said_to_have_failed(
    home: AgentHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no such operator")

    release(home, next_package(parameters=student(3)))
    monkeypatch.setattr("fedstill_client.model.answering_student.Predictor.logits_of_inputs", fail)
    with pytest.raises(PackageFailed, match="package 2: no such operator"):
        rebase_home(home)

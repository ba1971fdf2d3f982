"""An agent looks after its package: answers are timed, one that fails is gone back from, reports say so."""

from __future__ import annotations

import dataclasses
import shutil
import time
from pathlib import Path

import pytest
from fedstill_client.fleet.membership import Membership
from fedstill_client.home import AgentHome
from fedstill_client.packages import install
from fedstill_client.privacy.policy import DevicePolicy
from fedstill_client.releases.keeper import ReleaseKeeper
from fedstill_client.releases.rebasing import rebase_home
from fedstill_client.releases.record import change_record, read_record
from fedstill_client.releases.watch import AnswerWatch, Latency, latencies
from fedstill_client.store import PrivateStore
from fedstill_proto.package.artifact import StudentPackage
from fedstill_proto.system.release_report import ReleaseReport, read_release_answer, release_question
from fedstill_server.export.student import export_student

from tests.client.agent_samples import OPEN, enrolled_home, trainable_package
from tests.client.flower_calls import call, node_of
from tests.client.samples import CLASSES, FAMILY, examples


@pytest.fixture
def home(tmp_path: Path) -> AgentHome:
    """With package 1, and 30 examples."""
    home = enrolled_home(tmp_path / "home")
    Membership(run="0123abcd", address="localhost:9092", repository="/repository").write(home)
    x, labels = examples(30, seed=1)
    with PrivateStore.open(home) as store:
        store.observe_all(zip(x, labels, strict=True))
    return home


def package(version: int) -> StudentPackage:
    built = trainable_package()
    return dataclasses.replace(built, manifest=dataclasses.replace(built.manifest, package_version=version))


def package_that_fails(version: int) -> StudentPackage:
    """Its graph takes examples of seven numbers, its manifest promises six."""
    from fedstill_server.families import initial_parameters

    weights = initial_parameters(FAMILY, (7,), CLASSES, 0)
    _, graph = export_student(family=FAMILY, input_shape=(7,), classes=CLASSES, parameters=weights)
    return dataclasses.replace(package(version), inference_graph=graph)


def installed(home: AgentHome, *packages: StudentPackage) -> None:
    with PrivateStore.open(home) as store:
        for one in packages:
            install(home, store, one)


def report(home: AgentHome) -> ReleaseReport:
    return read_release_answer(call("query.release", release_question(2), node_of(home.folder)).content)


def until_idle(keeper: ReleaseKeeper) -> None:
    for _ in range(1200):
        keeper.check()
        if keeper._process is None:
            return
        time.sleep(0.05)
    raise AssertionError("it does not end")


def test_times_are_kept_by_package_and_outlive_the_process(home: AgentHome) -> None:
    watch = AnswerWatch(home)
    watch.use(1)
    for took_ms in range(1, 101):
        watch._keep(float(took_ms))
    watch.use(2)
    watch._keep(7.0)
    assert AnswerWatch(home).take_crash() == 0
    assert latencies(home) == {1: Latency(50.5, pytest.approx(95.05)), 2: Latency(7.0, 7.0)}
    watch.use(1)  # it went back
    assert latencies(home)[1].median_ms == 50.5


def test_of_many_times_a_sample_is_kept(home: AgentHome) -> None:
    watch = AnswerWatch(home)
    watch.use(1)
    for took_ms in range(20_000):
        watch._keep(float(took_ms))
    assert 8_000 < latencies(home)[1].median_ms < 12_000
    assert home.answer_times.stat().st_size < 4096


def test_an_end_in_the_middle_of_an_answer_is_a_crash_and_a_failed_answer_is_none(home: AgentHome) -> None:
    watch = AnswerWatch(home)
    watch.use(1)
    with pytest.raises(ValueError, match="no answer"), watch.answering():
        raise ValueError("no answer")
    assert watch.take_crash() == 0
    answer = watch.answering()
    answer.__enter__()  # the process ends here
    again = AnswerWatch(home)
    assert (again.take_crash(), again.take_crash()) == (1, 0)


def test_a_release_is_tried_counted_and_reported(home: AgentHome) -> None:
    told: list[str] = []
    watch = AnswerWatch(home)
    keeper = ReleaseKeeper(home, watch, told.append)
    with watch.answering():
        pass
    installed(home, package(2))
    keeper.look()
    until_idle(keeper)

    said = report(home)
    assert (said.package_version, said.crashes, said.failures) == (2, 0, 0)
    assert said.is_counted
    assert said.fleet_before == said.fleet_after  # it is the same student
    assert said.latency_p95_before_ms > 0
    with PrivateStore.open(home) as store:
        assert [one.kind for one in store.ledger.releases()] == ["evaluation"]
    assert dataclasses.replace(report(home), installed_s=said.installed_s) == said
    with PrivateStore.open(home) as store:
        assert len(store.ledger.releases()) == 1  # the same counts again reveal nothing


def test_a_policy_that_lets_no_counts_out_is_obeyed(home: AgentHome) -> None:
    dataclasses.replace(OPEN, protection=DevicePolicy().protection).write(home.folder)
    assert "plain" not in DevicePolicy().protection
    installed(home, package(2))
    rebase_home(home)
    said = report(home)
    assert (said.held_out, said.owner_after, said.is_counted) == (0, -1, False)
    with PrivateStore.open(home) as store:
        assert read_record(store).counts is not None
        assert store.ledger.releases() == []


def test_a_package_that_fails_twice_is_gone_back_from(home: AgentHome) -> None:
    installed(home, package_that_fails(2))
    told: list[str] = []
    ReleaseKeeper(home, AnswerWatch(home), told.append)  # before anything answers

    with PrivateStore.open(home) as store:
        found = read_record(store)
    assert (found.package_version, found.shunned) == (1, (2,))
    assert "package 2 is not used here any more; package 1 is" in told[-1]
    said = report(home)
    assert (said.package_version, said.failures) == (1, 1)


def test_two_crashes_while_it_answers_are_enough(home: AgentHome) -> None:
    installed(home, package(2))
    rebase_home(home)
    told: list[str] = []
    for crash in (1, 2):
        watch = AnswerWatch(home)
        watch.use(2)
        answer = watch.answering()
        answer.__enter__()  # the process ends here
        ReleaseKeeper(home, AnswerWatch(home), told.append)
        with PrivateStore.open(home) as store:
            assert read_record(store).package_version == (2 if crash == 1 else 1)
        assert report(home).crashes == (1 if crash == 1 else 0)


def test_where_there_is_nothing_to_go_back_to_the_package_stays(home: AgentHome) -> None:
    installed(home, package_that_fails(2))
    with PrivateStore.open(home) as store:
        first = store.installations()[0]
        change_record(store, lambda found: found)
    shutil.rmtree(first.folder)
    told: list[str] = []
    ReleaseKeeper(home, AnswerWatch(home), told.append)
    with PrivateStore.open(home) as store:
        assert read_record(store).package_version == 2
    assert "cannot be gone back to" in told[-1]

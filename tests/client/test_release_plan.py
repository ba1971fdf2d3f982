"""A device follows its fleet's release plan: stages, withdrawals, the kill switch, and hints of a release."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fedstill_client.fleet import supernode
from fedstill_client.fleet.supernode import ReleaseHints
from fedstill_client.model.student_store import OwnStudent
from fedstill_client.packages import PackageError, load_installed, update
from fedstill_client.packages.plan import keep_plan, read_plan
from fedstill_client.privacy.policy import DevicePolicy
from fedstill_client.store import PrivateStore
from fedstill_proto.codec.api import encode_task
from fedstill_proto.flower_records import hello, pack, read_hello_reply
from fedstill_proto.package.release_plan import Candidate, ReleasePlan
from fedstill_proto.refusal import Refusal

from tests.client.agent_samples import enrolled_home
from tests.client.flower_calls import FLOAT32, call, node_of
from tests.client.package_samples import Fleet, full_package
from tests.client.samples import FAMILY, student
from tests.client.test_device_home import task

KEY = "ecdsa-sha2-nistp384 AAAA device"


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    fleet = Fleet.at(tmp_path)
    fleet.home.keys.mkdir()
    fleet.home.device_key.with_suffix(".pub").write_text(KEY)
    return fleet


def candidate(version: int, *, takes: bool) -> Candidate:
    """A candidate for half of the devices, this one among them or not."""
    salts = (f"r{number}" for number in range(100))
    found = (Candidate(package_version=version, share=0.5, salt=salt) for salt in salts)
    return next(one for one in found if one.takes(KEY) is takes)


def version(fleet: Fleet, store: PrivateStore) -> int:
    update(fleet.home, store, fleet.source, FAMILY)
    return load_installed(fleet.home, store).manifest.package_version


def test_a_device_takes_the_candidate_where_it_is_in_the_stage(fleet: Fleet) -> None:
    fleet.repository.offer([full_package(2)], candidate(2, takes=False))
    with PrivateStore.create(fleet.home) as store:
        assert version(fleet, store) == 1
        fleet.repository.change_plan(candidate=candidate(2, takes=True))
        assert version(fleet, store) == 2
        plan = read_plan(fleet.home)
        assert plan is not None
        assert plan.version == 2
        fleet.repository.promote()
        assert version(fleet, store) == 2


def test_a_withdrawn_package_gives_way_to_the_one_before_with_what_was_learned_by_then(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = OwnStudent("r1", 4, student(3))
    with PrivateStore.create(fleet.home) as store:
        assert version(fleet, store) == 1
        manifest = load_installed(fleet.home, store).manifest
        store.students(manifest, 1).save(mine, before=None)
        fleet.repository.offer([full_package(2)], candidate(2, takes=True))
        assert version(fleet, store) == 2
        store.students(manifest, 2).save(OwnStudent("r1", 5, student(4)), before=None)
        fleet.repository.withdraw([2])
        # It is there still: nothing is fetched.
        monkeypatch.setattr(type(fleet.source), "fetch", None)
        assert version(fleet, store) == 1
        latest = store.students(manifest, 1).latest()
        assert latest is not None
        assert latest.round == 4
        assert (
            latest.parameters[next(iter(latest.parameters))] == next(iter(mine.parameters.values()))
        ).all()
        assert version(fleet, store) == 1


def test_a_device_that_lost_the_package_before_fetches_the_stable_one(fleet: Fleet) -> None:
    with PrivateStore.create(fleet.home) as store:
        fleet.repository.offer([full_package(2)], candidate(2, takes=True))
        assert version(fleet, store) == 2  # it enrolled in the stage, and never had another
        fleet.repository.withdraw([2])
        assert version(fleet, store) == 1


def test_only_a_withdrawal_leads_to_an_older_package(fleet: Fleet) -> None:
    with PrivateStore.create(fleet.home) as store:
        fleet.repository.offer([full_package(2)], candidate(2, takes=True))
        assert version(fleet, store) == 2
        fleet.repository.change_plan(candidate=candidate(2, takes=False))  # no operator does that
        assert version(fleet, store) == 2


def test_an_older_plan_is_not_followed(fleet: Fleet) -> None:
    keep_plan(fleet.home, ReleasePlan(version=9, rounds_off=True))
    fleet.repository.change_plan(rounds_off=False)
    with (
        PrivateStore.create(fleet.home) as store,
        pytest.raises(PackageError, match="plan 1 is older than 9"),
    ):
        update(fleet.home, store, fleet.source, FAMILY)
    plan = read_plan(fleet.home)
    assert plan is not None
    assert plan.rounds_off


def test_a_damaged_plan_is_as_good_as_none_and_is_fetched_again(fleet: Fleet) -> None:
    fleet.repository.change_plan(rounds_off=True)
    fleet.home.release_plan.write_bytes(b"{")
    assert read_plan(fleet.home) is None
    with PrivateStore.create(fleet.home) as store:
        update(fleet.home, store, fleet.source, FAMILY)
    plan = read_plan(fleet.home)
    assert plan is not None
    assert plan.rounds_off


def test_the_kill_switch_keeps_a_device_from_rounds(tmp_path: Path) -> None:
    home = enrolled_home(tmp_path / "home")
    node, asked = node_of(home.folder), pack("RoundTask", encode_task(task(), codec=FLOAT32))
    (home.folder / "eligibility.json").write_text(json.dumps({"max_other_load": 1, "min_free_memory_mb": 0}))
    keep_plan(home, ReleasePlan(version=1, rounds_off=True))
    assert call("train", asked, node).error.code == Refusal.SWITCHED_OFF.code
    assert not read_hello_reply(call("query.hello", hello("r1"), node).content).willing
    keep_plan(home, ReleasePlan(version=2))
    assert read_hello_reply(call("query.hello", hello("r1"), node).content).willing
    assert call("train", asked, node).has_content()


def test_who_has_done_its_rounds_of_the_day_is_not_willing(tmp_path: Path) -> None:
    home = enrolled_home(tmp_path / "home")
    node, asked = node_of(home.folder), pack("RoundTask", encode_task(task(), codec=FLOAT32))
    (home.folder / "eligibility.json").write_text(json.dumps({"max_other_load": 1, "min_free_memory_mb": 0}))
    DevicePolicy.read(home.folder).setting(["rounds_a_day=1"]).write(home.folder)
    assert read_hello_reply(call("query.hello", hello("r1"), node).content).willing
    assert call("train", asked, node).has_content()
    assert not read_hello_reply(call("query.hello", hello("r1"), node).content).willing


def test_a_hint_of_a_newer_release_makes_the_device_look_once(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    with PrivateStore.create(fleet.home) as store:
        update(fleet.home, store, fleet.source, FAMILY)
    timestamp = fleet.repository.folder / "metadata" / "timestamp.json"
    known = json.loads(timestamp.read_bytes())["signed"]["version"]
    now = [100.0]
    monkeypatch.setattr(supernode.time, "monotonic", lambda: now[0])
    hints = ReleaseHints(fleet.home)
    hints.hear(known)
    hints.hear(known + 1)
    now[0] += 10
    hints.hear(known + 1)
    assert fleet.home.release_wanted.exists()
    fleet.home.release_wanted.unlink()
    for _ in range(3):
        now[0] += 10
        hints.hear(known + 1)
        hints.hear(known)
    assert not fleet.home.release_wanted.exists()

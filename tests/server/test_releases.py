"""Releases in stages: gates by hand, their way by a clock that a test sets, and a killed server."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from fedstill_proto.package.release_plan import Candidate
from fedstill_proto.system.release_report import ReleaseReport, read_release_question, release_answer
from fedstill_server.publish.errors import PublishError
from fedstill_server.publish.repository import Repository
from fedstill_server.releases.controller import FleetDevices, ReleaseController
from fedstill_server.releases.errors import ReleaseError
from fedstill_server.releases.gates import difference_of_shares, judge, share_interval
from fedstill_server.releases.release import ReleaseFolder, StagedRelease, chosen_salt
from fedstill_server.releases.rules import ReleaseRules
from fedstill_server.rounds.inquiry import Asked, Inquiry
from fedstill_server.rounds.roster import RegisteredNode
from fedstill_sim.engine.grid import FIRST_DEVICE_NODE_ID, InProcessGrid, VirtualClock
from flwr.app import Message, RecordDict

from tests.server.test_publish_crash import PowerCut, cut_after
from tests.server.test_publish_repository import package

RULES = ReleaseRules(least_time_s=60, least_reports=2)
KEYS = {f"device-{n}": f"ecdsa-sha2-nistp384 {n:04d}" for n in range(24)}


def report(version: int = 2, *, before: int = 18, after: int = 18, **more: object) -> ReleaseReport:
    counts = {"owner_before": before, "owner_after": after, "fleet_before": before, "fleet_after": after}
    return ReleaseReport(package_version=version, held_out=20, **{**counts, **more})  # type: ignore[arg-type]


@dataclass
class Operated:
    """A fleet of 24 devices whose package is 1; its devices tell what a test has them tell."""

    folder: Path
    now: float = 1000.0
    tells: Callable[[], ReleaseReport] = report
    told: list[str] = field(default_factory=list)
    promoted: list[int] = field(default_factory=list)

    @classmethod
    def at(cls, folder: Path) -> Operated:
        Repository.create(folder).publish([package(1)])
        return cls(folder)

    @property
    def controller(self) -> ReleaseController:
        """A new one each time, as that of a server that was started again."""
        return ReleaseController(
            self.folder,
            FleetDevices(keys=lambda: KEYS, reports=lambda version: {n: self.tells() for n in self.using()}),
            promoted=lambda release: self.promoted.append(release.package_version),
            tell=lambda what, text: self.told.append(f"{what}: {text}"),
            clock=lambda: self.now,
        )

    @property
    def repository(self) -> Repository:
        return Repository.open(self.folder)

    def using(self) -> set[str]:
        """The devices that the signed plan has use the candidate."""
        plan = self.repository.plan()
        return {name for name, key in KEYS.items() if plan is not None and plan.takes(key)}

    def start(self, version: int = 2, rules: ReleaseRules = RULES) -> StagedRelease:
        return self.controller.start([package(version)], rules, asks={})

    def step(self, seconds: float) -> StagedRelease | None:
        self.now += seconds
        return self.controller.step()

    def newest(self) -> StagedRelease:
        return ReleaseFolder(self.folder).all()[-1]

    def stable(self) -> int:
        return self.repository.published()["mlp-small"].package_version


@pytest.fixture
def fleet(tmp_path: Path) -> Operated:
    return Operated.at(tmp_path / "fleet")


class TestStatistics:
    def test_intervals_are_those_of_the_papers(self) -> None:
        # Newcombe (1998), table II: 56 of 70 against 48 of 80, method 10.
        assert difference_of_shares(56, 70, 48, 80) == pytest.approx((0.0524, 0.3339), abs=5e-5)
        assert difference_of_shares(10, 10, 0, 10) == pytest.approx((0.6075, 1.0), abs=5e-5)
        # Wilson's interval of 1 of 1 is z^2-free of square roots: 1 / (1 + z^2) to 1, with z^2 = 3.8415.
        assert share_interval(1, 1) == pytest.approx((1 / 4.8415, 1.0), abs=1e-5)
        assert share_interval(0, 10) == pytest.approx((0.0, 3.8415 / 13.8415), abs=1e-5)

    @pytest.mark.parametrize(
        ("told", "failed"),
        [
            ([report()], set()),
            ([report(after=2)], {"answers of owners", "answers of the fleet's student"}),
            ([report(before=20, after=17)], {"answers of owners", "answers of the fleet's student"}),
            ([report(before=20, after=19)], set()),  # 5 points of 20 examples are chance
            ([report(fleet_after=2)], {"answers of the fleet's student"}),
            ([report(crashes=3)], {"crashes"}),
            ([report(crashes=3), *[report()] * 19], set()),  # 1 of 20: at least 0.9 %
            ([report(1, failures=2)], {"installations"}),
            ([report(refusals=1)] * 4, {"refusals"}),  # at least 51 %
            ([report(latency_p95_ms=30, latency_p95_before_ms=10)], {"latency"}),
            ([report(latency_p95_ms=3, latency_p95_before_ms=1)], set()),  # nobody sees 2 ms
        ],
    )
    def test_gates_say_what_the_reports_say(self, told: list[ReleaseReport], failed: set[str]) -> None:
        reports = {str(number): one for number, one in enumerate(told)}
        verdicts = judge(reports, package_version=2, rules=RULES)
        assert {verdict.gate for verdict in verdicts if verdict.failed} == failed

    @pytest.mark.parametrize(
        ("stages", "shown"),
        [("1,10,150", "1,10,150"), ("10,1,100", "10,1,100"), ("1,10", "1,10"), ("0,100", "0,100")],
    )
    def test_stages_that_cannot_be_are_refused_in_a_line(self, stages: str, shown: str) -> None:
        with pytest.raises(ReleaseError, match=f"stages: {shown} are not percents that grow"):
            ReleaseRules(stages=ReleaseRules.stages_of(stages))

    @pytest.mark.parametrize("devices", [1, 3, 24, 500])
    def test_the_first_stage_of_a_small_fleet_has_a_device(self, devices: int) -> None:
        keys = [f"ecdsa-sha2-nistp384 {n}" for n in range(devices)]
        salt = chosen_salt(7, (0.01, 0.1, 1.0), keys)
        first, second = (
            sum(Candidate(package_version=7, share=share, salt=salt).takes(key) for key in keys)
            for share in (0.01, 0.1)
        )
        assert (first, second) == (max(1, round(0.01 * devices)), max(1, round(0.1 * devices)))


class TestStages:
    def test_a_good_release_goes_to_one_device_to_a_tenth_and_to_all(self, fleet: Operated) -> None:
        fleet.start()
        assert len(fleet.using()) == 1
        fleet.step(59)
        assert len(fleet.using()) == 1
        fleet.step(2)
        assert len(fleet.using()) == 2
        fleet.step(61)
        assert (len(fleet.using()), fleet.stable(), fleet.promoted) == (24, 1, [])
        fleet.step(61)
        assert (fleet.using(), fleet.stable(), fleet.promoted) == (set(), 2, [2])
        assert fleet.newest().status == "done"
        assert fleet.step(61) is None

    def test_no_stage_goes_on_without_enough_reports(self, fleet: Operated) -> None:
        fleet.start()
        fleet.tells = lambda: report(1)  # nobody has installed it
        release = fleet.step(10_000)
        assert release is not None
        assert len(fleet.using()) == 1
        assert fleet.controller.waits_for(release, {}) == "0 of 1 devices have reported (the stage has 1)"

    @pytest.mark.parametrize("good_stages", [0, 1])
    def test_a_bad_release_ends_and_at_most_a_tenth_ever_had_it(
        self, fleet: Operated, good_stages: int
    ) -> None:
        fleet.start()
        for _ in range(good_stages):
            fleet.step(61)
        fleet.tells = lambda: report(after=3)
        assert len(fleet.using()) <= 2
        fleet.step(1)
        plan = fleet.repository.plan()
        assert plan is not None
        assert (fleet.using(), fleet.stable(), plan.withdrawn) == (set(), 1, (2,))
        assert (fleet.newest().status, fleet.newest().steps[-1].what) == ("taken back", "gate")
        assert "answers of owners: 15.0% of 20 right, 90.0% before" in fleet.newest().reason.replace(
            "40", "20"
        )
        assert fleet.told[-1].startswith("release-taken-back: release 2 is taken back: answers of owners")

    def test_operators_pause_let_go_on_and_take_back(self, fleet: Operated) -> None:
        fleet.start()
        fleet.controller.pause(True)
        fleet.step(61)
        plan = fleet.repository.plan()
        assert plan is not None
        assert (len(fleet.using()), plan.paused) == (1, True)
        fleet.controller.pause(False)
        fleet.step(0)
        assert len(fleet.using()) == 2
        fleet.controller.advance("asked to")
        assert len(fleet.using()) == 24
        fleet.controller.take_back("customers complain")
        assert (fleet.using(), fleet.stable(), fleet.newest().reason) == (set(), 1, "customers complain")
        with pytest.raises(ReleaseError, match="no release is on its way; start one"):
            fleet.controller.take_back("again")

    def test_what_all_devices_have_is_taken_back_where_a_package_is_left(self, fleet: Operated) -> None:
        fleet.start()
        for _ in range(3):
            fleet.controller.advance("asked to")
        assert fleet.stable() == 2
        fleet.controller.take_back("customers complain")
        assert (fleet.stable(), fleet.newest().status) == (1, "taken back")

    def test_one_release_at_a_time_of_devices_that_there_are(self, fleet: Operated) -> None:
        fleet.start()
        with pytest.raises(ReleaseError, match="release 2 is on its way"):
            fleet.start(3)
        nobody = ReleaseController(fleet.folder / "x", FleetDevices(keys=dict, reports=lambda version: {}))
        (fleet.folder / "x").mkdir()
        with pytest.raises(ReleaseError, match="no device is registered"):
            nobody.start([package(2)], RULES, asks={})

    def test_a_release_that_cannot_be_offered_was_none(self, fleet: Operated) -> None:
        with pytest.raises(PublishError, match="version 1 is not above 1"):
            fleet.start(1)
        assert ReleaseFolder(fleet.folder).all() == []


class TestKillSwitch:
    def test_it_takes_back_what_is_on_its_way_and_stops_rounds(self, fleet: Operated) -> None:
        fleet.start()
        plan = fleet.controller.kill(answer_from=None, reason="smoke")
        assert (plan.rounds_off, plan.withdrawn, fleet.using()) == (True, (2,), set())
        assert fleet.newest().reason == "the kill switch: smoke"
        plan = fleet.controller.revive()
        assert (plan.rounds_off, plan.withdrawn) == (False, (2,))

    def test_devices_answer_from_the_last_good_package(self, fleet: Operated) -> None:
        fleet.repository.publish([package(2)])
        plan = fleet.controller.kill(answer_from=1, reason="smoke")
        assert (plan.rounds_off, plan.withdrawn, fleet.stable()) == (True, (2,), 1)

    def test_rounds_stop_even_where_no_good_package_is_left(self, fleet: Operated) -> None:
        fleet.repository.publish([package(2)])
        fleet.repository.publish([package(3)])
        with pytest.raises(PublishError, match="no package is left"):
            fleet.controller.kill(answer_from=1, reason="smoke")
        plan = fleet.repository.plan()
        assert plan is not None
        assert (plan.rounds_off, fleet.stable()) == (True, 3)

    def test_no_release_goes_on_meanwhile(self, fleet: Operated) -> None:
        fleet.start()
        fleet.repository.change_plan(rounds_off=True)
        fleet.step(61)
        assert len(fleet.using()) == 1


def start(fleet: Operated) -> None:
    if ReleaseFolder(fleet.folder).on_its_way() is None:
        fleet.start()


def go_on(fleet: Operated) -> None:
    fleet.step(61)


def take_back(fleet: Operated) -> None:
    fleet.tells = lambda: report(after=3)
    fleet.step(1)


@pytest.mark.parametrize(
    ("before", "work", "ends"),
    [
        ([], start, (1, 1)),
        ([start], go_on, (2, 1)),
        ([start, go_on, go_on], go_on, (0, 2)),
        ([start], take_back, (0, 1)),
    ],
)
def test_every_write_can_be_the_last(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    before: Iterable[Callable[[Operated], None]],
    work: Callable[[Operated], None],
    ends: tuple[int, int],
) -> None:
    """Whoever looks next brings what was begun to its end: (devices on the candidate, stable version)."""
    prepared = Operated.at(tmp_path / "fresh")
    for step in before:
        step(prepared)
    cuts = 0
    while True:
        folder = tmp_path / "fleet"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(prepared.folder, folder)
        fleet = Operated(folder, now=prepared.now)
        with monkeypatch.context() as patched:
            cut_after(cuts, patched)
            try:
                work(fleet)
                break
            except PowerCut:
                cuts += 1
        fleet.controller.step()
        if work is not start or ReleaseFolder(folder).on_its_way() is None:
            fleet.now -= 61  # the same moment again
            work(fleet)
        assert (len(fleet.using()), fleet.stable()) == ends
    assert cuts >= 4


class ReportingGrid(InProcessGrid):
    """Three devices that report; the answer of the last is never delivered."""

    def __init__(self) -> None:
        super().__init__(devices=3, handlers={"query.release": self._report})
        self.asked: list[int] = []
        self.time = VirtualClock()

    @property
    def clock(self) -> VirtualClock:
        return self.time

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        last = FIRST_DEVICE_NODE_ID + 2
        return [one for one in super().pull_messages(message_ids) if one.metadata.src_node_id != last]

    def _report(self, devices: Sequence[int], contents: Sequence[RecordDict]) -> list[RecordDict]:
        assert {read_release_question(content) for content in contents} == {2}
        self.asked += devices
        return [release_answer(report()) for _ in devices]


def test_the_devices_of_a_stage_are_asked_once_and_again_after_a_while() -> None:
    grid, kept = ReportingGrid(), dict[str, ReleaseReport]()
    nodes = {FIRST_DEVICE_NODE_ID + n: RegisteredNode(f"d{n}", "") for n in range(4)}
    inquiry = Inquiry(
        lambda: nodes, lambda: Asked(2, ["d0", "d2", "d3"], 10.0), lambda version, found: kept.update(found)
    )
    inquiry.look(grid)
    inquiry.look(grid)
    assert (grid.asked, kept) == ([0, 2], {"d0": report()})
    grid.time.start_at(11.0)
    inquiry.look(grid)
    assert grid.asked == [0, 2, 0]  # d2 has a question that it may still answer
    grid.time.start_at(41.0)
    inquiry.look(grid)
    assert sorted(grid.asked) == [0, 0, 0, 2, 2]

"""Leads a release from stage to stage: on where its gates pass, back where one fails, still where paused.

Everything that devices follow is in the repository's signed plan. What is known of a release is written down
before the plan changes; a process that was killed in between brings the plan up to it again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fedstill_proto.errors import FedstillError
from fedstill_proto.package.release_plan import ReleasePlan
from fedstill_proto.system.release_report import ReleaseReport

from fedstill_server.publish.repository import Repository
from fedstill_server.releases.errors import ReleaseError
from fedstill_server.releases.gates import judge
from fedstill_server.releases.release import ReleaseFolder, StagedRelease

Tell = Callable[[str, str], None]
"""Called with one word of what happened and a text for a person."""


@dataclass(frozen=True, kw_only=True)
class FleetDevices:
    """What a controller asks of the fleet, anew each time.

    Attributes:
        keys: The public key of each registered device, by name.
        reports: The newest report of each device on a package.
    """

    keys: Callable[[], Mapping[str, str]]
    reports: Callable[[int], Mapping[str, ReleaseReport]]


class ReleaseController:
    """The releases of one fleet; `step` is called every few seconds while it is up."""

    def __init__(
        self,
        fleet: Path,
        devices: FleetDevices,
        *,
        promoted: Callable[[StagedRelease], None] = lambda release: None,
        tell: Tell = lambda what, text: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Look at nothing yet.

        Args:
            fleet: The fleet's folder.
            devices: What is asked of the fleet.
            promoted: Called when a release has become everybody's, and before it is said to be done: puts its
                generation into force.
            tell: Called with what happens.
            clock: Gives the time in seconds since 1970.
        """
        self._releases, self._repository = ReleaseFolder(fleet), Repository(fleet)
        self._devices, self._promoted, self._tell, self._clock = devices, promoted, tell, clock

    def step(self) -> StagedRelease | None:
        """Look at the release that is on its way, and do what is due; returns it as it is then."""
        release = self._releases.on_its_way()
        if release is None:
            return None
        if (ended := self._ended(release)) is not None:
            return ended
        self._bring_plan_up(release)
        reports = self.reports(release)
        verdicts = judge(reports, package_version=release.package_version, rules=release.rules)
        if verdicts != release.verdicts:
            release = replace(release, verdicts=verdicts)
            self._releases.write(release)
        failed = [verdict for verdict in verdicts if verdict.failed]
        if failed:
            reason = "; ".join(f"{verdict.gate}: {verdict.text}" for verdict in failed)
            return self.take_back(reason, what="gate")
        if release.paused or self.waits_for(release, reports):
            return release
        return self.advance("its gates passed")

    def reports(self, release: StagedRelease) -> dict[str, ReleaseReport]:
        """The reports of the devices of the release's stage."""
        stage = self.devices_of(release)
        return {
            name: report
            for name, report in self._devices.reports(release.package_version).items()
            if name in stage
        }

    def devices_of(self, release: StagedRelease) -> set[str]:
        """The registered devices that use it in its stage."""
        candidate = release.candidate
        return {name for name, key in self._devices.keys().items() if candidate.takes(key)}

    def waits_for(self, release: StagedRelease, reports: Mapping[str, ReleaseReport]) -> str:
        """What keeps the release in its stage, for a person; empty where nothing does."""
        left_s = release.stage_since + release.rules.least_time_s - self._clock()
        if left_s > 0:
            return f"the stage lasts {left_s:.0f} s more"
        devices = len(self.devices_of(release))
        installed = sum(one.package_version == release.package_version for one in reports.values())
        wanted = max(1, min(release.rules.least_reports, devices))
        if installed < wanted:
            return f"{installed} of {wanted} devices have reported (the stage has {devices})"
        return ""

    def advance(self, why: str) -> StagedRelease:
        """Go on to the next stage, or make it everybody's; raises ReleaseError where there is none."""
        release, now = self._releases.required(), self._clock()
        if release.stage + 1 < len(release.rules.stages):
            share = release.rules.stages[release.stage + 1]
            text = f"release {release.package_version} goes to {share:.0%} of the devices: {why}"
            release = release.stepped(
                "stage", text, at=now, stage=release.stage + 1, stage_since=now, verdicts=()
            )
            self._releases.write(release)
            self._bring_plan_up(release)
        else:
            self._repository.promote()
            self._promoted(release)
            text = f"release {release.package_version} is everybody's: {why}"
            release = release.stepped("done", text, at=now, status="done")
            self._releases.write(release)
        self._tell("release", text)
        return release

    def take_back(self, reason: str, *, what: str = "operator") -> StagedRelease:
        """Take the release back from all devices that have it; raises ReleaseError where there is none."""
        release, now = self._releases.required(), self._clock()
        text = f"release {release.package_version} is taken back: {reason}"
        release = release.stepped(what, text, at=now, status="taken back", reason=reason)
        # The devices come first: a killed process finds the withdrawal, and writes it down.
        self._withdraw(release.package_version)
        self._releases.write(release)
        self._tell("release-taken-back", text)
        return release

    def pause(self, paused: bool) -> StagedRelease:
        """Keep the release in its stage, or let it go on; raises ReleaseError where none is on its way."""
        release = self._releases.required()
        text = f"release {release.package_version} {'is paused' if paused else 'goes on'}"
        release = release.stepped("paused" if paused else "resumed", text, at=self._clock(), paused=paused)
        self._releases.write(release)
        self._bring_plan_up(release)
        self._tell("release", text)
        return release

    def kill(self, *, answer_from: int | None, reason: str) -> ReleasePlan:
        """Have no device take part, and none answer from a newer package than this one.

        Args:
            answer_from: The version of the last good package; None leaves devices what they have.
            reason: For the people who see it.

        Raises:
            PublishError: There is no package of that version, or an earlier one, any more.
        """
        newer: Sequence[int] = ()
        if answer_from is not None:
            offered = {**self._repository.published(), **self._repository.candidates()}.values()
            versions = [one.package_version for one in offered]
            if answer_from < 1:
                raise ReleaseError(f"answer_from: {answer_from} is no version of a package.")
            newer = range(answer_from + 1, max(versions, default=0) + 1)
        release = self._releases.on_its_way()
        if newer:
            plan = self._repository.withdraw(newer, rounds_off=True)
        else:
            plan = self._repository.change_plan(rounds_off=True)
        if release is not None and release.package_version in newer:
            text = f"release {release.package_version} is taken back: the kill switch: {reason}"
            self._releases.write(
                release.stepped("killed", text, at=self._clock(), status="taken back", reason=reason)
            )
        since = "" if answer_from is None else f", and devices answer from package {answer_from}"
        self._tell("kill", f"rounds are switched off{since}: {reason}")
        return plan

    def revive(self) -> ReleasePlan:
        """Let devices take part again; what was withdrawn stays so."""
        plan = self._repository.change_plan(rounds_off=False)
        self._tell("revive", "rounds are switched on again")
        return plan

    def _ended(self, release: StagedRelease) -> StagedRelease | None:
        """Write down what a killed process had done with the release, and not said; None where it is none."""
        plan, version = self._repository.plan(), release.package_version
        if plan is not None and version in plan.withdrawn:
            return self.take_back("it was withdrawn")
        if version in {one.package_version for one in self._repository.published().values()}:
            text = f"release {version} is everybody's"
            self._promoted(release)
            release = release.stepped("done", text, at=self._clock(), status="done")
            self._releases.write(release)
            self._tell("release", text)
            return release
        return None

    def _bring_plan_up(self, release: StagedRelease) -> None:
        """Have the signed plan say what is written down."""
        plan = self._repository.plan()
        if plan is None or plan.candidate is None:
            raise ReleaseError(
                f"release {release.package_version}: its packages are not offered; take it back: "
                f"fedstill-server release rollback {self._releases.fleet}"
            )
        if (plan.candidate, plan.paused) != (release.candidate, release.paused):
            self._repository.change_plan(candidate=release.candidate, paused=release.paused)

    def _withdraw(self, package_version: int) -> None:
        plan = self._repository.plan()
        if plan is None or package_version not in plan.withdrawn:
            self._repository.withdraw([package_version])


def report_of(document: Mapping[str, object]) -> ReleaseReport | None:
    """A report as a database has it; None where it is none."""
    try:
        return ReleaseReport(**document)  # type: ignore[arg-type]
    except (FedstillError, TypeError):
        return None

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
from fedstill_proto.package.artifact import StudentPackage
from fedstill_proto.package.release_plan import ReleasePlan
from fedstill_proto.system.release_report import ReleaseReport
from fedstill_proto.task_bounds import TaskBounds

from fedstill_server.publish.errors import PublishError
from fedstill_server.publish.repository import Repository
from fedstill_server.releases.errors import ReleaseError
from fedstill_server.releases.gates import judge
from fedstill_server.releases.release import ReleaseFolder, StagedRelease, chosen_salt
from fedstill_server.releases.rules import ReleaseRules

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

    def start(
        self, packages: Sequence[StudentPackage], rules: ReleaseRules, *, asks: Mapping[str, TaskBounds]
    ) -> StagedRelease:
        """Offer packages to the devices of the first stage.

        Args:
            packages: Of one version and generation, one for each family.
            rules: How the release goes on.
            asks: What devices of each family will be asked.

        Raises:
            ReleaseError: Another release is on its way, or no device could try this one.
            PublishError: A package is not newer than the stable one.
        """
        with self._releases.held():
            if (other := self._releases.on_its_way()) is not None:
                raise ReleaseError(
                    f"release {other.package_version} is on its way; wait for it, or take it back: "
                    f"fedstill-server release rollback {self._releases.fleet}"
                )
            keys, manifest, now = self._devices.keys(), packages[0].manifest, self._clock()
            version = manifest.package_version
            if not keys:
                raise ReleaseError(
                    "no device is registered that could try the release; to all that will be: "
                    f"fedstill-server publish {self._releases.fleet}"
                )
            text = f"release {version} goes to {rules.stages[0]:.0%} of the devices"
            release = StagedRelease(
                package_version=version,
                generation=manifest.generation,
                families=tuple(package.manifest.family for package in packages),
                salt=chosen_salt(version, rules.stages, list(keys.values())),
                rules=rules,
                stage_since=now,
            ).stepped("started", text, at=now)
            self._releases.write(release)
            try:
                self._repository.offer(packages, release.candidate, asks=asks)
            except FedstillError:
                self._releases.forget(release)
                raise
        self._tell("release", text)
        return release

    def step(self) -> StagedRelease | None:
        """Look at the release that is on its way, and do what is due; returns it as it is then."""
        if self._releases.on_its_way() is None:
            return None
        with self._releases.held():
            return self._step()

    def _step(self) -> StagedRelease | None:
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
            return self._take_back(release, reason, what="gate")
        plan = self._repository.plan()
        if release.paused or plan is None or plan.rounds_off or self.waits_for(release, reports):
            return release
        return self._advance(release, "its gates passed")

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
        with self._releases.held():
            return self._advance(self._releases.required(), why)

    def _advance(self, release: StagedRelease, why: str) -> StagedRelease:
        now = self._clock()
        if release.stage + 1 == len(release.rules.stages):
            return self._promote(release, why)
        share = release.rules.stages[release.stage + 1]
        text = f"release {release.package_version} goes to {share:.0%} of the devices: {why}"
        release = release.stepped(
            "stage", text, at=now, stage=release.stage + 1, stage_since=now, verdicts=()
        )
        self._releases.write(release)
        self._bring_plan_up(release)
        self._tell("release", text)
        return release

    def _promote(self, release: StagedRelease, why: str) -> StagedRelease:
        """Make a release everybody's; whoever is killed in between is followed by `_ended`."""
        published = {one.package_version for one in self._repository.published().values()}
        if release.package_version not in published:
            self._repository.promote()
        self._promoted(release)
        text = f"release {release.package_version} is everybody's: {why}"
        release = release.stepped("done", text, at=self._clock(), status="done")
        self._releases.write(release)
        self._tell("release", text)
        return release

    def take_back(self, reason: str) -> StagedRelease:
        """Take the release back from all devices that have it.

        Where none is on its way, it is the last one that became everybody's, if devices can go back to the
        package before.

        Raises:
            ReleaseError: There is none.
        """
        with self._releases.held():
            release = self._releases.on_its_way() or self._reversible()
            return self._take_back(release, reason)

    def _reversible(self) -> StagedRelease:
        """The release that all devices have; raises ReleaseError where none is, or none can be taken back."""
        done = [release for release in self._releases.all() if release.status == "done"]
        published = {one.package_version for one in self._repository.published().values()}
        if not done or done[-1].package_version not in published:
            return self._releases.required()
        newest = done[-1]
        if newest.generation not in self._repository.earlier_generations():
            raise ReleaseError(
                f"release {newest.package_version}: no package of its generation {newest.generation} is "
                "there to go back to; start another release"
            )
        return newest

    def _take_back(self, release: StagedRelease, reason: str, *, what: str = "operator") -> StagedRelease:
        text = f"release {release.package_version} is taken back: {reason}"
        before = release
        if release.reason != reason:  # written down before, so that whoever is killed now is followed
            release = release.stepped(what, text, at=self._clock(), reason=reason, status="staged")
            self._releases.write(release)
        plan = self._repository.plan()
        if plan is None or release.package_version not in plan.withdrawn:
            try:
                self._repository.withdraw([release.package_version], paused=False)
            except PublishError:
                self._releases.write(before)
                raise
        release = replace(release, status="taken back")
        self._releases.write(release)
        self._tell("release-taken-back", text)
        return release

    def pause(self, paused: bool) -> StagedRelease:
        """Keep the release in its stage, or let it go on; raises ReleaseError where none is on its way."""
        with self._releases.held():
            release = self._releases.required()
            text = f"release {release.package_version} {'is paused' if paused else 'goes on'}"
            what = "paused" if paused else "resumed"
            release = release.stepped(what, text, at=self._clock(), paused=paused)
            self._releases.write(release)
            self._bring_plan_up(release)
        self._tell("release", text)
        return release

    def kill(self, *, answer_from: int | None, reason: str) -> ReleasePlan:
        """Have no device take part, and none answer from a newer package than this one.

        Args:
            answer_from: The version of the last good package; None is the stable one: what is on its way is
                taken back.
            reason: For the people who see it.

        Raises:
            PublishError: There is no package of that version, or an earlier one, any more; rounds are
                switched off all the same.
        """
        if answer_from is not None and answer_from < 1:
            raise ReleaseError(f"answer_from: {answer_from} is no version of a package.")
        with self._releases.held():
            plan = self._repository.change_plan(rounds_off=True)
            self._tell("kill", f"rounds are switched off: {reason}")
            release = self._releases.on_its_way()
            if release is not None and (answer_from is None or release.package_version > answer_from):
                self._take_back(release, f"the kill switch: {reason}", what="killed")
            if answer_from is not None:
                newer = range(answer_from + 1, self._repository.next_version())
                plan = self._repository.withdraw(newer)
                self._tell("kill", f"devices answer from package {answer_from} at most: {reason}")
        return self._repository.plan() or plan

    def revive(self) -> ReleasePlan:
        """Let devices take part again; what was withdrawn stays so."""
        plan = self._repository.change_plan(rounds_off=False)
        self._tell("revive", "rounds are switched on again")
        return plan

    def _ended(self, release: StagedRelease) -> StagedRelease | None:
        """Bring to its end what a killed process had begun with the release; None where that is nothing."""
        plan, version = self._repository.plan(), release.package_version
        if release.reason:
            return self._take_back(release, release.reason)
        if plan is not None and version in plan.withdrawn:
            return self._take_back(release, "it was withdrawn")
        if version in {one.package_version for one in self._repository.published().values()}:
            return self._promote(release, "its gates passed")
        if plan is None or plan.candidate is None or plan.candidate.package_version != version:
            self._releases.forget(release)
            self._tell("release", f"release {version} was never offered: whoever started it was killed")
            return release
        return None

    def _bring_plan_up(self, release: StagedRelease) -> None:
        """Have the signed plan say what is written down."""
        plan = self._repository.plan()
        if plan is None or (plan.candidate, plan.paused) != (release.candidate, release.paused):
            self._repository.change_plan(candidate=release.candidate, paused=release.paused)


def report_of(document: Mapping[str, object]) -> ReleaseReport | None:
    """A report as a database has it; None where it is none."""
    try:
        return ReleaseReport(**document)  # type: ignore[arg-type]
    except (FedstillError, TypeError):
        return None

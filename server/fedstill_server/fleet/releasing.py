"""Releases of a real fleet: what they are made of, who is asked about them, and what follows from them."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from fedstill_proto.errors import FedstillError
from fedstill_proto.package.artifact import StudentPackage, save_package
from fedstill_proto.system.release_report import ReleaseReport

from fedstill_server.fleet.devices import DeviceRegister
from fedstill_server.fleet.folder import FleetFolder
from fedstill_server.fleet.generations import staged_generation, switch_generation
from fedstill_server.fleet.handover import given_students, inherit_constraints, replace_students
from fedstill_server.operations.database import FleetDatabase
from fedstill_server.operations.errors import OperationsError
from fedstill_server.publish.errors import PublishError
from fedstill_server.publish.repository import Repository
from fedstill_server.publish.students import build_students
from fedstill_server.releases.controller import FleetDevices, ReleaseController, report_of
from fedstill_server.releases.errors import ReleaseError
from fedstill_server.releases.gates import loses
from fedstill_server.releases.release import ReleaseFolder, StagedRelease
from fedstill_server.releases.rules import ReleaseRules
from fedstill_server.rounds.inquiry import ASK_EVERY_S, Asked

log = logging.getLogger("fedstill.release")


class ReleaseNotes:
    """What the database of a fleet has to do with its releases; opened once it is needed."""

    def __init__(self, folder: Path, on_text: Callable[[str], None] = lambda text: None) -> None:
        self._folder, self._on_text = folder, on_text
        self._database: FleetDatabase | None = None

    def reports(self, package_version: int) -> dict[str, ReleaseReport]:
        """The devices' reports on a package; raises OperationsError."""
        found = {name: report_of(one) for name, one in self._opened().reports(package_version).items()}
        return {name: report for name, report in found.items() if report is not None}

    def keep(self, package_version: int, reports: Mapping[str, ReleaseReport]) -> None:
        """Keep devices' reports; where the database is gone, they are asked again."""
        with suppress(OperationsError):
            for name, report in reports.items():
                self._opened().note_report(package_version, name, asdict(report))

    def tell(self, what: str, text: str) -> None:
        """Tell what happened to whoever looks on; a database that is gone stops nothing."""
        self._on_text(text)
        with suppress(OperationsError):
            self._opened().tell(what, text)

    def close(self) -> None:
        """Close the database."""
        if self._database is not None:
            self._database.close()

    def _opened(self) -> FleetDatabase:
        if self._database is None:
            self._database = FleetDatabase.open(self._folder)
        return self._database


def controller_of(folder: Path, notes: ReleaseNotes) -> ReleaseController:
    """The controller of a fleet's releases."""
    register = DeviceRegister(FleetFolder(folder).devices)

    def promoted(release: StagedRelease) -> None:
        staged = staged_generation(folder)
        if staged is not None and staged.number == release.generation:
            switch_generation(folder)

    return ReleaseController(
        folder,
        FleetDevices(keys=lambda: _keys(register), reports=notes.reports),
        promoted=promoted,
        tell=notes.tell,
    )


def start_release(
    folder: Path,
    controller: ReleaseController,
    rules: ReleaseRules,
    *,
    families: Sequence[str] = (),
    packages: Sequence[Path] = (),
    force: bool = False,
) -> StagedRelease:
    """Build packages of the newest students, or of the staged generation, and offer them in stages.

    Args:
        folder: The fleet's.
        controller: Of its releases.
        rules: How the release goes on.
        families: Whose packages; none are all of the fleet's.
        packages: Folders of students to release in place of the newest of their families, and to go on from
            once the release is everybody's.
        force: Whether students are offered that are worse on the server's test set than those in use.

    Raises:
        ReleaseError: Another release is on its way, or a student is worse.
        PublishError: A package cannot be built.
    """
    releases, staged = ReleaseFolder(folder), staged_generation(folder)
    if (other := releases.on_its_way()) is not None:  # before what takes long
        raise ReleaseError(
            f"release {other.package_version} is on its way; wait for it, or take it back: "
            f"fedstill-server release rollback {folder}"
        )
    if staged is not None and (packages or families):
        option = "--package" if packages else "--families"
        raise ReleaseError(f"{option}: generation {staged.number} is staged; release all of it first.")
    given = given_students(folder, packages)
    inherit_constraints(folder, given.values())
    built = build_students(
        folder,
        families or list(given),
        source=None if staged is None else staged.folder,
        instead={family: one.parameters for family, one in given.items()},
    )
    worse = worse_students(Repository.open(folder), built.packages, rules)
    if worse and not force:
        raise ReleaseError(f"{'; '.join(worse)}; to release it all the same: --force")
    version = built.packages[0].manifest.package_version
    shutil.rmtree(releases.students(version), ignore_errors=True)
    for family, package in given.items():
        if family in {one.manifest.family for one in built.packages}:
            save_package(releases.students(version) / family, package)
    return controller.start(built.packages, rules, asks=built.asks)


def end_release(folder: Path, reason: str, *, asked: bool) -> None:
    """Take the release back that is on its way, if there is one.

    Args:
        folder: The fleet's.
        reason: Why it is taken back.
        asked: Whether that is what the operator wants.

    Raises:
        ReleaseError: One is on its way, and the operator did not ask for its end.
    """
    release = ReleaseFolder(folder).on_its_way()
    if release is None:
        return
    if not asked:
        raise ReleaseError(
            f"release {release.package_version} is on its way to the devices in stages; to take it back "
            "and publish to all at once: --instead"
        )
    notes = ReleaseNotes(folder)
    try:
        controller_of(folder, notes).take_back(reason)
    finally:
        notes.close()


def worse_students(
    repository: Repository, packages: Sequence[StudentPackage], rules: ReleaseRules
) -> list[str]:
    """The students that are worse on the server's test set than those in use, in words."""
    found = []
    for package in packages:
        family, now = package.manifest.family, dict(package.manifest.quality)
        before = repository.quality(family)
        if not now.keys() & before.keys() >= {"accuracy", "test_examples"}:
            continue
        if not (0 <= now["accuracy"] <= 1 and 0 <= before["accuracy"] <= 1):
            continue  # of numbers: no share of right answers
        if loses(_right(now), _right(before), rules):
            found.append(
                f"{family}: {now['accuracy']:.1%} of the test set is right, {before['accuracy']:.1%} with "
                "the package in use"
            )
    return found


class StageQuestions:
    """Whom the process of the rounds asks about the release that is on its way."""

    def __init__(self, folder: Path) -> None:
        self._releases, self._register = ReleaseFolder(folder), DeviceRegister(FleetFolder(folder).devices)
        self._known: tuple[object, Asked | None] = (None, None)

    def __call__(self) -> Asked | None:
        """The devices of its stage; None where none is on its way."""
        try:
            release = self._releases.on_its_way()
        except FedstillError as error:
            log.warning("%s", error)
            return None
        if release is None:
            return None
        candidate, now = (
            release.candidate,
            (release.package_version, release.stage, self._register.changed_at()),
        )
        if self._known[0] != now:
            devices = {name for name, key in _keys(self._register).items() if candidate.takes(key)}
            every_s = min(ASK_EVERY_S, max(release.rules.least_time_s / 3, 1.0))
            self._known = now, Asked(release.package_version, devices, every_s)
        return self._known[1]


def switched_off(folder: Path) -> str:
    """Why no round may begin, where the kill switch is on; empty where it is off."""
    plan = Repository.open(folder).plan()
    if plan is None or not plan.rounds_off:
        return ""
    return f"rounds are switched off; fedstill-server revive {folder} lets them go on"


def has_students_to_take_over(folder: Path) -> bool:
    """Whether rounds are to go on from students that came with a release."""
    return ReleaseFolder(folder).to_take_over() is not None


def take_students_over(folder: Path) -> list[str]:
    """Have rounds go on from the students that came with a release that is everybody's; no run may be going.

    Returns:
        Their families; whoever is killed does it again.

    Raises:
        PublishError: The fleet has changed, and cannot have them any more; they are given up.
    """
    releases = ReleaseFolder(folder)
    with releases.held():
        release = releases.to_take_over()
        if release is None:
            return []
        kept = releases.students(release.package_version)
        try:
            given = given_students(folder, sorted(path for path in kept.iterdir() if path.is_dir()))
            replace_students(folder, {family: one.parameters for family, one in given.items()})
        except PublishError:
            shutil.rmtree(kept)
            raise
        shutil.rmtree(kept)
        return list(given)


def _keys(register: DeviceRegister) -> dict[str, str]:
    return {device.name: device.public_key for device in register.all()}


def _right(quality: Mapping[str, float]) -> tuple[int, int]:
    """(right answers, examples) of a package's figures."""
    return round(quality["accuracy"] * quality["test_examples"]), int(quality["test_examples"])

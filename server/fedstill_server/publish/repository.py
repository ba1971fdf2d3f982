"""A fleet's signed repository of student packages, after The Update Framework (theupdateframework.github.io).

FLEET/repository/metadata   <n>.root.json, <n>.targets.json, <n>.snapshot.json, timestamp.json
FLEET/repository/targets    students/<digest>.<family>.json and parts/<digest>/<digest>.<name>; beside
                            students/, candidates/ that some devices use first, and previous/, what was
                            stable before; <digest>.release-plan.json, which says who uses what

A release is written from its files up: parts, manifests, targets, snapshot, and last the timestamp, each by
a rename. Until the timestamp is there, devices see the release before; a crash loses nothing but the work.
"""

from __future__ import annotations

import fcntl
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fedstill_proto.errors import WireError
from fedstill_proto.package.artifact import CONSTRAINTS_FILE, StudentPackage
from fedstill_proto.package.constraints.constraints import NO_CONSTRAINTS, Constraints
from fedstill_proto.package.release_plan import (
    MOST_WITHDRAWN,
    RELEASE_PLAN_TARGET,
    Candidate,
    ReleasePlan,
)
from fedstill_proto.secure_sums.enrolled import ENROLLED_TARGET, EnrolledDevices
from fedstill_proto.system.folder_digests import FolderDigests
from fedstill_proto.task_bounds import TaskBounds
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Root, Snapshot, TargetFile, Targets, Timestamp

from fedstill_server.publish.constraints import check_kept
from fedstill_server.publish.errors import PublishError
from fedstill_server.publish.keys import ROLES, SigningKeys, check_role
from fedstill_server.publish.metadata_files import LIFETIMES, MetadataFiles, empty
from fedstill_server.publish.target_files import (
    CANDIDATE,
    PREVIOUS,
    STABLE,
    TargetFiles,
    without_orphans,
)

ONLINE_ROLES = ("targets", "snapshot", "timestamp")


@dataclass(frozen=True)
class PublishedStudent:
    """A package as the repository offers it."""

    family: str
    package_version: int
    size_bytes: int  # of the manifest and all parts


@dataclass(frozen=True)
class Repository:
    """The signed repository of a fleet.

    Attributes:
        fleet: The operator's folder.
    """

    fleet: Path

    @classmethod
    def create(cls, fleet: Path) -> Repository:
        """Make keys and an empty first release; raises PublishError where there is a repository already."""
        repository = cls(fleet)
        if repository._metadata.has_root():
            raise PublishError(f"{fleet}: there is a repository already, and devices trust its keys.")
        root = empty(Root)
        signers = {role: repository.keys.generate(role) for role in ROLES}
        for role, signer in signers.items():
            root.add_key(signer.public_key, role)
        repository._metadata.write(root, [signers["root"]], now=_now())
        repository._release({}, signers={role: [signers[role]] for role in ONLINE_ROLES})
        return repository

    @classmethod
    def open(cls, fleet: Path) -> Repository:
        """Open a repository; raises PublishError where there is none."""
        repository = cls(fleet)
        repository._metadata.root()
        return repository

    @property
    def keys(self) -> SigningKeys:
        """The private keys that sign."""
        return SigningKeys(self.fleet / "keys" / "packages", FolderDigests(self.fleet))

    @property
    def folder(self) -> Path:
        """The folder that devices read: metadata/ and targets/."""
        return self.fleet / "repository"

    def trusted_root(self) -> bytes:
        """The newest root metadata: what a device that enrols now starts from."""
        return self._metadata.root_bytes()

    def published(self) -> dict[str, PublishedStudent]:
        """The newest packages by family."""
        return _students(self._offered(), STABLE)

    def candidates(self) -> dict[str, PublishedStudent]:
        """The packages that some devices use first, by family."""
        return _students(self._offered(), CANDIDATE)

    def plan(self) -> ReleasePlan | None:
        """The release plan that devices follow; None before the first.

        Raises:
            PublishError: It is damaged, or gone.
        """
        entry = self._offered().get(RELEASE_PLAN_TARGET)
        if entry is None:
            return None
        try:
            return self._targets.plan(entry)
        except (OSError, WireError) as error:
            raise PublishError(f"{self.folder}: the release plan cannot be read: {error}") from None

    def quality(self, family: str) -> dict[str, float]:
        """The figures that the stable package of a family was published with, by name; empty without one."""
        entry = self._offered().get(f"{STABLE}/{family}.json")
        return {} if entry is None else dict(self._targets.manifest(entry).quality)

    def constraints(self, family: str) -> Constraints:
        """What the stable package of a family suppresses."""
        return self._constraints(self._offered(), family)

    def _constraints(self, offered: Mapping[str, TargetFile], family: str) -> Constraints:
        entry = offered.get(f"{STABLE}/{family}.json")
        parts = () if entry is None else self._targets.manifest(entry).parts
        part = next((part for part in parts if part.name == CONSTRAINTS_FILE), None)
        return NO_CONSTRAINTS if part is None else Constraints.from_json(self._targets.part(part))

    def earlier_generations(self) -> set[int]:
        """The generations of the packages that were stable before."""
        before = (entry for path, entry in self._offered().items() if path.startswith(f"{PREVIOUS}/"))
        return {self._targets.manifest(entry).generation for entry in before}

    def problems(self) -> list[str]:
        """What a device would refuse, in words: metadata that no key signed, and files that are others."""
        problems = self._metadata.problems()
        return problems + self._targets.problems()

    def next_version(self) -> int:
        """One more than the version of any package of the fleet."""
        plan, offered = self.plan(), self._offered()
        students = (_students(offered, place).values() for place in (STABLE, CANDIDATE, PREVIOUS))
        versions = [student.package_version for each in students for student in each]
        return 1 + max((*versions, *(plan.withdrawn if plan is not None else ())), default=0)

    def publish(
        self,
        packages: Iterable[StudentPackage],
        *,
        asks: Mapping[str, TaskBounds] | None = None,
        now: datetime | None = None,
    ) -> None:
        """Offer packages in place of their families' earlier ones, in one release.

        Args:
            packages: The packages.
            asks: What devices of each family will be asked (see statement.py); None says nothing of it.
            now: The time of signing; None is the clock's.

        Raises:
            PublishError: A package is not newer than its family's published one, or suppresses less.
        """
        with self._locked():
            published, before = self.published(), self._offered()
            offered = dict(before)
            for package in packages:
                family = package.manifest.family
                _check_newer(package, published.get(family))
                check_kept(self._constraints(before, family), package)
                if (stable := before.get(f"{STABLE}/{family}.json")) is not None:
                    offered |= self._targets.put_elsewhere(stable, PREVIOUS)
                offered |= self._targets.put(package, (asks or {}).get(family))
            self._offer(offered, before, now=now)

    def offer(
        self,
        packages: Iterable[StudentPackage],
        candidate: Candidate,
        *,
        asks: Mapping[str, TaskBounds] | None = None,
        now: datetime | None = None,
    ) -> ReleasePlan:
        """Offer packages to a share of the devices, beside the stable ones.

        Args:
            packages: The packages, all of the candidate's version.
            candidate: Who uses them.
            asks: What devices of each family will be asked.
            now: The time of signing; None is the clock's.

        Returns:
            The plan that devices follow from now on.

        Raises:
            PublishError: Another candidate is on its way, or a package is not newer than the stable one.
        """
        with self._locked():
            published, before = self.published(), self._offered()
            if _students(before, CANDIDATE):
                raise PublishError(f"{self.fleet}: another release is on its way; end it first.")
            offered = dict(before)
            for package in packages:
                _check_newer(package, published.get(package.manifest.family))
                check_kept(self._constraints(before, package.manifest.family), package)
                put = self._targets.put(package, (asks or {}).get(package.manifest.family), place=CANDIDATE)
                offered |= put
            return self._follow(self._next_plan(candidate=candidate), offered, before, now=now)

    def change_plan(self, *, now: datetime | None = None, **changes: Any) -> ReleasePlan:
        """Sign a plan with other values of these fields: `candidate` (another share of it), `rounds_off`,
        `paused`.
        """
        with self._locked():
            before = self._offered()
            return self._follow(self._next_plan(**changes), dict(before), before, now=now)

    def promote(self, *, now: datetime | None = None) -> ReleasePlan:
        """Make the candidate the stable release; what was stable is kept as the previous one.

        Raises:
            PublishError: There is no candidate.
        """
        with self._locked():
            before = self._offered()
            families = _students(before, CANDIDATE)
            if not families:
                raise PublishError(f"{self.fleet}: no release is on its way.")
            offered = dict(before)
            for family in families:
                candidate = offered.pop(f"{CANDIDATE}/{family}.json")
                if (stable := before.get(f"{STABLE}/{family}.json")) is not None:
                    offered |= self._targets.put_elsewhere(stable, PREVIOUS)
                offered |= self._targets.put_elsewhere(candidate, STABLE)
            plan = self._next_plan(candidate=None, paused=False)
            return self._follow(plan, offered, before, now=now)

    def withdraw(
        self, versions: Iterable[int], *, now: datetime | None = None, **changes: Any
    ) -> ReleasePlan:
        """Take packages back: no device goes on answering from one of these versions.

        A candidate among them is dropped; a stable one gives way to the one before it.

        Args:
            versions: The versions.
            now: The time of signing; None is the clock's.
            changes: What else is other in the plan.

        Raises:
            PublishError: No other package of a family is left.
        """
        with self._locked():
            before, plan = self._offered(), self.plan()
            withdrawn = sorted({*versions, *(plan.withdrawn if plan is not None else ())})
            offered = {
                path: entry for path, entry in before.items() if not _is_candidate_of(path, entry, withdrawn)
            }
            for family, student in _students(before, STABLE).items():
                if student.package_version not in withdrawn:
                    continue
                earlier = offered.pop(f"{PREVIOUS}/{family}.json", None)
                if earlier is None or earlier.custom["package_version"] in withdrawn:
                    raise PublishError(
                        f"{family}: no package is left that is not withdrawn; publish one first: "
                        f"fedstill-server publish {self.fleet}"
                    )
                offered |= self._targets.put_elsewhere(earlier, STABLE)
            if not _students(offered, CANDIDATE):
                changes["candidate"] = None
            plan = self._next_plan(withdrawn=tuple(withdrawn[-MOST_WITHDRAWN:]), **changes)
            return self._follow(plan, offered, before, now=now)

    def _next_plan(self, **changes: Any) -> ReleasePlan:
        plan = self.plan()
        if plan is None:
            return ReleasePlan(version=1, **changes)
        return replace(plan, version=plan.version + 1, **changes)

    def _follow(
        self,
        plan: ReleasePlan,
        offered: dict[str, TargetFile],
        before: Mapping[str, TargetFile],
        *,
        now: datetime | None,
    ) -> ReleasePlan:
        self._offer({**offered, **self._targets.put_plan(plan)}, before, now=now)
        return plan

    def _offer(
        self, offered: Mapping[str, TargetFile], before: Mapping[str, TargetFile], *, now: datetime | None
    ) -> None:
        """Release these targets; devices that read the release before go on finding its files."""
        offered = without_orphans(offered)
        self._release(offered, now=now)
        self._targets.remove_all_but([*before.values(), *offered.values()])

    def enrolled_version(self) -> int:
        """The version of the list of devices that is offered; 0 where there is none."""
        target = self._offered().get(ENROLLED_TARGET)
        return 0 if target is None else int(target.custom["version"])

    def enrol(self, devices: EnrolledDevices, *, now: datetime | None = None) -> None:
        """Offer a list of the fleet's devices in place of the earlier one.

        Raises:
            PublishError: It is not newer than the one that is offered.
        """
        with self._locked():
            if devices.version <= (newest := self.enrolled_version()):
                raise PublishError(f"list of devices {devices.version} is not above {newest}, the newest.")
            before = self._offered()
            self._offer({**before, **self._targets.put_devices(devices)}, before, now=now)

    def refresh(self, *, now: datetime | None = None) -> None:
        """Sign anew what must not expire; to be called every day while devices are out there.

        The root and the list of packages are signed anew only in the second half of their lives.
        """
        now = now or _now()
        with self._locked():
            root, targets = self._metadata.root(), self._metadata.read(Targets)
            if root.expires - now < LIFETIMES["root"] / 2:
                self._metadata.write(root, [self.keys.signer("root", root)], now=now)
            renew = targets.expires - now < LIFETIMES["targets"] / 2
            self._release(targets.targets if renew else None, now=now)

    def rotate(self, role: str, *, now: datetime | None = None) -> str:
        """Replace the key of a role, and return the new key's id; devices follow by themselves."""
        check_role(role)
        with self._locked():
            root = self._metadata.root()
            signers = [self.keys.signer("root", root)]
            old, new = self.keys.signer(role, root), self.keys.generate(role)
            if role == "root":
                # Signed with the old key, so that devices believe it, and with the new one that it names.
                signers.append(new)
            else:
                # Signed with both keys, so that devices can follow before the new root is there, and after.
                online = self._online_signers()
                online[role].append(new)
                self._release(self._offered(), signers=online, now=now)
            root.revoke_key(old.public_key.keyid, role)
            root.add_key(new.public_key, role)
            self._metadata.write(root, signers, now=now or _now())
            self.keys.forget_others(root)
        return new.public_key.keyid

    def _release(
        self,
        offered: Mapping[str, TargetFile] | None,
        *,
        signers: Mapping[str, Sequence[CryptoSigner]] | None = None,
        now: datetime | None = None,
    ) -> None:
        """Write targets (unless None: they stay as they are), snapshot and timestamp, in this order.

        Each is signed by its own role alone: a signature that no device asks for could be altered unseen.
        """
        signers, now = signers or self._online_signers(), now or _now()
        targets = self._metadata.read(Targets)
        if offered is not None:
            targets.targets = dict(offered)
            self._metadata.write(targets, signers[Targets.type], now=now)
        snapshot = self._metadata.read(Snapshot)
        snapshot.meta["targets.json"] = self._metadata.described(targets)
        self._metadata.write(snapshot, signers[Snapshot.type], now=now)
        timestamp = self._metadata.read(Timestamp)
        timestamp.snapshot_meta = self._metadata.described(snapshot)
        self._metadata.write(timestamp, signers[Timestamp.type], now=now)
        self._metadata.remove_old(Snapshot, snapshot.version)
        self._metadata.remove_old(Targets, targets.version)

    def _online_signers(self) -> dict[str, list[CryptoSigner]]:
        root = self._metadata.root()
        return {role: [self.keys.signer(role, root)] for role in ONLINE_ROLES}

    def _offered(self) -> dict[str, TargetFile]:
        return self._metadata.read(Targets).targets

    @property
    def _metadata(self) -> MetadataFiles:
        return MetadataFiles(self.folder / "metadata")

    @property
    def _targets(self) -> TargetFiles:
        return TargetFiles(self.folder / "targets")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time: a fleet that is up refreshes while its operator publishes."""
        Repository.open(self.fleet)
        with (self.fleet / "keys" / "packages" / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _students(offered: Mapping[str, TargetFile], place: str) -> dict[str, PublishedStudent]:
    """The packages at a place, by family."""
    students = {}
    for path, target in offered.items():
        if path.startswith(f"{place}/"):
            family = path.removeprefix(f"{place}/").removesuffix(".json")
            size = target.length + target.custom["parts_bytes"]
            students[family] = PublishedStudent(family, target.custom["package_version"], size)
    return students


def _is_candidate_of(path: str, entry: TargetFile, versions: Collection[int]) -> bool:
    return path.startswith(f"{CANDIDATE}/") and entry.custom["package_version"] in versions


def _check_newer(package: StudentPackage, before: PublishedStudent | None) -> None:
    manifest, newest = package.manifest, before.package_version if before else 0
    if manifest.package_version <= newest:
        raise PublishError(
            f"{manifest.family}: package version {manifest.package_version} is not above {newest}, "
            "the newest that was published; a device would refuse it."
        )


def _now() -> datetime:
    return datetime.now(UTC)

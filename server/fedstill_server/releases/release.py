"""A release and its memory: releases/<version>.json in the fleet's folder."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from fedstill_proto.generation import FIRST_GENERATION
from fedstill_proto.package.release_plan import Candidate
from fedstill_proto.system.sealed import read_sealed_json, write_sealed_json

from fedstill_server.config.codec import from_json, to_json
from fedstill_server.releases.errors import ReleaseError
from fedstill_server.releases.gates import GateVerdict
from fedstill_server.releases.rules import ReleaseRules

RELEASES = "releases"
_SALTS_TRIED = 2000
_FEW = 50  # devices of a stage, below which the salt is chosen

Status = Literal["staged", "done", "taken back"]


@dataclass(frozen=True, kw_only=True)
class ReleaseStep:
    """Something that happened to a release; `at` is in seconds since 1970."""

    at: float
    what: str
    text: str


@dataclass(frozen=True, kw_only=True)
class StagedRelease:
    """A release: what it offers, how far it is, and what became of it.

    Attributes:
        package_version: Of its packages.
        generation: Of the fleet's configuration that they belong to.
        families: Whose packages it has.
        salt: Makes the choice of devices.
        rules: Its stages and gates.
        status: "staged" while it is on its way, "done", or "taken back".
        stage: The number of the stage, from 0.
        stage_since: When the stage began, in seconds since 1970.
        paused: Whether an operator has paused it.
        reason: Why it was taken back.
        verdicts: What the gates said last.
        steps: What happened to it, first to last.
    """

    package_version: int
    families: tuple[str, ...]
    salt: str
    rules: ReleaseRules
    stage_since: float
    generation: int = FIRST_GENERATION
    status: str = "staged"
    stage: int = 0
    paused: bool = False
    reason: str = ""
    verdicts: tuple[GateVerdict, ...] = ()
    steps: tuple[ReleaseStep, ...] = ()

    @property
    def is_on_its_way(self) -> bool:
        return self.status == "staged"

    @property
    def share(self) -> float:
        """The share of the devices that use it now, if it is on its way."""
        return self.rules.stages[self.stage]

    @property
    def candidate(self) -> Candidate:
        """What devices follow."""
        return Candidate(
            package_version=self.package_version,
            share=self.share,
            salt=self.salt,
            generation=self.generation,
        )

    def stepped(self, what: str, text: str, *, at: float, **changes: object) -> StagedRelease:
        """The release after something happened to it."""
        return replace(self, steps=(*self.steps, ReleaseStep(at=at, what=what, text=text)), **changes)  # type: ignore[arg-type]


@dataclass(frozen=True)
class ReleaseFolder:
    """The releases of a fleet."""

    fleet: Path

    def write(self, release: StagedRelease) -> None:
        """Replace what is known of a release."""
        write_sealed_json(self._file(release.package_version), to_json(release))

    def forget(self, release: StagedRelease) -> None:
        """Remove a release that nobody was ever offered."""
        self._file(release.package_version).unlink(missing_ok=True)
        shutil.rmtree(self.students(release.package_version), ignore_errors=True)

    def students(self, package_version: int) -> Path:
        """The folder of students that come with a release, and that rounds go on from once it is done."""
        return self.fleet / RELEASES / f"{package_version}-students"

    def to_take_over(self) -> StagedRelease | None:
        """The newest release that is done and has students which rounds have not gone on from yet."""
        done = (release for release in reversed(self.all()) if release.status == "done")
        newest = next(done, None)
        return newest if newest and self.students(newest.package_version).is_dir() else None

    @contextmanager
    def held(self) -> Iterator[None]:
        """A context in which no other process changes a release."""
        (self.fleet / RELEASES).mkdir(exist_ok=True, mode=0o700)
        with (self.fleet / RELEASES / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def read(self, package_version: int) -> StagedRelease:
        """A release; raises ReleaseError where there is none of this version."""
        path = self._file(package_version)
        try:
            return from_json(StagedRelease, read_sealed_json(path), where=str(path))
        except FileNotFoundError:
            raise ReleaseError(f"{self.fleet}: there is no release {package_version}.") from None

    def all(self) -> list[StagedRelease]:
        """All releases, first to last."""
        return [self.read(number) for number in self._numbers()]

    def on_its_way(self) -> StagedRelease | None:
        """The release that is on its way; None where none is."""
        for number in self._numbers()[-1:]:  # none begins before the one before it has ended
            if (newest := self.read(number)).is_on_its_way:
                return newest
        return None

    def _numbers(self) -> list[int]:
        paths = (self.fleet / RELEASES).glob("*.json")
        return sorted(int(path.stem) for path in paths if path.stem.isdecimal())

    def required(self) -> StagedRelease:
        """The release that is on its way; raises ReleaseError where none is."""
        release = self.on_its_way()
        if release is None:
            raise ReleaseError(
                f"{self.fleet}: no release is on its way; start one: "
                f"fedstill-server release start {self.fleet}"
            )
        return release

    def _file(self, package_version: int) -> Path:
        return self.fleet / RELEASES / f"{package_version}.json"


def chosen_salt(package_version: int, stages: Iterable[float], keys: list[str]) -> str:
    """A salt by which each stage has as many devices as it should, and the first at least one.

    Which devices a salt takes is chance. In a large fleet each stage is about as large as it says; in a small
    one the first would mostly be empty, so the salt is searched for.

    Args:
        package_version: The release's.
        stages: The shares of the stages.
        keys: The public keys of all registered devices.
    """
    wanted = [(share, max(1, round(share * len(keys)))) for share in stages if share < 1]
    if not wanted or not keys or wanted[0][1] >= _FEW:
        return f"release-{package_version}"

    def off(salt: str) -> int:
        taken = (
            (sum(Candidate(package_version=1, share=share, salt=salt).takes(key) for key in keys), count)
            for share, count in wanted
        )
        return sum(abs(found - count) + (1000 if found == 0 else 0) for found, count in taken)

    best, least = "", -1
    for number in range(_SALTS_TRIED):
        salt = f"release-{package_version}-{number}"
        distance = off(salt)
        if least < 0 or distance < least:
            best, least = salt, distance
        if least == 0:
            break
    return best

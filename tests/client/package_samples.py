"""A fleet's repository, a device that trusts it, and a record of installations, for the tests of packages."""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from fedstill_client.home import AgentHome
from fedstill_client.packages import InstalledPackage, PackageSource
from fedstill_client.packages.installed import KeptStudent
from fedstill_proto.package.artifact import StudentPackage
from fedstill_server.publish.repository import Repository

from tests.client.samples import FAMILY, artifact, student_package


def full_package(
    version: int, *, lowest_agent_version: str = "0.1.0", family: str = FAMILY
) -> StudentPackage:
    """A package with an inference graph, weights and a training artifact."""
    student, trained = student_package(), artifact()
    manifest = dataclasses.replace(
        trained.manifest,
        family=family,
        parts=(),
        inputs=student.manifest.inputs,
        outputs=student.manifest.outputs,
        package_version=version,
        lowest_agent_version=lowest_agent_version,
    )
    return dataclasses.replace(
        student,
        manifest=manifest,
        training_graph=trained.training_graph,
        forward_graph=trained.forward_graph,
    )


@dataclass
class Record:
    """Installations in memory: what the private store does with them is tested with the store."""

    all: list[InstalledPackage] = field(default_factory=list)

    def forget_kept_answers(self) -> None:
        return

    def record_installation(
        self, installed: InstalledPackage, *, keeping: KeptStudent | None = None, owners: int = 0
    ) -> None:
        self.all.append(installed)

    def owners(self) -> InstalledPackage | None:
        return None

    def installed(self) -> InstalledPackage | None:
        return self.all[-1] if self.all else None

    def installations(self) -> list[InstalledPackage]:
        return list(self.all)


@dataclass(frozen=True)
class Fleet:
    """An operator's folder and one enrolled device, in `folder`."""

    folder: Path

    @classmethod
    def at(cls, folder: Path) -> Fleet:
        fleet = cls(folder)
        repository = Repository.create(fleet.folder / "fleet")
        fleet.home.create()
        PackageSource.trust_root(fleet.home.trust, repository.trusted_root())
        repository.publish([full_package(1)])
        return fleet

    @property
    def repository(self) -> Repository:
        return Repository.open(self.folder / "fleet")

    @property
    def home(self) -> AgentHome:
        return AgentHome(self.folder / "home")

    @property
    def source(self) -> PackageSource:
        return PackageSource.of(self.repository.folder, self.home.trust)

    def keep(self, name: str) -> Path:
        """A copy of the repository as it is now, for an attacker to show later."""
        kept = self.folder / name
        shutil.copytree(self.repository.folder, kept)
        return kept

    def show(self, kept: Path) -> None:
        """Let devices see this copy from now on."""
        folder = self.repository.folder
        shutil.rmtree(folder)
        shutil.copytree(kept, folder)

    def file(self, pattern: str) -> Path:
        """The newest file of the repository that matches."""
        return max(self.repository.folder.rglob(pattern), key=lambda path: path.stat().st_mtime_ns)

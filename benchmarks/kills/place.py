"""The fleet and the device that every operation starts from, and copies of the device to kill."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fedstill_client.home import AgentHome
from fedstill_client.learning import LearningSettings, learn
from fedstill_client.packages import PackageSource, install, load_installed
from fedstill_client.privacy.policy import DevicePolicy
from fedstill_client.store import PrivateStore
from fedstill_proto.messages import RoundTask, SummaryKind, SummaryRequest, TrainingPlan
from fedstill_proto.package.artifact import StudentManifest, StudentPackage
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec
from fedstill_proto.system.enrolment import Enrolment

LEARNING = LearningSettings(check_every=10, epochs=10, learning_rate=0.005, snapshot_seconds=0)
_TAUGHT_STEPS = 20  # of the learning that every device has under way


@dataclass(frozen=True)
class Place:
    """A folder with a signed repository of two packages, and a device that has installed the first.

    The device has private examples, a student from round 1, that round's release in its ledger, and a
    learning under way.
    """

    folder: Path

    @property
    def repository(self) -> Path:
        return self.folder / "fleet" / "repository"

    @property
    def enrolment(self) -> Path:
        return self.folder / "enrolment.json"

    @property
    def home(self) -> AgentHome:
        return AgentHome(self.folder / "home")

    def source(self, home: AgentHome) -> PackageSource:
        return PackageSource.of(self.repository, home.trust)

    def copy(self, folder: Path) -> AgentHome:
        """Copy the device, to be killed at will."""
        shutil.copytree(self.home.folder, folder, symlinks=True)
        return AgentHome(folder)

    def build(self, package: Callable[[int], StudentPackage], *, examples: int) -> None:
        """Make everything; `package` builds the package of a version."""
        from fedstill_server.publish.repository import Repository

        first = package(1)
        repository = Repository.create(self.folder / "fleet")
        repository.publish([first])
        self._write_enrolment(repository.trusted_root(), first.manifest.family)
        self.home.create()
        PackageSource.trust_root(self.home.trust, repository.trusted_root())
        description = {"name": "kitchen", "family": first.manifest.family}
        self.home.description.write_text(json.dumps(description))
        DevicePolicy().allowing(["plain"]).write(self.home.folder)
        with PrivateStore.create(self.home) as store:
            install(self.home, store, self.source(self.home).fetch(first.manifest.family))
            store.observe_all(zip(*examples_of(first.manifest, examples, seed=1), strict=True))
        self._live()
        repository.publish([package(2)])

    def _live(self) -> None:
        """Perform a round, and begin to personalize."""
        from fedstill_client.rounds.device import FleetDevice

        with FleetDevice.opened(self.home.folder) as device:
            device.perform(task(device.artifact.manifest, 1))
        steps: list[int] = []
        with PrivateStore.open(self.home) as store:
            learn(
                store,
                load_installed(self.home, store),
                settings=LEARNING,
                on_progress=lambda progress: steps.append(progress.steps),
                stop=lambda: "enough" if steps and steps[-1] >= _TAUGHT_STEPS else None,
            )

    def _write_enrolment(self, root: bytes, family: str) -> None:
        enrolment = Enrolment(
            run="0123abcd",
            address="localhost:9092",
            repository=str(self.repository),
            families=(family,),
            certificate_authority="-----BEGIN CERTIFICATE-----\n",
            package_root=root.decode(),
        )
        self.enrolment.write_text(enrolment.to_json())


def examples_of(manifest: StudentManifest, count: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw examples [count, *input_shape] whose class is the largest of their first numbers, with it."""
    x = np.random.default_rng(seed).normal(size=(count, *manifest.input_shape)).astype(np.float32)
    return x, x.reshape(count, -1)[:, : manifest.classes].argmax(axis=1)


def task(manifest: StudentManifest, round: int) -> RoundTask:
    """Make the task of a round on the device's own student; the first one brings a student."""
    plan = TrainingPlan(2, 8, 0.01, manifest.optimizer, 2.0, 0.0, seed=round)
    request = SummaryRequest(SummaryKind.PUBLIC_SET, SoftLabelCodec(Encoding.UINT8), np.arange(10))
    rng = np.random.default_rng(0)
    shapes = {spec.name: spec.shape for spec in manifest.parameters}
    brought = {name: rng.normal(scale=0.1, size=shape) for name, shape in shapes.items()}
    parameters = {name: array.astype(np.float32) for name, array in brought.items()}
    return RoundTask("r1", round, manifest.family, plan, request, parameters=parameters if round == 1 else {})

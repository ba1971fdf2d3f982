"""A published package of a small student, and a store in memory, for the tests of learning."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
from fedstill_client.model.student_store import OwnStudent
from fedstill_client.store import StoredExamples
from fedstill_proto.arrays import Parameters
from fedstill_proto.messages import Optimizer
from fedstill_proto.package.artifact import StudentManifest, StudentPackage

from tests.client.samples import artifact, examples, student, student_package


def package(
    *,
    version: int = 3,
    optimizer: Optimizer = Optimizer.MOMENTUM,
    soft_labels: str = "dense",
    public: int = 24,
) -> StudentPackage:
    built = artifact(optimizer=optimizer, soft_labels=soft_labels, step_rows=16)
    return StudentPackage(
        replace(built.manifest, package_version=version),
        student_package().inference_graph,
        student(),
        training_graph=built.training_graph,
        forward_graph=built.forward_graph,
        public_x=examples(public, seed=3)[0] if public else None,
    )


@dataclass
class MemoryStore:
    """What learning asks of the private store, kept in memory."""

    training: StoredExamples
    held_out: StoredExamples
    current: OwnStudent | None = None
    fleet_labels: bytes | None = None
    snapshot: bytes | None = None
    finished: list[OwnStudent | None] = field(default_factory=list)

    @classmethod
    def of(cls, training: int, held_out: int, *, noise: float = 0.0) -> MemoryStore:
        """Examples that can be learned; a part `noise` of their labels is wrong."""
        x, labels = examples(training + held_out, seed=1)
        wrong = np.random.default_rng(5).random(len(x)) < noise
        labels = np.where(wrong, (labels + 1) % 3, labels)
        ids = np.arange(1, len(x) + 1)
        cut = slice(0, training), slice(training, None)
        return cls(*(StoredExamples(ids[part], x[part], labels[part]) for part in cut))

    def examples(self, part: str) -> StoredExamples:
        return {"training": self.training, "held-out": self.held_out}[part]

    def students(self, manifest: StudentManifest, package_version: int) -> MemoryStore:
        return self

    def latest(self) -> OwnStudent | None:
        return self.current

    def fleet(self) -> Parameters | None:
        return None

    def before(self, run: str, round: int) -> OwnStudent | None:
        return self.current

    def after(self, run: str, round: int) -> OwnStudent | None:
        return self.current

    def save(
        self, student: OwnStudent, *, before: OwnStudent | None, fleet: Parameters | None = None
    ) -> None:
        self.current = student

    @contextmanager
    def locked(self) -> Iterator[None]:
        yield

    def soft_labels(self, package_version: int) -> bytes | None:
        return self.fleet_labels

    def save_learning(self, blob: bytes) -> None:
        self.snapshot = blob

    def learning(self) -> bytes | None:
        return self.snapshot

    def finish_learning(self, package_version: int, student: OwnStudent | None) -> None:
        self.finished.append(student)
        self.current, self.snapshot = student or self.current, None

"""What learning needs of the private store, and which of its examples one learning uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from fedstill_proto.arrays import Parameters
from fedstill_proto.package.artifact import StudentManifest

from fedstill_client.learning.checkpoint import Snapshot
from fedstill_client.model.forward import Forward
from fedstill_client.model.misled import misled
from fedstill_client.model.private_stack import PrivateStack
from fedstill_client.model.student_store import OwnStudent, StudentHistory
from fedstill_client.store.examples import StoredExamples

_LEAST_JUDGING = 20  # examples that say whether the fleet misleads the device


class LearningStore(Protocol):
    """What learning needs of the private store."""

    def examples(self, part: str) -> StoredExamples:
        """The examples of a part: "training" or "held-out"."""

    def students(self, manifest: StudentManifest, package_version: int) -> StudentHistory:
        """The personal weights of a package version."""

    def soft_labels(self, package_version: int) -> bytes | None:
        """The fleet's soft labels of the last round, as `encode_fleet_labels` made them."""

    def save_learning(self, blob: bytes) -> None:
        """Keep a snapshot in place of the one before."""

    def learning(self) -> bytes | None:
        """The snapshot of a learning that has not finished."""

    def finish_learning(self, package_version: int, student: OwnStudent | None) -> None:
        """Put the package version's student in place, if any, and drop the snapshot: both or neither."""


@dataclass(frozen=True, eq=False)
class LearningExamples:
    """The examples of one learning.

    Attributes:
        training: What the student learns from.
        scored: What students are scored on.
        held_out: Whether the scored examples are held out; with too few of such, they are all that the device
            has.
    """

    training: StoredExamples
    scored: StoredExamples
    held_out: bool

    @classmethod
    def choose(
        cls, training: StoredExamples, held_out: StoredExamples, *, least_held_out: int
    ) -> LearningExamples:
        """Score on the held-out examples where there are enough of them, and on all otherwise."""
        if len(held_out.ids) >= least_held_out:
            return cls(training, held_out, True)
        if len(held_out.ids) == 0:
            return cls(training, training, False)
        return cls(training, training.followed_by(held_out), False)

    def mislead(self, fleet: Parameters, forward: Forward) -> bool:
        """Whether the fleet's student is wrong about them, by far (see model/misled.py)."""
        own = self.training.followed_by(self.scored) if self.held_out else self.scored
        private = PrivateStack.of_one(own.x, own.labels)
        stacked = {name: array[None] for name, array in fleet.items()}
        return bool(misled(stacked, forward, private, least_examples=_LEAST_JUDGING)[0])

    def of_snapshot(self, snapshot: Snapshot) -> LearningExamples | None:
        """The examples that an earlier session used; None where one of them has been removed since.

        New examples wait for the next learning, so that this one goes on as it would have without the stop.
        """
        if snapshot.held_out != self.held_out:
            return None
        training = self.training.with_ids(snapshot.training_ids)
        scored = self.scored.with_ids(snapshot.scored_ids)
        return (
            None if training is None or scored is None else LearningExamples(training, scored, self.held_out)
        )

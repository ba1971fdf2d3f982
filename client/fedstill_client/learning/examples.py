"""What learning needs of the private store, and which of its examples one learning uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from fedstill_proto.arrays import FloatArray, IntArray
from fedstill_proto.package.artifact import StudentManifest

from fedstill_client.learning.checkpoint import Snapshot
from fedstill_client.model.student_store import OwnStudent, StudentHistory


class Examples(Protocol):
    """Examples of the private store."""

    @property
    def ids(self) -> IntArray:
        """[n]"""

    @property
    def x(self) -> FloatArray:
        """[n, *shape]"""

    @property
    def labels(self) -> IntArray:
        """[n, *label_shape]"""


class LearningStore(Protocol):
    """What learning needs of the private store."""

    def examples(self, part: str) -> Examples:
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
class Part:
    """Some examples."""

    ids: IntArray  # [n]
    x: FloatArray  # [n, *shape]
    labels: IntArray  # [n, *label_shape]

    def named(self, ids: IntArray) -> Part | None:
        """Those with these ids, in their order; none where one of them is not here."""
        order = np.argsort(self.ids)
        places = np.searchsorted(self.ids, ids, sorter=order)
        if len(ids) > len(self.ids) or (places >= len(self.ids)).any():
            return None
        rows = order[places]
        return Part(ids, self.x[rows], self.labels[rows]) if (self.ids[rows] == ids).all() else None


@dataclass(frozen=True, eq=False)
class Chosen:
    """The examples of one learning."""

    training: Part
    judged: Part  # that students are judged on
    held_out: bool  # whether those are held out; with too few of such, they are all that the device has

    @classmethod
    def of(cls, training: Examples, held_out: Examples, *, least_held_out: int) -> Chosen:
        own = Part(training.ids, training.x, training.labels)
        if len(held_out.ids) >= least_held_out:
            return cls(own, Part(held_out.ids, held_out.x, held_out.labels), True)
        if len(held_out.ids) == 0:
            return cls(own, own, False)
        everything = Part(
            np.concatenate([training.ids, held_out.ids]),
            np.concatenate([training.x, held_out.x]),
            np.concatenate([training.labels, held_out.labels]),
        )
        return cls(own, everything, False)

    def of_snapshot(self, snapshot: Snapshot) -> Chosen | None:
        """Those that an earlier sitting used; none where one of them has been removed since.

        New examples wait for the next learning, so that this one goes on as it would have without the stop.
        """
        if snapshot.held_out != self.held_out:
            return None
        training, judged = self.training.named(snapshot.training_ids), self.judged.named(snapshot.judged_ids)
        return None if training is None or judged is None else Chosen(training, judged, self.held_out)

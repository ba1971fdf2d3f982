"""The soft labels that keep a student from forgetting while it learns from the device's own examples.

They are the fleet's newest ones, where the device has kept them from a round with the installed package; else
those of the fleet's student (Li and Hoiem 2016, "Learning without forgetting", arXiv 1606.09282).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from fedstill_proto.arrays import FloatArray, Parameters
from fedstill_proto.codec.task_codec import decode_task, encode_task
from fedstill_proto.errors import FedstillError
from fedstill_proto.messages import FLOAT_WEIGHTS, PublicSoftLabels, RoundTask, SoftTargets
from fedstill_proto.package.artifact import StudentManifest, StudentPackage
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec
from fedstill_proto.soft_labels.gaussian import GaussianSoftLabels
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels, SoftLabels, TopKSoftLabels

from fedstill_client.model.batches import check_places, fitting_soft_labels, public_examples
from fedstill_client.model.forward import ForwardPass
from fedstill_client.model.targets import SoftAnswers, soft_labels

# Of logits, while soft labels are made of them: a vocabulary of 10,000 words times 20 places is many.
_VALUES_AT_ONCE = 1 << 20


class FleetLabels(Protocol):
    """Where a device keeps the soft labels of its last round."""

    def soft_labels(self, package_version: int) -> bytes | None:
        """What `encode_fleet_labels` made, for this version of the package."""


@dataclass(frozen=True, eq=False)
class SoftTerm:
    """Soft targets and where they are from."""

    source: str  # "fleet", "installed" or "none"
    temperature: float
    targets: SoftTargets | None = None
    mixed_rows: int = 0  # rows that targets may name beyond the public set's

    @property
    def examples(self) -> int:
        """Public examples, or classes, that have soft labels."""
        if isinstance(self.targets, PublicSoftLabels):
            return len(self.targets.public_rows)
        return 0 if self.targets is None else self.targets.soft_labels.rows


def encode_fleet_labels(task: RoundTask) -> bytes:
    """The task's soft targets and training plan, without parameters, for the store's `keep_soft_labels`."""
    labels = None if task.soft_targets is None else task.soft_targets.soft_labels
    codec = SoftLabelCodec(Encoding.FLOAT32)
    if isinstance(labels, TopKSoftLabels):
        codec = SoftLabelCodec(Encoding.TOP_K, labels.k)
    elif isinstance(labels, GaussianSoftLabels):
        codec = SoftLabelCodec(Encoding.GAUSSIAN)
    return encode_task(
        replace(
            task,
            parameters={},
            replace_student=False,
            start=None,
            personal=None,
            weight_bits=FLOAT_WEIGHTS,
            control_variates={},
        ),
        codec=codec,
    )


def soft_term(
    store: FleetLabels,
    package: StudentPackage,
    fleet_student: Parameters,
    forward: ForwardPass,
    *,
    soft_weight: float,
    temperature: float,
) -> SoftTerm:
    """The fleet's soft labels if there are fitting ones, or those of its student on the public set."""
    manifest = package.manifest
    if soft_weight == 0 or manifest.soft_labels == "none":
        return SoftTerm("none", temperature)
    fleet = _fleet_term(store.soft_labels(manifest.package_version), package)
    if fleet is not None:
        return fleet
    if package.public_x is None or manifest.step_rows < 2 or len(package.public_x) == 0:
        return SoftTerm("none", temperature)
    own = own_targets(fleet_student, package.public_x, forward, temperature)
    return SoftTerm("installed", temperature, own)


def own_targets(
    student: Mapping[str, FloatArray], public_x: FloatArray, forward: ForwardPass, temperature: float
) -> PublicSoftLabels:
    """The student's own soft labels of the public set, softened at `temperature`."""
    manifest = forward.manifest
    stack = manifest.stack_size
    stacked = {name: np.broadcast_to(array, (stack, *array.shape)) for name, array in student.items()}
    values = math.prod((*manifest.label_shape, manifest.classes))  # of the logits of one example
    rows = max(1, _VALUES_AT_ONCE // values)
    parts = []
    for start in range(0, len(public_x), rows):
        logits = forward.shared(stacked, public_x[start : start + rows])[0]  # [rows, ..., K]
        parts.append(
            _as_artifact_reads(soft_labels(manifest.target, logits, temperature=temperature), manifest)
        )
    return PublicSoftLabels(np.arange(len(public_x)), _joined(parts, manifest.classes))


def _fleet_term(kept: bytes | None, package: StudentPackage) -> SoftTerm | None:
    """The kept soft labels; none where they are not for this package's students or public set."""
    if kept is None:
        return None
    try:
        task = decode_task(kept)
        targets = task.soft_targets
        if targets is None or task.family != package.manifest.family or targets.soft_labels.rows == 0:
            return None
        fitting_soft_labels(targets.soft_labels, package.manifest)
        check_places(targets, package.manifest)
        if isinstance(targets, PublicSoftLabels):
            public_examples(package.public_x, targets.public_rows, mixed=task.mixed_rows)
            if package.manifest.step_rows < 2:
                return None
    except FedstillError:
        # Labels of another time: the student's own take their place.
        return None
    return SoftTerm("fleet", task.training.temperature, targets, task.mixed_rows)


def _joined(parts: Sequence[SoftLabels], classes: int) -> SoftLabels:
    if isinstance(parts[0], GaussianSoftLabels):
        return GaussianSoftLabels(np.concatenate([part.dense() for part in parts]))
    probabilities = np.concatenate(
        [part.probabilities for part in parts if not isinstance(part, GaussianSoftLabels)]
    )
    indices = [part.indices for part in parts if isinstance(part, TopKSoftLabels)]
    if indices:
        return TopKSoftLabels(np.concatenate(indices), probabilities, classes)
    return DenseSoftLabels(probabilities)


def _as_artifact_reads(answers: SoftAnswers, manifest: StudentManifest) -> SoftLabels:
    if manifest.soft_labels == "dense":
        return answers
    probabilities = answers.dense()
    # Not through the codec: nothing is sent, and its steps of 1/255 would only blur what the student knew.
    indices = np.sort(np.argpartition(probabilities, -manifest.k, axis=1)[:, -manifest.k :], axis=1)
    return TopKSoftLabels(indices, np.take_along_axis(probabilities, indices, axis=1), manifest.classes)

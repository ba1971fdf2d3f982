"""What stands for all that a learning starts with: only the same learning may go on from a snapshot."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import Parameters
from fedstill_proto.messages import PublicSoftLabels
from fedstill_proto.package.artifact import StudentPackage
from fedstill_proto.soft_labels.label_arrays import TopKSoftLabels

from fedstill_client.learning.settings import LearningSettings
from fedstill_client.learning.soft_term import SoftTerm

Array = npt.NDArray[np.generic]


def fingerprint(
    package: StudentPackage, settings: LearningSettings, student: Parameters, soft: SoftTerm
) -> str:
    """A SHA-256 of the package, the settings, the student from before and the soft labels."""
    named = asdict(settings) | {"snapshot_seconds": None}  # how often it is saved changes nothing
    manifest = package.manifest
    about = [manifest.package_version, manifest.family, named, soft.source, soft.temperature]
    digest = hashlib.sha256(json.dumps(about).encode())
    digest.update(package.training_graph or b"")
    for name, array in (*student.items(), *_soft_arrays(soft)):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _soft_arrays(soft: SoftTerm) -> Iterator[tuple[str, Array]]:
    if soft.targets is None:
        return
    if isinstance(soft.targets, PublicSoftLabels):
        yield "public rows", soft.targets.public_rows
    else:
        yield "classes", soft.targets.present_classes
    labels = soft.targets.soft_labels
    if isinstance(labels, TopKSoftLabels):
        yield "indices", labels.indices
    yield "probabilities", labels.probabilities if isinstance(labels, TopKSoftLabels) else labels.dense()

"""Accuracy: right answers of a stack of students, to its devices' own examples and to everyone's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import FloatArray, IntArray
from fedstill_proto.package.artifact import StudentManifest

from fedstill_client.model.forward import ForwardPass
from fedstill_client.model.private_stack import PrivateStack
from fedstill_client.model.targets import right_answers

# Examples at a time, and logits of all devices and places: 16 MB.
_ROWS_AT_ONCE, _VALUES_AT_ONCE = 1024, 1 << 22


def own_correct(
    student: Mapping[str, FloatArray],
    forward: ForwardPass,
    examples: PrivateStack,
    *,
    log_prior: FloatArray | None = None,
) -> IntArray:
    """Count right answers of each device's student to each of its own examples.

    Args:
        student: The students' parameters [C, *shape].
        forward: Their forward graph.
        examples: The examples that are answered.
        log_prior: What each device adds to its logits [C, K]; None adds nothing.

    Returns:
        Right answers [C, N], 0 or 1, for text up to S places; 0 behind a device's own count.
    """
    counts = np.zeros((examples.devices, examples.capacity), np.int64)
    rows = _rows_at_once(forward.manifest)
    for start in range(0, int(examples.counts.max(initial=0)), rows):
        part = examples.part(slice(start, start + rows))
        logits = _with_prior(forward.own(student, part), log_prior)  # [C, n, K], of text [C, n, S, K]
        here = logits.shape[1]
        correct = right_answers(forward.manifest.target, logits, part.labels[:, :here])
        correct = correct.reshape(*correct.shape[:2], -1) & part.present[:, :here, None]
        counts[:, start : start + here] = correct.sum(axis=-1)
    return counts


def shared_correct(
    student: Mapping[str, FloatArray],
    forward: ForwardPass,
    x: FloatArray,
    labels: npt.NDArray[Any],
    *,
    log_prior: FloatArray | None = None,
) -> IntArray:
    """Count right answers [C] of each device's student to everyone's examples x [n, *shape].

    Args:
        student: The students' parameters [C, *shape].
        forward: Their forward graph.
        x: The examples.
        labels: Their labels [n, *label_shape].
        log_prior: What each device adds to its logits [C, K]; None adds nothing.
    """
    devices, rows = forward.manifest.stack_size, _rows_at_once(forward.manifest)
    correct = np.zeros(devices, np.int64)
    for start in range(0, len(labels), rows):
        part = slice(start, start + rows)
        logits = _with_prior(forward.shared(student, x[part]), log_prior)
        right = right_answers(forward.manifest.target, logits, labels[part])
        correct += right.reshape(devices, -1).sum(axis=1)
    return correct


def _with_prior(logits: FloatArray, log_prior: FloatArray | None) -> FloatArray:
    return logits if log_prior is None else logits + log_prior[:, None, :]


def _rows_at_once(manifest: StudentManifest) -> int:
    """Examples whose logits stay small for all devices of the stack together."""
    values = manifest.stack_size * math.prod((*manifest.label_shape, manifest.classes))
    return max(1, min(_ROWS_AT_ONCE, _VALUES_AT_ONCE // values))

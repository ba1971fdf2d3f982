"""Accuracy: right answers of a stack of students to its devices' own examples."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from fedstill_proto.arrays import FloatArray, IntArray
from fedstill_proto.package.artifact import StudentManifest

from fedstill_client.model.forward import ForwardPass
from fedstill_client.model.label_prior import log_label_prior, personal_logits
from fedstill_client.model.private_stack import PrivateStack

# Examples at a time, and logits of all devices and places: 16 MB.
_ROWS_AT_ONCE, _VALUES_AT_ONCE = 1024, 1 << 22


def count_correct(
    student: Mapping[str, FloatArray],
    forward: ForwardPass,
    examples: PrivateStack,
    *,
    prior_examples: PrivateStack,
    label_prior: float,
) -> IntArray:
    """Count right answers of each device's student to each of its examples.

    Args:
        student: The students' parameters [C, *shape].
        forward: Their forward graph.
        examples: The examples that are answered.
        prior_examples: The examples whose class frequencies are the devices' label prior.
        label_prior: The strength of that prior.

    Returns:
        Right answers [C, N], 0 or 1, for text up to S places; 0 behind a device's own count.
    """
    manifest = forward.manifest
    counts = np.zeros((examples.devices, examples.capacity), np.int64)
    # Text has no few classes to weigh: the next word depends on the words before.
    prior = None
    if not manifest.label_shape:
        prior = log_label_prior(prior_examples.labels, prior_examples.counts, classes=manifest.classes)
    rows = rows_at_once(manifest)
    for start in range(0, int(examples.counts.max(initial=0)), rows):
        part = examples.part(slice(start, start + rows))
        logits = forward.own(student, part)  # [C, n, K], of text [C, n, S, K]
        if prior is not None:
            logits = personal_logits(logits, prior, label_prior)
        here = logits.shape[1]
        correct = logits.argmax(axis=-1) == part.labels[:, :here]
        correct = correct.reshape(*correct.shape[:2], -1) & part.present[:, :here, None]
        counts[:, start : start + here] = correct.sum(axis=-1)
    return counts


def rows_at_once(manifest: StudentManifest) -> int:
    """Examples whose logits stay small for all devices of the stack together."""
    values = manifest.stack_size * math.prod((*manifest.label_shape, manifest.classes))
    return max(1, min(_ROWS_AT_ONCE, _VALUES_AT_ONCE // values))

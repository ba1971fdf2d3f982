"""How far a student moved from where its round started, in the logits of examples."""

from __future__ import annotations

import numpy as np
from fedstill_proto.arrays import FloatArray
from fedstill_proto.package.target import Target

from fedstill_client.model.label_means import softened

# Half of the smallest step of a uint8 soft label.
LEAST = np.float32(0.5 / 255)


def moved_answers(target: Target, before: FloatArray, after: FloatArray, *, temperature: float) -> FloatArray:
    """How far answers [..., K] moved: logits, or how means and log variances differ."""
    if target.is_regression:
        return after - before
    return logit_shift(before, after, temperature=temperature)


def logit_shift(before: FloatArray, after: FloatArray, *, temperature: float) -> FloatArray:
    """Logits [..., K] that soften to p_after / p_before, the soft labels of the logits after and before.

    Probabilities below LEAST count as that: how the unlikeliest classes move among themselves is noise.
    """
    log_after, log_before = (
        np.log(np.maximum(softened(logits, temperature), LEAST)) for logits in (after, before)
    )
    return np.float32(temperature) * (log_after - log_before)

"""How far a student went from where its round started, in the logits of examples."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from fedstill_proto.arrays import FloatArray

from fedstill_client.model.forward import Forward
from fedstill_client.model.label_means import softened

# Half of the smallest step of a uint8 soft label.
LEAST = np.float32(0.5 / 255)


def logit_shift(before: FloatArray, logits: FloatArray, *, temperature: float) -> FloatArray:
    """Logits [..., K] that soften to p / p_before, of the soft labels of `logits` and `before`.

    Probabilities below LEAST count as that: how the unlikeliest classes move among themselves is noise.
    """
    after, start = (np.log(np.maximum(softened(one, temperature), LEAST)) for one in (logits, before))
    return np.float32(temperature) * (after - start)


def start_logits(forward: Forward, start: Mapping[str, FloatArray] | None, rows: FloatArray) -> FloatArray:
    """Logits [C, n, K] of the students that the round started from; they may be the same for all devices."""
    assert start is not None  # a round always has one
    stack = forward.manifest.stack_size
    stacked = {
        spec.name: np.ascontiguousarray(np.broadcast_to(start[spec.name], (stack, *spec.shape)))
        for spec in forward.manifest.parameters
    }
    return forward.shared(stacked, rows)

"""Whether the fleet misleads a device: its owner's labels mean something else than the fleet's.

No private example has a part in the fleet's student F, so that all of them can judge it. F says how often it
expects to be right: the mean of its largest probabilities. Where it is right on less than half of that, and
on fewer examples than a chance of

    P(Binomial(n, expected share) <= right answers) <= 0.01

allows, the fleet misleads the device.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from fedstill_proto.arrays import BoolArray, FloatArray

from fedstill_client.model.forward import ForwardPass
from fedstill_client.model.label_means import softened
from fedstill_client.model.private_stack import PrivateStack

_SIGNIFICANCE = 0.01
_MOST_JUDGES = 1024  # examples, whose logits are small
_SUREST = 1 - 1e-6  # nobody is right for certain, whatever float32 says


def misled(
    fleet: Mapping[str, FloatArray], forward: ForwardPass, private: PrivateStack, *, least_examples: int
) -> BoolArray:
    """Whether the fleet's student [C, *shape] misleads each device [C] with so many examples (see above)."""
    enough = private.counts >= least_examples
    if forward.manifest.label_shape or not enough.any():
        return np.zeros(private.devices, bool)
    private = private.part(slice(0, _MOST_JUDGES))
    probabilities = softened(forward.own(fleet, private), 1.0)  # [C, n, K]
    here = private.present[:, : probabilities.shape[1]]
    right = (probabilities.argmax(axis=-1) == private.labels[:, : probabilities.shape[1]]) & here
    expected = (probabilities.max(axis=-1) * here).sum(axis=1)
    return np.array(
        [
            bool(may)
            and hits < wanted / 2
            and at_most(int(hits), int(n), min(float(wanted) / int(n), _SUREST)) <= _SIGNIFICANCE
            for may, hits, wanted, n in zip(enough, right.sum(axis=1), expected, private.counts, strict=True)
        ]
    )


def at_most(hits: int, throws: int, chance: float) -> float:
    """P(Binomial(throws, chance) <= hits), for a chance between 0 and 1."""
    whole = math.lgamma(throws + 1)
    return sum(
        math.exp(
            whole
            - math.lgamma(many + 1)
            - math.lgamma(throws - many + 1)
            + many * math.log(chance)
            + (throws - many) * math.log1p(-chance)
        )
        for many in range(hits + 1)
    )

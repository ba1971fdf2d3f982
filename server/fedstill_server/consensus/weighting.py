"""The weight of a device's soft label of a public example: small functions, applied one after another.

Devices that hold few classes are sure of the wrong thing about all others, and in a plain mean the many of
them drown the few that know. Each function turns a vote into a vote, from what the summary alone contains, so
that the sum over devices stays a sum (see aggregation.VoteSums):

- class-presence: a device's vote about class c counts 1 where it has examples of c, and `ABSENT` where it has
  none.
- confidence: a row's vote counts 1 - H(p)/log K: nothing where its soft label is uniform, 1 where it is one
  class.
- label-prior: the device's own class frequencies are taken out of its soft label, p_c / pi_c^(1/T), as logit
  adjustment does (Menon et al. 2020, arXiv 2007.07314); pi is (n_c + 1) / (n + K), and T what softened p.

The fourth, agreement, needs all devices: it is 1 - JSD/log K of a row's votes, where the Jensen-Shannon
divergence JSD = H(mean p) - mean H(p) is made of two sums, so that it is part of the same monoid. It decides
how far a row's consensus moves away from the last one: not at all where every device votes for another class.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from fedstill_proto.arrays import Float64Array, IntArray
from fedstill_proto.messages import PrivateStatistics

from fedstill_server.consensus.aggregation import entropy

ABSENT = 0.01
AGREEMENT = "agreement"


@dataclass(frozen=True, eq=False)
class Vote:
    """A device's soft labels [n, K] of the n rows that it answered, and their weights [n, K]."""

    probabilities: Float64Array
    weights: Float64Array
    class_examples: IntArray  # [K]; zeros where the device was not asked for them
    temperature: float  # what softened the probabilities

    @classmethod
    def of(cls, statistics: PrivateStatistics, *, classes: int, temperature: float) -> Vote:
        """The vote of a summary, before any weighting."""
        assert statistics.soft_labels is not None  # the gate lets no other through
        probabilities = statistics.soft_labels.dense().astype(np.float64)
        counts = np.zeros(classes, np.int64)
        counts[statistics.present_classes] = statistics.class_examples
        return cls(probabilities, np.ones_like(probabilities), counts, temperature)


def class_presence(vote: Vote) -> Vote:
    """Weigh each class by whether the device has examples of it."""
    say = np.where(vote.class_examples > 0, 1.0, ABSENT)
    return replace(vote, weights=vote.weights * say)


def confidence(vote: Vote) -> Vote:
    """Weigh each row by how far its soft label is from a uniform one."""
    classes = vote.probabilities.shape[1]
    sure = 1 - entropy(vote.probabilities) / np.log(classes)
    # A row that nobody is sure of must not lose its votes: a hundredth is left of a uniform one.
    return replace(vote, weights=vote.weights * np.maximum(sure, 0.01)[:, None])


def label_prior(vote: Vote) -> Vote:
    """Take the device's class frequencies out of its soft labels."""
    counts = vote.class_examples
    prior = (counts + 1) / (counts.sum() + len(counts))
    return replace(vote, probabilities=normalized(vote.probabilities / prior ** (1 / vote.temperature)))


PIECES: dict[str, Callable[[Vote], Vote]] = {
    "label-prior": label_prior,
    "class-presence": class_presence,
    "confidence": confidence,
}
WEIGHTINGS = (*PIECES, AGREEMENT)
COUNTING = ("label-prior", "class-presence")  # these need to know a device's class counts


def weighed(vote: Vote, weighting: Sequence[str]) -> Vote:
    """The vote after these weightings, in the order of PIECES."""
    for name, piece in PIECES.items():
        if name in weighting:
            vote = piece(vote)
    return vote


def normalized(values: Float64Array) -> Float64Array:
    """Rows [n, K] scaled to add up to 1; a row of zeros stays as it is."""
    sums = values.sum(axis=-1, keepdims=True)
    return np.asarray(values / np.where(sums > 0, sums, 1))


def softened(probabilities: Float64Array, temperature: float) -> Float64Array:
    """p^(1/T), normalized: turns softmax(z) into softmax(z/T); a temperature of 1/T undoes it."""
    return normalized(probabilities ** (1 / temperature))

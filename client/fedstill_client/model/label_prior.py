"""A device knows how often it sees each class, and adds a label prior to its student's logits.

An app that runs on a device gets one kind of answer, for what is like its owner's examples and for what is
not. A share of the questions, owner_share, is taken to be of the owner's kind, whose classes are as frequent
as among the private labels, pi; in the others, all K classes are alike. By Bayes' rule (logit adjustment:
Menon et al. 2021, arXiv 2007.07314, used here for the other direction), the answer's logits are

    owner_logits = logits + log(owner_share K pi + 1 - owner_share)

Whatever a device has seen, no class falls by more than log(1 - owner_share) against an even prior: with a
share of 1, the plain rule, a device that has seen five of ten classes is lost on the other five.

How far counts c_k of n examples speak for rare classes depends on how skewed devices are, which the counts
themselves tell: a mixture of symmetric Dirichlet priors, each weighed by its evidence (Nemenman, Shafee and
Bialek 2002, "Entropy and inference, revisited", arXiv physics/0108025),

    pi_k = sum_a w_a (c_k + a) / (n + K a),   w_a ~ prod_k a^(c_k) / (K a)^(n),   a in 0.01 .. 10

with rising factorials a^(c) = a (a + 1) .. (a + c - 1). Laplace's rule, which is a = 1 alone, gives classes
that a device never sees too much where it knows one or two. The prior never leaves the device and costs no
byte. A device without examples has the uniform prior and changes nothing.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import FloatArray, IntArray

# Half a decade apart: from devices of one class to those that see all alike.
CONCENTRATIONS = 10.0 ** np.arange(-2, 1.5, 0.5)


def log_label_prior(labels: IntArray, counts: IntArray, *, classes: int) -> FloatArray:
    """The devices' log prior [C, K] against uniform, from the first `counts` [C] of their labels [C, N]."""
    devices, capacity = labels.shape
    present = np.arange(capacity) < counts[:, None]  # [C, N]
    cells = np.arange(devices)[:, None] * classes + labels
    examples = np.bincount(cells[present], minlength=devices * classes).reshape(devices, classes)
    evidence = np.stack([_log_evidence(examples, a) for a in CONCENTRATIONS])  # [A, C]
    weights = np.exp(evidence - evidence.max(axis=0))
    weights /= weights.sum(axis=0)
    prior = np.zeros((devices, classes))
    for weight, concentration in zip(weights, CONCENTRATIONS, strict=True):
        total = counts[:, None] + classes * concentration
        prior += weight[:, None] * (examples + concentration) / total
    log_prior: FloatArray = np.log(prior * classes).astype(np.float32)
    return log_prior


def owner_log_prior(labels: IntArray, counts: IntArray, *, classes: int, owner_share: float) -> FloatArray:
    """What the devices add to their logits [C, K], from the first `counts` [C] of their labels [C, N]."""
    prior = np.exp(log_label_prior(labels, counts, classes=classes).astype(np.float64))
    added: FloatArray = np.log(owner_share * prior + (1 - owner_share)).astype(np.float32)
    return added


def own_log_prior(
    labels: IntArray, *, classes: int, owner_share: float, reserved: int | None = None
) -> FloatArray:
    """What one device adds to its logits [K], from all its labels [N].

    reserved: A class that the prior leaves alone: what is told of it moves no class, and it is not moved.
    """
    if reserved is not None:
        others = labels[labels != reserved]
        prior = own_log_prior(others - (others > reserved), classes=classes - 1, owner_share=owner_share)
        return np.insert(prior, reserved, np.float32(0))
    counts = np.array([len(labels)])
    return np.asarray(owner_log_prior(labels[None], counts, classes=classes, owner_share=owner_share)[0])


def _log_evidence(examples: IntArray, concentration: float) -> npt.NDArray[np.float64]:
    """The log evidence [C] of a Dirichlet prior, log prod_k a^(c_k) / (K a)^(n), of counts [C, K]."""
    totals, classes = examples.sum(axis=1), examples.shape[1]
    before = np.arange(int(totals.max(initial=0)), dtype=np.float64)
    # The logarithms of the rising factorials of 0 .. n.
    by_class, by_total = (
        np.concatenate([[0.0], np.cumsum(np.log(start + before))])
        for start in (concentration, classes * concentration)
    )
    return np.asarray(by_class[examples].sum(axis=1) - by_total[totals])

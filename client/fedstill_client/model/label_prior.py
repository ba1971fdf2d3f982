"""A device knows how often it sees each class, and adds that label prior to its student's logits.

A student that learns from a whole fleet carries the fleet's class frequencies. Bayes' rule swaps them for
the device's own (logit adjustment: Menon et al. 2021, arXiv 2007.07314, used here for the other direction):

    personal_logits = logits + strength * log(prior(class) / uniform(class))

The prior is that of the device's private labels. How far counts c_k of n examples speak for rare classes
depends on how skewed devices are, which the counts themselves tell: a mixture of symmetric Dirichlet priors,
each weighed by its evidence (Nemenman, Shafee and Bialek 2002, "Entropy and inference, revisited", arXiv
physics/0108025),

    prior_k = sum_a w_a (c_k + a) / (n + K a),   w_a ~ prod_k a^(c_k) / (K a)^(n),   a in 0.01 .. 10

with rising factorials a^(c) = a (a + 1) .. (a + c - 1). Laplace's rule, which is a = 1 alone, gives classes
that a device never sees too much where it knows one or two. The prior never leaves the device and costs no
byte. A device without examples has the uniform prior and changes nothing.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import FloatArray, IntArray
from fedstill_proto.errors import FedstillError

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


def own_log_prior(labels: IntArray, *, classes: int, strength: float) -> FloatArray:
    """One device's log prior [K] from all its labels [N], times a strength."""
    prior = log_label_prior(labels[None], np.array([len(labels)]), classes=classes)
    return np.asarray(prior[0] * np.float32(strength))


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


def personal_logits(logits: FloatArray, log_prior: FloatArray, strength: float) -> FloatArray:
    """`logits` [..., rows, K] with the device's `log_prior` [..., K]; strength 0 switches it off."""
    checked = label_prior_strength(strength)
    if checked == 0.0:
        return logits
    return logits + np.float32(checked) * log_prior[..., None, :]


def label_prior_strength(value: object) -> float:
    """`value` if it is a strength of the prior: a finite number of 0 (off) or more; 1 is Bayes' rule."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value < float("inf"):
        raise FedstillError(f"label_prior is {value!r}; give a number of 0 (off) or more; 1 is Bayes' rule.")
    return float(value)

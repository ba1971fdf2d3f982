"""A device that predicts for itself knows how often it sees each class, and says so in its logits.

A student that learns from a whole fleet carries the fleet's class frequencies. Bayes' rule swaps them for
the device's own (logit adjustment: Menon et al. 2021, arXiv 2007.07314, used here for the other direction):

    personal_logits = logits + strength * log(prior(class) / uniform(class))

The prior is that of the device's private labels, with Laplace's rule: (examples of the class + 1) /
(examples + classes). It never leaves the device and costs no byte. A device without examples has the
uniform prior and changes nothing.
"""

from __future__ import annotations

import numpy as np
from fedstill_proto.errors import FedstillError
from fedstill_proto.soft_labels import FloatArray, IntArray


def log_label_prior(labels: IntArray, counts: IntArray, *, classes: int) -> FloatArray:
    """The devices' log prior against uniform, [C, K], of the first `counts` [C] of their `labels` [C, N]."""
    devices, capacity = labels.shape
    present = np.arange(capacity) < counts[:, None]  # [C, N]
    cells = np.arange(devices)[:, None] * classes + labels
    examples = np.bincount(cells[present], minlength=devices * classes).reshape(devices, classes)
    prior = (examples + 1.0) / (counts[:, None] + classes)
    return np.log(prior * classes).astype(np.float32)


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

"""How sure a student of the owner's may say it is: its temperature, by the examples that it never trains on.

A student says too much of its answers where they are about what it was not trained on, or was trained on for
long (Guo et al. 2017, "On calibration of modern neural networks", arXiv 1706.04599). So the temperature T is
taken that makes held-out examples x_i with labels y_i likeliest as they are answered, with the owner's label
prior on top,

    T = argmin_T  sum_i -log softmax(logits(x_i) / T + log_prior)[y_i] + log(T / usual)^2 / (2 * 0.25^2)

among those of the usual temperature, the package's or 1, and more: what is easy for an owner need not be so
for an app's other questions. The normal belief around the usual one keeps a few examples from counting too
much; without any, it is that. The width of the belief was chosen on digits and mnist1d, seeds 0 to 3.
"""

from __future__ import annotations

import numpy as np
from fedstill_proto.arrays import FloatArray, IntArray

_FACTORS = np.exp(np.linspace(0.0, 1.0, 21))  # of the usual temperature
_SPREAD = 0.25  # standard deviation of the belief, of the temperature's logarithm


def fitted_temperature(
    logits: FloatArray, labels: IntArray, log_prior: FloatArray | None, *, usual: float
) -> float:
    """The temperature of a student with these logits [n, K] of held-out examples with labels [n]."""
    losses = np.log(_FACTORS) ** 2 / (2 * _SPREAD**2)
    for place, factor in enumerate(_FACTORS):
        answers = logits.astype(np.float64) / (usual * factor) + (0 if log_prior is None else log_prior)
        answers -= answers.max(axis=1, keepdims=True)
        likely = answers[np.arange(len(labels)), labels] - np.log(np.exp(answers).sum(axis=1))
        losses[place] -= likely.sum()
    return float(usual * _FACTORS[losses.argmin()])

"""Whether confidence tells examples of the task from others (Hendrycks and Gimpel 2017, arXiv 1610.02136).

The AUROC of the top probability: the chance that a test example gets a higher one than an outlier; 0.5 is
no better than chance. Outliers are made of the test set itself: its values shuffled within each example (the
same brightness, no shape), and uniform noise over its range. Own examples are better, where there are some.
"""

from __future__ import annotations

import numpy as np
from fedstill_proto.arrays import FloatArray
from scipy.special import softmax
from sklearn.metrics import roc_auc_score

from fedstill_server.inspection.corruption import Answer


def outlier_auroc(
    answer: Answer, x: FloatArray, *, own: FloatArray | None = None, seed: int = 0
) -> dict[str, float]:
    """The AUROC by kind of outlier."""
    random = np.random.default_rng(seed)
    kinds = {"shuffled values": shuffled(x, random), "uniform noise": uniform(x, random)}
    if own is not None:
        kinds["given outliers"] = own
    inside = confidence(answer(x))
    return {kind: auroc(inside, confidence(answer(outliers))) for kind, outliers in kinds.items()}


def auroc(inside: FloatArray, outside: FloatArray) -> float:
    """The chance that a number of `inside` is above one of `outside`."""
    truth = np.repeat([1, 0], [len(inside), len(outside)])
    return float(roc_auc_score(truth, np.concatenate([inside, outside])))


def confidence(logits: FloatArray) -> FloatArray:
    top: FloatArray = softmax(logits.astype(np.float64), axis=-1).max(axis=-1)
    return top


def shuffled(x: FloatArray, random: np.random.Generator) -> FloatArray:
    flat = random.permuted(x.reshape(len(x), -1), axis=1)
    mixed: FloatArray = flat.reshape(x.shape)
    return mixed


def uniform(x: FloatArray, random: np.random.Generator) -> FloatArray:
    noise: FloatArray = random.uniform(x.min(), x.max(), x.shape).astype(np.float32)
    return noise

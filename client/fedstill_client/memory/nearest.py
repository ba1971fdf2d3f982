"""What memories say of a question: the nearest of them, and what their labels make likely.

Exact: the cosine of the question's vector with each one, no index. Their labels vote (Khandelwal et al. 2020,
"Generalization through memorization: nearest neighbor language models", arXiv 1911.00172), with classes in
place of the next word:

    p_memory(c | x) ~ sum over the k nearest i with label c of exp(cos(x, i) / T)
    p(c | x) = share p_memory(c | x) + (1 - share) p_student(c | x)

share and T are those that make the labels of the device's own memories likeliest, each left out of its own
answer; with too few of them, the paper's 1/4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from fedstill_proto.arrays import FloatArray, IntArray

NEIGHBOURS = 8
_SHARES = (0.0, 0.1, 0.25, 0.4, 0.55, 0.7, 0.85)
_TEMPERATURES = (0.03, 0.1, 0.3)
_LEAST_FITTED = 12  # labelled memories
_TINY = 1e-12


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """How much the memory says beside the student: `share`, by votes of `temperature`."""

    share: float = 0.25
    temperature: float = 0.1

    def of(self, student: FloatArray, votes: FloatArray) -> FloatArray:
        """The mixed probabilities [n, classes]; the student's own where no memory votes."""
        voted = votes.sum(axis=1, keepdims=True) > 0
        mixed = self.share * votes + (1 - self.share) * student
        return np.asarray(np.where(voted, mixed, student), np.float32)


def nearest(vectors: FloatArray, queries: FloatArray, k: int) -> tuple[IntArray, FloatArray]:
    """The places [m, k] of the vectors [n, width] nearest to queries [m, width], and the cosines [m, k].

    All are of length 1. The nearest comes first; of equal ones, the one that stands first. k is n at most.
    """
    if not len(vectors):
        return np.zeros((len(queries), 0), np.int64), np.zeros((len(queries), 0), np.float32)
    cosines = queries @ vectors.T  # [m, n]
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    return order, np.take_along_axis(cosines, order, axis=1)


def votes(cosines: FloatArray, labels: IntArray, *, classes: int, temperature: float) -> FloatArray:
    """p_memory [m, classes] of neighbours with cosines and labels [m, k]; zeros where there are none."""
    if not cosines.shape[1]:
        return np.zeros((len(cosines), classes), np.float32)
    scaled = (cosines - cosines.max(axis=1, keepdims=True)) / temperature
    weights = np.exp(scaled.astype(np.float64))
    found = np.zeros((len(cosines), classes))
    np.add.at(found, (np.arange(len(cosines))[:, None], labels), weights)
    return np.asarray(found / found.sum(axis=1, keepdims=True), np.float32)


def fitted_mixture(vectors: FloatArray, labels: IntArray, student: FloatArray) -> Mixture:
    """The mixture that suits memories with labels.

    Args:
        vectors: Theirs, [n, width] of length 1.
        labels: Their classes [n].
        student: What the student says of them [n, classes].
    """
    n, classes = student.shape
    if n < _LEAST_FITTED:
        return Mixture()
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -np.inf)  # none answers for itself
    order = np.argsort(-cosines, axis=1, kind="stable")[:, : min(NEIGHBOURS, n - 1)]
    near = np.take_along_axis(cosines, order, axis=1)
    best, lowest = Mixture(share=0.0), np.inf
    for temperature in _TEMPERATURES:
        said = votes(near, labels[order], classes=classes, temperature=temperature)
        for share in _SHARES:
            mixture = Mixture(share=share, temperature=temperature)
            chance = mixture.of(student, said)[np.arange(n), labels]
            loss = float(-np.log(np.maximum(chance, _TINY)).mean())
            if loss < lowest - 1e-9:
                best, lowest = mixture, loss
    return best

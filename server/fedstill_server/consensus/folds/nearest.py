"""Nearest-neighbour mixing, then a trimmed mean (Allouah et al. 2023, arXiv 2302.01772).

Each device's answer becomes the mean of the n - f n answers that are nearest to it, its own among them, and
of these mixed answers the extremes are left out:

    m_i = mean of the ceil((1 - f) n) answers s_j of least |s_i - s_j|,
    d = (1 - f) trimmed mean of m_1 .. m_n

with f = .3, the share of devices that is taken to lie. One device may be in every m_i, with 1 / ((1 - f) n):
the factor 1 - f keeps it at 1/n of d. Mixing takes the differences between honest devices
out, so that the trimming cuts liars and not those who know something; it is there for data that differ
mildly. Distances are those of whole answers, over the rows that both have answered; an answer that is shorter
than the median one counts as long as that, or whoever says very little, against all others, is everybody's
nearest neighbour.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from fedstill_proto.arrays import Float64Array

from fedstill_server.consensus.folds.buffered import Buffered
from fedstill_server.consensus.folds.interface import AnswerKind
from fedstill_server.consensus.folds.mixing import nearest, summed
from fedstill_server.consensus.folds.trimmed import LIARS, trimmed_mean


class Nearest(Buffered):
    kinds: ClassVar[frozenset[AnswerKind]] = frozenset({AnswerKind.SHIFTS, AnswerKind.SOFT_LABELS})
    line = "nearest-neighbour mixing and a trimmed mean (Allouah et al. 2023, arXiv 2302.01772)"

    def combine(self, answers: Float64Array) -> Float64Array:
        return (1 - LIARS) * trimmed_mean(mixed(answers, share=LIARS), share=LIARS)


def mixed(answers: Float64Array, *, share: float) -> Float64Array:
    """Each answer [n, m, K] as the mean of its nearest, of which there are 1 - share of all."""
    neighbours = nearest(raised(answers))[:, : math.ceil((1 - share) * len(answers))]
    said = ~np.isnan(answers)
    sums = summed(np.where(said, answers, 0).reshape(len(answers), -1), neighbours).reshape(answers.shape)
    if said.all():
        return np.asarray(sums / neighbours.shape[1])
    among = np.zeros((len(answers), len(answers)))
    np.put_along_axis(among, neighbours, 1.0, axis=1)
    counts = (among @ said.reshape(len(answers), -1)).reshape(answers.shape)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def raised(answers: Float64Array) -> Float64Array:
    """The answers, those shorter than the median one made as long as that."""
    lengths = np.sqrt(np.nansum(answers * answers, axis=(1, 2)))
    scale = np.maximum(1, np.median(lengths) / np.where(lengths > 0, lengths, np.inf))
    return np.where(lengths > 0, scale, 1)[:, None, None] * answers

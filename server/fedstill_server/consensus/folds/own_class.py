"""Trust in a class's mean soft label by how far it speaks for that class: labels come with the question.

A device's mean soft label m of its examples of class c is to be likest c. What speaks for another class, on
average over all its examples of c, is no knowledge of c, and counts by so much less:

    w = max(0, cos(m - 1/K, e_c - 1/K)),    m <- w m + (1 - w) b_c

What is not trusted is put back as b_c, what the fleet said of the class before, so that the sum stays one
over all devices and each still counts as one of n. (FLTrust's cosine, Cao et al. 2021, arXiv 2012.13995,
against labels.)
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
from fedstill_proto.arrays import Float64Array

from fedstill_server.consensus.aggregation import RowSums
from fedstill_server.consensus.folds.interface import AnswerKind, Fold
from fedstill_server.consensus.folds.trust import cosines
from fedstill_server.consensus.row_stack import RowStack


class OwnClass(Fold):
    line = "class means, each by how far it speaks for its own class (after FLTrust: Cao et al. 2021)"
    kinds: ClassVar[frozenset[AnswerKind]] = frozenset({AnswerKind.CLASS_MEANS})
    clips: ClassVar[bool] = False  # soft labels have a length of at most 1 anyhow

    def part(self, said: RowSums, *, before: Float64Array | None = None) -> RowSums:
        assert before is not None  # methods of class means say what was known before
        trust = _trust(said.result())
        known = said.weights[:, None] * before
        return replace(said, totals=trust * said.totals + (1 - trust) * known)

    def stacked_part(self, said: RowStack, *, before: Float64Array | None = None) -> RowStack:
        assert before is not None
        trust = _trust(said.values)
        known = said.weights[:, :, None] * before
        return replace(said, values=trust * said.values + (1 - trust) * known)


def _trust(means: Float64Array) -> Float64Array:
    """How far the means [..., K, K] of all classes are trusted [..., K, 1]."""
    labels = np.eye(means.shape[-1])
    cosine = cosines((means - labels.mean()).swapaxes(-1, -2), (labels - labels.mean()).T)
    return np.maximum(0, cosine)[..., None]

"""Trust by labels first, then nearest-neighbour mixing of what is left.

    s_i <- s_i t_i (trust.py),    m_i = mean of the ceil(.8 n) answers nearest to s_i,    d = .8 mean_i m_i

Labels take from liars what plainly contradicts them, and mixing what hides beside that: moves that no label
speaks against, such as those in the labels' blind spot or against the honest mean. As labels have dealt with
the rest, a fifth of the devices is taken to lie instead of three in ten, and no extremes are cut: where
devices know few classes, those who know one are the extremes.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from fedstill_proto.arrays import Float64Array

from fedstill_server.consensus.aggregation import Statistics
from fedstill_server.consensus.folds.buffered import Buffered
from fedstill_server.consensus.folds.interface import AnswerKind
from fedstill_server.consensus.folds.nearest import mixed
from fedstill_server.consensus.folds.trust import Trust
from fedstill_server.consensus.row_stack import Parts, RowStack

LIARS = 0.2  # the share of devices that is taken to lie


class Vetted(Buffered):
    line = "trust by labels, then nearest-neighbour mixing of what is left (Allouah et al. 2023)"
    kinds: ClassVar[frozenset[AnswerKind]] = frozenset({AnswerKind.SHIFTS})
    needs_labels: ClassVar[bool] = True

    def part(self, said: Any, *, before: Any = None) -> Statistics:
        return super().part(Trust(self.labels).part(said, before=before))

    def stacked_part(self, said: RowStack, *, before: Any = None) -> Parts:
        return super().stacked_part(Trust(self.labels).stacked_part(said, before=before))

    def combine(self, answers: Float64Array) -> Float64Array:
        mean: Float64Array = np.nanmean(mixed(answers, share=LIARS), axis=0)
        return (1 - LIARS) * mean

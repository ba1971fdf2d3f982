"""Trust by labels that the server knows (after FLTrust: Cao et al. 2021, arXiv 2012.13995).

Of shifts a device is trusted with each class by itself, as far as it moves the labelled rows r of the round
the way that their labels y would:

    w_c = t(cos(s_rc - mean_r s_rc, [y_r = c] - mean_r [y_r = c])),    d_rc = 1/n sum_i w_ic s_irc

Of soft labels, which are one thing across the classes, with all or none of it; what is not trusted is put
back as what the fleet said before, b:

    w = max(0, cos(p - mean_r p, [y = c] - mean_r [y = c])),    q_r = 1/n sum_i (w_i p_ir + (1 - w_i) b_r)

A fleet that has learned the labels moves on from them: the cosines of shifts of honest devices lie around 0
then, within about .15, and with max(0, cos) most of what they know would be lost. So they have some slack,
t(cos) = min(1, max(0, 1 + cos / .25)); who moves rows away from their labels is at -.5 and beyond. Towards
labels that the fleet has not learned, who knows a class moves; t(cos) = max(0, cos) then.

Nothing that devices say decides about others, so that a majority of liars is no more than its share, and the
sum over devices is exact however it is merged. Whoever says a class's labels gets trust in that class, also
for what it says beside them. Against the fleet's own consensus instead of labels, trust would belong
to whoever captured it first.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
from fedstill_proto.arrays import Float64Array, IntArray

from fedstill_server.consensus.aggregation import RowSums, VoteSums
from fedstill_server.consensus.folds.interface import AnswerKind, Fold
from fedstill_server.consensus.row_stack import RowStack

SLACK = 0.25


class Trust(Fold):
    line = "each device, and class, by how far it agrees with labels that the server knows (after FLTrust)"
    kinds: ClassVar[frozenset[AnswerKind]] = frozenset({AnswerKind.SHIFTS, AnswerKind.SOFT_LABELS})
    needs_labels: ClassVar[bool] = True

    def part(self, said: RowSums | VoteSums, *, before: Float64Array | None = None) -> RowSums | VoteSums:
        if isinstance(said, RowSums):
            trust = self._trust(self._cosines(said.result(), said.weights))
            return replace(said, totals=said.totals * trust)
        assert before is not None  # methods of soft labels say what was known before
        columns = np.maximum(0, self._cosines(said.plain, said.votes, together=True))
        totals = columns * said.totals + (1 - columns) * said.weights * before
        return replace(said, totals=totals)

    def stacked_part(self, said: RowStack, *, before: Float64Array | None = None) -> RowStack:
        assert self.labels is not None
        answered = np.isin(self.labels.rows, said.places)
        rows, classes = self.labels.rows[answered], self.labels.labels[answered]
        moved = said.values.take(np.searchsorted(said.places, rows), axis=1)
        cosine = self._of_labels(moved, classes) if len(rows) else np.zeros(moved.shape[::2])
        return replace(said, values=said.values * self._trust(cosine)[:, None])

    def _trust(self, cosine: Float64Array) -> Float64Array:
        """How far shifts are trusted, by their cosines with the labels."""
        assert self.labels is not None
        return np.clip(1 + cosine / SLACK, 0, 1) if self.labels.learned else np.maximum(0, cosine)

    def _cosines(self, values: Float64Array, said: Float64Array, *, together: bool = False) -> Float64Array:
        """The cosine of each column of values [P, K] with its labels, over rows that have one and an answer.

        together: One for all columns.
        """
        assert self.labels is not None
        answered = said[self.labels.rows] > 0
        rows, classes = self.labels.rows[answered], self.labels.labels[answered]
        if len(rows) == 0:
            return np.zeros(values.shape[1])
        return self._of_labels(values[rows], classes, together=together)

    def _of_labels(self, moved: Float64Array, classes: IntArray, *, together: bool = False) -> Float64Array:
        """Those of values [..., n, K] of rows with labels [n]."""
        labels = np.eye(moved.shape[-1])[classes]
        labels, moved = labels - labels.mean(axis=0), moved - moved.mean(axis=-2, keepdims=True)
        if together:
            labels, moved = labels.reshape(-1, 1), moved.reshape(-1, 1)
        return cosines(moved, labels)


def cosines(one: Float64Array, other: Float64Array) -> Float64Array:
    """The cosine of each column of arrays [..., n, K] and [n, K]: [..., K]; 0 where one of the two is 0."""
    lengths = np.linalg.norm(one, axis=-2) * np.linalg.norm(other, axis=-2)
    cosine: Float64Array = (one * other).sum(axis=-2) / np.where(lengths > 0, lengths, 1)
    return cosine

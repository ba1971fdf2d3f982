"""What folds share that compare devices with each other: they keep the answers of a round (answers.py)."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

from fedstill_proto.arrays import Float64Array

from fedstill_server.consensus.aggregation import Statistics
from fedstill_server.consensus.folds.answers import Answers
from fedstill_server.consensus.folds.interface import Fold
from fedstill_server.consensus.row_stack import Parts, RowStack


class Buffered(Fold):
    buffers: ClassVar[bool] = True

    def zero(self, zero: Statistics) -> Statistics:
        return Answers()

    def part(self, said: Any, *, before: Any = None) -> Statistics:
        return Answers.of(said)

    def stacked_part(self, said: RowStack, *, before: Any = None) -> Parts:
        return [Answers.of_stack(said)] if said.answered is None else [Answers.of(part) for part in said]

    def result(self, total: Answers, *, zero: Any) -> Statistics:
        result: Statistics = total.combined(self.combine, zero=zero)
        return result

    @abstractmethod
    def combine(self, answers: Float64Array) -> Float64Array:
        """What the fleet says [m, K], of answers [n, m, K] of n devices, NaN where one says nothing."""

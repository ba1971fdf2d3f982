"""Trust by labels first, then nearest-neighbour mixing and a trimmed mean among what is left.

Labels take from liars what plainly contradicts them (trust.py), and mixing what hides beside them: moves that
no label speaks against, such as those in the labels' blind spot or against the honest mean (nearest.py). As
labels have dealt with the rest, a fifth of the devices is taken to lie instead of three in ten.
"""

from __future__ import annotations

from typing import Any, ClassVar

from fedstill_server.consensus.aggregation import Statistics
from fedstill_server.consensus.folds.interface import AnswerKind
from fedstill_server.consensus.folds.nearest import Nearest
from fedstill_server.consensus.folds.trust import Trust


class Vetted(Nearest):
    line = "trust by labels, then nearest-neighbour mixing and a trimmed mean of what is left"
    kinds: ClassVar[frozenset[AnswerKind]] = frozenset({AnswerKind.SHIFTS})
    needs_labels: ClassVar[bool] = True
    share: ClassVar[float] = 0.2

    def part(self, said: Any, *, before: Any = None) -> Statistics:
        return super().part(Trust(self.labels).part(said, before=before))

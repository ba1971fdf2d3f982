"""What a fold is: how the answers of a round become one consensus, when some devices may lie.

A part is what one device adds, as its method reads the answer: RowSums of its shifts or class means, VoteSums
of its soft labels, or FamilySums of its student, clipped already (clipping.py). A fold makes of it what is
summed, and of the sum what the method learns from, again of the part's own kind.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, ClassVar

from fedstill_proto.arrays import IntArray

from fedstill_server.consensus.aggregation import Statistics
from fedstill_server.consensus.row_stack import Parts, RowStack


class AnswerKind(enum.Enum):
    """What devices answer, as far as a fold needs to know."""

    SHIFTS = "shifts of public rows"
    SOFT_LABELS = "soft labels of public rows"
    CLASS_MEANS = "mean soft labels of classes"
    STUDENTS = "students"


@dataclass(frozen=True, eq=False)
class RowLabels:
    """The labels that the server knows.

    Attributes:
        rows: The rows that have one [n], of all.
        labels: Their classes [n].
        learned: Whether the fleet has learned them, as it does a public set's own.
    """

    rows: IntArray
    labels: IntArray
    learned: bool = True


class Fold:
    """The base of folds; this one adds up what the devices say, as it is.

    Attributes:
        labels: What the server knows of the rows; None where it knows nothing.
    """

    line: ClassVar[str] = ""  # what it does, and where it is from
    kinds: ClassVar[frozenset[AnswerKind]] = frozenset(AnswerKind)
    clips: ClassVar[bool] = True  # whether answers are clipped to the round's limit before
    needs_labels: ClassVar[bool] = False
    buffers: ClassVar[bool] = False  # whether it keeps each device's answer until the round ends

    def __init__(self, labels: RowLabels | None = None) -> None:
        self.labels = labels

    def zero(self, zero: Statistics) -> Statistics:
        """What it sums of no devices, where the method's own would be `zero`."""
        return zero

    def part(self, said: Any, *, before: Any = None) -> Statistics:
        """What one device adds.

        Args:
            said: Its contribution.
            before: What the fleet said of all rows before [P, K], if there is anything.
        """
        part: Statistics = said
        return part

    def stacked_part(self, said: RowStack, *, before: Any = None) -> Parts:
        """The same of devices that answered the same rows: what `part` makes of each, bit for bit."""
        return said

    def result(self, total: Any, *, zero: Any) -> Statistics:
        """What the method learns from: a sum like `zero`, of the sum over at least one device."""
        result: Statistics = total
        return result

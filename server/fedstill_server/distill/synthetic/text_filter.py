"""Which rows that a teacher wrote are worth learning.

    perplexity   exp of the mean surprise of a row's written words under the teacher: of too little, it
                 repeats itself; of too much, it was drawn from where the teacher knows nothing
    exact        rows that were written before, or are public
    near         rows of whose word triples a share was in one row before (the shared triples over those of
                 both: Jaccard's index; Broder 1997)
    agreement    rows of whose written words too few are among the likeliest of a judge: of another teacher of
                 an ensemble, or of trigrams of the public text (text_judges.py)

A row is dropped, and counted, by the first of them that it fails.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from fedstill_proto.arrays import IntArray
from numpy.typing import NDArray

from fedstill_server.distill.on_policy.measures import surprise
from fedstill_server.distill.plan import check
from fedstill_server.distill.synthetic.text_judges import WordJudge, agreement
from fedstill_server.teachers.interface import TeacherModel

_RUN = 3  # words of which nearness is made

TOO_SURE, TOO_UNSURE = "of too little perplexity", "of too much"
EXACT, NEAR, DISPUTED = "that were there before", "that nearly were", "that judges dispute"


@dataclass(frozen=True, kw_only=True)
class TextFilter:
    """What rows have to be; 0 asks nothing.

    Attributes:
        least_perplexity: Of a row, under the teacher.
        most_perplexity: The same.
        unique: Whether rows that were there before are dropped.
        nearness: The share of word triples from which on a row is one that was there before.
        agreement: The share of written words that each judge has to find likely.
        likely_words: How many words a judge finds likely at a place.
    """

    least_perplexity: float = 0.0
    most_perplexity: float = 0.0
    unique: bool = False
    nearness: float = 0.0
    agreement: float = 0.0
    likely_words: int = 20

    def __post_init__(self) -> None:
        window = f"above least_perplexity, which is {self.least_perplexity}"
        ordered = not self.most_perplexity or self.least_perplexity < self.most_perplexity
        check(ordered, "most_perplexity", self.most_perplexity, window)

    @property
    def asks_nothing(self) -> bool:
        wanted = (self.least_perplexity, self.most_perplexity, self.unique, self.nearness, self.agreement)
        return not any(wanted)

    def of(
        self,
        words: IntArray,
        *,
        beginning: int,
        teacher: TeacherModel,
        known: IntArray,
        judges: Sequence[WordJudge] = (),
    ) -> FilteredRows:
        """Filter rows.

        Args:
            words: Rows [n, S + 1].
            beginning: How many words of each were given.
            teacher: Who wrote them.
            known: Public rows [m, S + 1].
            judges: Who must agree, where `agreement` is asked for.
        """
        reasons = [""] * len(words)
        self._by_perplexity(reasons, words, beginning, teacher)
        self._by_likeness(reasons, words, known)
        if self.agreement:
            left = np.flatnonzero([not reason for reason in reasons])
            for judge in judges:
                shares = agreement(judge, words[left], beginning=beginning, likely=self.likely_words)
                for row in left[shares < self.agreement]:
                    reasons[row] = DISPUTED
        return FilteredRows(
            kept=np.array([not reason for reason in reasons], bool),
            dropped=dict(Counter(reason for reason in reasons if reason)),
        )

    def _by_perplexity(
        self, reasons: list[str], words: IntArray, beginning: int, teacher: TeacherModel
    ) -> None:
        if not (self.least_perplexity or self.most_perplexity):
            return
        perplexities = np.exp(surprise(teacher, words, beginning=beginning).mean(axis=1))
        for row, perplexity in enumerate(perplexities):
            if perplexity < self.least_perplexity:
                reasons[row] = TOO_SURE
            elif self.most_perplexity and perplexity > self.most_perplexity:
                reasons[row] = TOO_UNSURE

    def _by_likeness(self, reasons: list[str], words: IntArray, known: IntArray) -> None:
        if not (self.unique or self.nearness):
            return
        seen, near = {tuple(row) for row in known.tolist()}, _NearRows(known if self.nearness else known[:0])
        for number, row in enumerate(words.tolist()):
            if reasons[number]:
                continue
            if self.unique and tuple(row) in seen:
                reasons[number] = EXACT
            elif self.nearness and near.nearest(row) >= self.nearness:
                reasons[number] = NEAR
            else:
                seen.add(tuple(row))
                if self.nearness:
                    near.add(row)


@dataclass(frozen=True, eq=False, kw_only=True)
class FilteredRows:
    """Which rows passed, [n] bool, and how many of the others were dropped by which reason."""

    kept: NDArray[np.bool_]
    dropped: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        """Such as "90 of 100 rows kept; dropped: 7 of too much, 3 that were there before"."""
        kept = f"{self.kept.sum():,d} of {len(self.kept):,d} rows kept"
        parts = [f"{count:,d} {reason}" for reason, count in self.dropped.items()]
        return f"{kept}; dropped: {', '.join(parts)}" if parts else kept


class _NearRows:
    """Rows by their word triples."""

    def __init__(self, rows: IntArray) -> None:
        self._rows: dict[tuple[int, ...], list[int]] = defaultdict(list)
        self._sizes: list[int] = []
        for row in rows.tolist():
            self.add(row)

    def add(self, row: Sequence[int]) -> None:
        runs = _triples(row)
        for run in runs:
            self._rows[run].append(len(self._sizes))
        self._sizes.append(len(runs))

    def nearest(self, row: Sequence[int]) -> float:
        """The largest share of triples that one of the rows has in common with this."""
        runs = _triples(row)
        shared = Counter(number for run in runs for number in self._rows.get(run, ()))
        return max(
            (count / (len(runs) + self._sizes[number] - count) for number, count in shared.items()),
            default=0.0,
        )


def _triples(row: Sequence[int]) -> set[tuple[int, ...]]:
    return {tuple(row[at : at + _RUN]) for at in range(len(row) - _RUN + 1)}

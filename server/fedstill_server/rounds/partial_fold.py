"""A part of a round's fold, over the devices that a worker process has, or over all of them (bounded_fold).

    norms = sum of part.norms(summaries)           over all parts, where the method compares
    total = sum of part.fold(summaries, norms)     over all parts
    settled(method, total)                         what the method learns from

However devices are spread over parts, and in whatever order these come together, the result is the same bits
(consensus/exact_sum.py), where `folds_in_parts` says so. Nothing here imports flwr or torch: worker processes
have neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import Any

from fedstill_proto.messages import SoftLabelSummary

from fedstill_server.consensus.aggregation import Statistics
from fedstill_server.consensus.exact_sum import ExactFold
from fedstill_server.consensus.folds.norms import Norms
from fedstill_server.consensus.row_stack import STACK, Parts, stacks
from fedstill_server.methods.interface import Method
from fedstill_server.state import FleetState


class PartialFold:
    """The fold of answers to the tasks of one round."""

    def __init__(self, method: Method, state: FleetState, round_number: int, *, weight: float = 1.0) -> None:
        """Prepare it.

        Args:
            method: The bound method whose round it is (Method.of_round).
            state: The state that the round's tasks were made from.
            round_number: The round of the tasks.
            weight: What each answer counts; below 1 for those of an older state (staleness.py).
        """
        self._method, self._state, self._round = method, state, round_number
        self._weight = weight
        self._memory: dict[str, Any] = {}

    def norms(
        self, summaries: Iterable[SoftLabelSummary], *, into: ExactFold[Norms] | None = None
    ) -> ExactFold[Norms]:
        """The first pass: how long the answers are; nothing where the method does not compare any.

        into: A fold that they are added to, instead of a new one.
        """
        fold = ExactFold(Norms()) if into is None else into
        if self._method.compares:
            stacked = self._stacks("stacked_norms", "norms")
            for parts in self._parts(summaries):
                if stacked:
                    fold.add(self._method.stacked_norms(parts))
                else:
                    fold.add_all(map(self._method.norms, parts))
        return fold

    def fold(
        self,
        summaries: Iterable[SoftLabelSummary],
        norms: Norms,
        *,
        into: ExactFold[Statistics] | None = None,
    ) -> ExactFold[Statistics]:
        """The second pass: what the answers add to the consensus.

        Args:
            summaries: The answers.
            norms: Those of all answers of the round.
            into: A fold that they are added to, instead of a new one.
        """
        fold = no_answers(self._method, self._round) if into is None else into
        for parts in self._bounded(self._parts(summaries), norms):
            if self._weight == 1:
                fold.add_all(parts)
            else:
                fold.add_all(part.weighted(self._weight) for part in parts)
        return fold

    def trim(self, fold: ExactFold[Statistics]) -> None:
        """Leave out of a fold what cannot be in the consensus, beside what was trimmed here before.

        All that is trimmed has to be merged into the same consensus, be it made more than once.
        """
        fold.trim(self._memory)

    def _bounded(self, said: Iterable[Parts], norms: Norms) -> Iterator[Parts]:
        if self._stacks("stacked_bounded", "bounded"):
            return map(self._method.stacked_bounded(norms, self._state, round_number=self._round), said)
        one = self._method.bounded(norms, self._state, round_number=self._round)
        return ([one(part) for part in parts] for parts in said)

    def _parts(self, summaries: Iterable[SoftLabelSummary]) -> Iterator[Parts]:
        """What the answers contribute, some devices at a time."""
        left = iter(summaries)
        return map(self._says, iter(lambda: tuple(islice(left, STACK)), ()))

    @cached_property
    def _says(self) -> Callable[[Sequence[SoftLabelSummary]], Parts]:
        if self._stacks("stacked_contribution", "contribution"):
            return self._method.stacked_contribution(self._state, round_number=self._round)
        one = self._method.contribution(self._state, round_number=self._round)
        return lambda summaries: [one(summary) for summary in summaries]

    def _stacks(self, stacked: str, single: str) -> bool:
        return stacks(type(self._method), stacked, single)


def no_answers(method: Method, round_number: int) -> ExactFold[Statistics]:
    """The fold of a round, of no answers yet."""
    return ExactFold(method.bounded_zero(round_number=round_number))


def folds_in_parts(method: Method, round_number: int) -> bool:
    """Whether workers may fold a round in parts: without torch, and so that the result is the same bits."""
    exact = ExactFold.is_exact(method.bounded_zero(round_number=round_number))
    return exact and not method.runs_students


def settled(method: Method, total: ExactFold[Statistics], *, round_number: int) -> Statistics:
    """What the method learns from, of the fold over all answers of a round."""
    result = total.result()
    found: Statistics = method.settled(result, round_number=round_number) if result.devices > 0 else result
    return found

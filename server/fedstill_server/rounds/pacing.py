"""When a run's next round begins, and who may take part: at once in a simulation, else by a schedule."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, runtime_checkable

from flwr.serverapp import Grid

from fedstill_server.config.fleet import CohortRule
from fedstill_server.rounds.roster import Member, Roster


class Pacing(Protocol):
    """The pace of a run."""

    def members(self, number: int, roster: Roster, grid: Grid) -> Mapping[str, Member] | None:
        """Wait until a round may begin.

        Args:
            number: The round's, from 1.
            roster: The devices of the run, which is brought up to date.
            grid: Reaches them.

        Returns:
            The devices that may be asked, by name; None where the run has no such round.
        """
        ...

    def outlives(self, error: Exception, number: int) -> bool:
        """Whether a round that ended in an error is done again; returns when it may be."""
        ...

    def in_force(self) -> AbstractContextManager[object]:
        """A context in which the run's generation stays in force; raises GenerationOver where it is over."""
        ...

    def time_text(self) -> str:
        """What time it is, for the record of a round; empty where records are to be the same each time."""
        ...


@runtime_checkable
class PacedGrid(Protocol):
    """A Grid that may bring the pace of its run, as a simulation's does whose devices follow a trace."""

    @property
    def pacing(self) -> Pacing | None: ...


class AtOnce:
    """One round after the other, as many as there are to be: of simulations, and of plain Flower runs."""

    def __init__(self, rounds: int, cohort: CohortRule) -> None:
        self._rounds, self._cohort = rounds, cohort
        self._gathered = False

    def members(self, number: int, roster: Roster, grid: Grid) -> Mapping[str, Member] | None:
        """The devices that are there; before the first round, they have the deadline to come."""
        if number > self._rounds:
            return None
        if not self._gathered:
            roster.gather(grid, wanted=self._cohort.goal_count, deadline_s=self._cohort.deadline_s)
            self._gathered = True
        roster.update(grid)
        return roster.willing

    def outlives(self, error: Exception, number: int) -> bool:
        """Never: whoever started the run sees the error."""
        return False

    def in_force(self) -> AbstractContextManager[object]:
        """Always."""
        return nullcontext()

    def time_text(self) -> str:
        """Nothing."""
        return ""

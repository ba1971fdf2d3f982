"""The errors that fedstill raises on purpose."""

from __future__ import annotations


class FedstillError(Exception):
    """Base of every deliberate error: its text says what was wrong, where, and what to do."""


class FieldError(FedstillError):
    """A value that its field cannot hold; `field` names the place, `problem` the value and its limit."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem

    def __reduce__(self) -> tuple[type[FieldError], tuple[str, str]]:
        # Exception pickles its formatted text only; errors cross process borders in the simulator.
        return type(self), (self.field, self.problem)


class InvalidValue(FieldError, ValueError):
    """A value object was made with something it cannot hold (a temperature of 0, say)."""


class WireError(FieldError):
    """Bytes that are not the message they should be. The one error of every decode."""

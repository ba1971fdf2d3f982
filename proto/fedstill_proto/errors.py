"""The errors that fedstill raises on purpose."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


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
    """Bytes that are not the message they should be: the one error of every decoder."""

    @classmethod
    def of(cls, error: FieldError) -> WireError:
        """The error as that of a decoder; one of a decoder stays what it is."""
        return error if isinstance(error, WireError) else cls(error.field, error.problem)


class UnknownName(FedstillError):
    """A name that stands for nothing; the text suggests those that are spelled alike, and lists all."""


def unknown_name(what: str, name: str, known: Iterable[str], *, more: str = "") -> UnknownName:
    """The error for a `name` that is not one of `known`.

    Args:
        what: What the name stands for, as a person calls it: "method", "--families".
        name: The name that was given.
        known: The names that there are, in the order in which they are listed.
        more: What else would do, such as "or module:name of your own".

    Returns:
        An error that suggests the names that are spelled alike.
    """
    names = list(known)
    alike = difflib.get_close_matches(name.lower(), names, n=2, cutoff=0.6)
    meant = f"; did you mean {' or '.join(alike)}?" if alike else ";"
    listed = ", ".join(names) or "none"
    return UnknownName(f"{what}: {name!r} is unknown{meant} there are {listed}{more and ', ' + more}")

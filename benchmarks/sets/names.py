"""What the name of a data set says of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from fedstill_proto.errors import FedstillError

from .sources import SOURCES


class SetError(FedstillError):
    """A data set of the benchmarks that cannot be made; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A data set, and what is changed about it.

    Attributes:
        name: The whole name.
        source: Where the examples come from.
        rows: How many rows the public set has; None is what the source says.
        labelled: Whether it has labels.
        public_classes: How many of the classes, the first ones, it has rows of; None is all.
        domain: "own", "inverted" or "noise": what its rows are.
        renamed: How many devices give the classes other names.
        examples: The most training examples of a device; None is what the source says.
    """

    name: str
    source: str
    rows: int | None = None
    labelled: bool = True
    public_classes: int | None = None
    domain: str = "own"
    renamed: int = 0
    examples: int | None = None


_NUMBERS = {
    "rows": "rows",
    "classes": "public_classes",
    "renamed": "renamed",
    "examples": "examples",
}
_WORDS: dict[str, dict[str, Any]] = {
    "unlabelled": {"labelled": False},
    "inverted": {"domain": "inverted"},
    "noise": {"domain": "noise", "labelled": False},
}


def variant_of(name: str) -> Variant:
    """Read a name, as `watch_800rows_unlabelled`.

    Raises:
        SetError: A part of it is none that there is.
    """
    source, *parts = name.split("_")
    if source not in SOURCES:
        raise SetError(f"data set {name}: {source!r} is none of {', '.join(SOURCES)}")
    changed: dict[str, Any] = {}
    for part in parts:
        number = re.fullmatch(r"([1-9]\d*)([a-z]+)", part)
        if number and number[2] in _NUMBERS:
            changed[_NUMBERS[number[2]]] = int(number[1])
        elif part in _WORDS:
            changed |= _WORDS[part]
        else:
            told = ", ".join([*_WORDS, *(f"<number>{word}" for word in _NUMBERS)])
            raise SetError(f"data set {name}: {part!r} is none of {told}")
    return Variant(name=name, source=source, **changed)

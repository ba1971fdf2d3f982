"""Generations of a fleet: numbers of its configurations, one after the other, from 1.

A fleet keeps its name, its devices and the numbers of its rounds while its rates, public set, families or
teacher change; each such change is a generation. On the wire the first is left out.
"""

from __future__ import annotations

from fedstill_proto.checks import check_integer

FIRST_GENERATION = 1
_MOST_GENERATIONS = 1 << 20


def check_generation(generation: int) -> None:
    """Raise InvalidValue unless this is the number of a generation."""
    check_integer("generation", generation, FIRST_GENERATION, _MOST_GENERATIONS)


def generation_number(generation: int) -> int:
    """The number as messages hold it: 0, which takes no bytes, for the first."""
    return 0 if generation == FIRST_GENERATION else generation

"""Homes: which rooms there are, what things are called, and who lives there.

The words are in homes.json, for each language. At everyone's home things have the names that shops give
them; at one's own, some have names of their own that say nothing about what they are: only who lives there
knows whether "start rosie" is for the vacuum cleaner or the lawn mower.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np

PET_NAMES = 0.35  # of the things at one's own home
_ROOMS, _THINGS = 6, 2  # of a home; things of each kind, at most


@dataclass(frozen=True)
class Home:
    """Words for each slot of a sentence, and names for each kind ("domain") of thing."""

    language: str
    words: Mapping[str, tuple[str, ...]]
    things: Mapping[str, tuple[str, ...]]


def languages() -> tuple[str, ...]:
    """Those that there are words for."""
    return tuple(_homes()["languages"])


def everyones_home(language: str) -> Home:
    """All rooms, and all things under the names that shops give them."""
    known = _homes()["languages"][language]
    words = {slot: tuple(each) for slot, each in known.items() if slot != "name"}
    things = {kind: tuple(names) for kind, names in known["name"].items()}
    return Home(language, words, {**things, "person": tuple(_homes()["people"])})


def own_home(language: str, random: np.random.Generator) -> Home:
    """One device's: a few rooms, one or two things of each kind, some with names of their own."""
    everything = everyones_home(language)
    pets = [str(name) for name in random.permutation(_homes()["pets"])]

    def some(known: tuple[str, ...], most: int) -> tuple[str, ...]:
        return tuple(str(word) for word in random.permutation(known)[:most])

    def named(kind: str, name: str) -> str:
        alive = kind in ("person", "weather", "todo")
        return pets.pop() if pets and not alive and random.random() < PET_NAMES else name

    things = {
        kind: tuple(
            named(kind, name) for name in some(names, int(random.integers(1, _THINGS, endpoint=True)))
        )
        for kind, names in everything.things.items()
    }
    return Home(language, {**everything.words, "area": some(everything.words["area"], _ROOMS)}, things)


@functools.cache
def _homes() -> dict[str, Any]:
    text = (resources.files(__package__) / "homes.json").read_text(encoding="utf-8")
    homes: dict[str, Any] = json.loads(text)
    return homes

"""Homes: which rooms there are, what things are called, and who lives there.

The words are in homes.json, for each language. At everyone's home things have the names that shops give
them; at one's own, some have names of their own that say nothing about what they are: only who lives there
knows whether "start rosie" is for the vacuum cleaner or the lawn mower.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any

import numpy as np

PET_NAMES = 0.35  # of the things at one's own home
_ALIVE = ("person", "weather", "todo")  # kinds of thing that nobody gives a name
_ROOMS, _THINGS = 6, 2  # of a home; things of each kind, at most


@dataclass(frozen=True)
class Home:
    """Words for each slot of a sentence, and names for each kind ("domain") of thing.

    placed: how lights are called by their room ("{area} light"), in sentences with marked slots.
    """

    language: str
    words: Mapping[str, tuple[str, ...]]
    things: Mapping[str, tuple[str, ...]]
    placed: tuple[str, ...] = ()


def languages() -> tuple[str, ...]:
    """Those that there are words for."""
    return tuple(_homes()["languages"])


def everyones_home(language: str) -> Home:
    """All rooms, and all things under the names that shops give them."""
    return _whole(language, _homes())


def _whole(language: str, homes: Mapping[str, Any]) -> Home:
    known = homes["languages"][language]
    words = {slot: tuple(each) for slot, each in known.items() if slot != "name"}
    things = {kind: tuple(names) for kind, names in known["name"].items()}
    return Home(language, words, {**things, "person": tuple(homes["people"])})


def other_home(language: str, random: np.random.Generator) -> Home:
    """One of homes that no public text tells of: its rooms and things are in no other home."""
    home = _some_of(language, random, _file("other_homes.json"))
    return replace(home, words={**everyones_home(language).words, **home.words})


def varied_home(language: str, random: np.random.Generator) -> Home:
    """One of many homes of public text: its rooms and things may be somebody's, or big, left or red."""
    more = _file("many_names.json")
    words = more["languages"][language]
    home = everyones_home(language)

    def called(what: str, described: float, somebodys: float) -> str:
        drawn = random.random()
        if drawn < described:
            how = words["how"][int(random.integers(len(words["how"])))]
            return str(words["described"].format(how=how, what=what))
        if drawn < described + somebodys:
            who = more["people"][int(random.integers(len(more["people"])))]
            return str(words["possessive"].format(who=who, what=what))
        return what

    def some(
        known: Sequence[str], most: int, described: float = 0.0, somebodys: float = 0.0
    ) -> tuple[str, ...]:
        chosen = random.permutation(len(known))[:most]
        return tuple(called(known[int(at)], described, somebodys) for at in chosen)

    rooms = [called(each, 0.0, 1.0) for each in words["rooms"]]
    things = {
        kind: some([*names, *words.get(kind, ())], 8, 0.2, 0.2) if kind not in _ALIVE else names
        for kind, names in home.things.items()
    }
    people = some(more["people"], 12)
    for kind in ("light", "switch", "media_player", "vacuum", "lawn_mower", "fan", "climate"):
        things[kind] = (*things[kind], *some(people, 3))
    slots = {
        slot: some([*known, *words.get(slot, ())], 20) if slot != "area" else known
        for slot, known in home.words.items()
    }
    slots["area"] = (*some([*home.words["area"], *words["area"]], 12, 0.1), *some(rooms, 2))
    return Home(language, slots, {**things, "person": people}, tuple(words["placed"]))


def own_home(language: str, random: np.random.Generator) -> Home:
    """One device's: a few rooms, one or two things of each kind, some with names of their own."""
    return _some_of(language, random, _homes())


def _some_of(language: str, random: np.random.Generator, homes: Mapping[str, Any]) -> Home:
    everything = _whole(language, homes)
    pets = [str(name) for name in random.permutation(homes["pets"])]

    def some(known: tuple[str, ...], most: int) -> tuple[str, ...]:
        return tuple(str(word) for word in random.permutation(known)[:most])

    def named(kind: str, name: str) -> str:
        return pets.pop() if pets and kind not in _ALIVE and random.random() < PET_NAMES else name

    things = {
        kind: tuple(
            named(kind, name) for name in some(names, int(random.integers(1, _THINGS, endpoint=True)))
        )
        for kind, names in everything.things.items()
    }
    return Home(language, {**everything.words, "area": some(everything.words["area"], _ROOMS)}, things)


def _homes() -> dict[str, Any]:
    return _file("homes.json")


@functools.cache
def _file(name: str) -> dict[str, Any]:
    text = (resources.files(__package__) / name).read_text(encoding="utf-8")
    homes: dict[str, Any] = json.loads(text)
    return homes

"""Sentences with their slots: what the templates of Home Assistant say of a room, a thing, a number.

The templates' many slots become those that an assistant's app asks for; a quantity's slot is all of it, with
its unit ("fifty percent", "an hour and 30 minutes"). Numbers are drawn, so what they are is known apart from
the text, and half of them are spelled in words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from fedstill_proto.text.quantities import find_quantities
from fedstill_proto.text.slots import SlotSpan, marked

from fedstill_sim.tasks.utterances.homes import Home, everyones_home, other_home, own_home, varied_home
from fedstill_sim.tasks.utterances.sentences import Templates

_MARK = re.compile(r"\[([^\[\]]*)\]\(([a-z_]+)(?:=(-?\d+(?:\.\d+)?))?\)")
_DURATION = {"timer_hours": 3600, "timer_minutes": 60, "timer_seconds": 1}
SLOTS = {
    **{name: name for name in ("area", "floor", "name", "temperature", "color", "message")},
    **dict.fromkeys(
        ("brightness", "position", "volume", "volume_step_up", "volume_step_down", "fan_speed"), "number"
    ),
    "color_temperature": "number",
    "color_temperature_names": "color",
    **dict.fromkeys(("shopping_list_item", "todo_list_item"), "item"),
    "search_query": "query",
    "timer_name": "timer",
    "timer_command": "command",
}
"""What a slot of the templates is called here, apart from those of durations; others are no slots."""


@dataclass(frozen=True)
class SlottedUtterance:
    """A text, its intent and slots, and the numbers that slots stand for; None where that isn't known.

    A duration's number is in seconds.
    """

    text: str
    intent: str
    spans: tuple[SlotSpan, ...]
    values: tuple[float | None, ...]

    def marked(self) -> str:
        """The text with its slots marked, as tables have them."""
        return marked(self.text, self.spans)


def utterances_at(
    language: str,
    homes: Sequence[Home],
    count: int,
    random: np.random.Generator,
    *,
    but: frozenset[str] = frozenset(),
) -> list[SlottedUtterance]:
    """So many different texts at homes in turn, intents evenly; none of them is in `but`."""
    templates = Templates.load(language)
    intents = sorted(templates.intents)
    found: dict[str, SlottedUtterance] = {}
    for draw in range(count * 20):
        if len(found) == count:
            break
        intent = intents[int(random.integers(len(intents)))]
        said = _with_slots(templates.say_marked(intent, homes[draw % len(homes)], random), intent)
        if said.text and said.text not in but:
            found.setdefault(said.text, said)
    return list(found.values())


def public_utterances(language: str, count: int, *, seed: int) -> list[SlottedUtterance]:
    """What is said at everyone's homes, and at many with names of their own."""
    random = np.random.default_rng([seed, *map(ord, language), 1])
    varied = [varied_home(language, random) for _ in range(60)]
    homes = [everyones_home(language), *(own_home(language, random) for _ in range(4)), *varied]
    return utterances_at(language, homes, count, random)


def other_utterances(language: str, count: int, *, seed: int) -> list[tuple[SlottedUtterance, Home]]:
    """What is said at eight homes that no public text tells of, and where."""
    random = np.random.default_rng([seed, *map(ord, language), 2])
    homes = [other_home(language, random) for _ in range(8)]
    found = []
    for home in homes:
        found += [(each, home) for each in utterances_at(language, [home], -(-count // 8), random)]
    return found[:count]


def _with_slots(said: str, intent: str) -> SlottedUtterance:
    parts: list[str] = []
    raw: list[tuple[int, int, str, float | None]] = []
    done = length = 0
    for mark in _MARK.finditer(said):
        before, word = said[done : mark.start()], mark.group(1)
        parts += [before, word]
        begin = length + len(before)
        length = begin + len(word)
        raw.append((begin, length, mark.group(2), None if mark.group(3) is None else float(mark.group(3))))
        done = mark.end()
    text = "".join([*parts, said[done:]])
    slots = _joined(text, raw)
    return SlottedUtterance(
        text, intent, tuple(span for span, _ in slots), tuple(number for _, number in slots)
    )


def _joined(text: str, raw: list[tuple[int, int, str, float | None]]) -> list[tuple[SlotSpan, float | None]]:
    """Slots with their numbers; the parts of a duration are one, and quantities have their units."""
    quantities = find_quantities(text)
    found: dict[tuple[str, int, int], float | None] = {}
    for begin, end, name, number in raw:
        slot = "duration" if name.startswith("timer_") and name not in SLOTS else SLOTS.get(name)
        if slot is None:
            continue
        if slot in ("number", "temperature", "duration"):
            around = [each for each in quantities if each.begin < end and begin < each.end]
            begin, end = (around[0].begin, around[0].end) if around else (begin, end)
        while text[end : end + 1].isalpha():  # an ending that the template adds to a name
            end += 1
        if slot == "duration":
            number = None if number is None else number * _DURATION.get(name, 0) or None
            key = (slot, begin, end)
            if key in found:
                earlier = found[key]
                number = None if earlier is None or number is None else earlier + number
        found[slot, begin, end] = number
    return [(SlotSpan(*key), number) for key, number in found.items()]

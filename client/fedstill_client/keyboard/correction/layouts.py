"""Keyboard layouts as data: where each letter's key is, and how far two keys are apart.

    layouts.json    {"qwerty": {"languages": ["en", ...], "rows": [{"offset": 0, "keys": "qwertyuiop"}, ...]}}

Rows come from above to below; the last is the bottom row of letters. The key of a row's first letter is
`offset` keys to the right of the Q's, a blank is a key without a letter, and `shift` are the letters that the
same keys write with shift. The first layout of the file that names a language is that language's.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources

from fedstill_proto.errors import unknown_name

from fedstill_client.keyboard.correction.letters import base

APART = math.inf  # two letters that no layout has together
_SHIFTED = 0.5  # of a key, between two letters of the same key
DEFAULT_LAYOUT = "qwerty"
_NAME_LIMIT = 40  # characters of a wrong name that its error says again


@dataclass(frozen=True)
class KeyboardLayout:
    """Where the keys are: from the left and from above, in widths of a key."""

    name: str
    languages: tuple[str, ...]
    keys: dict[str, tuple[float, float]]

    def distance(self, one: str, other: str) -> float:
        """How far the keys of two letters are apart, in widths of a key; APART where one has no key.

        A letter without a key of its own is typed by its base letter's.
        """
        here, there = self._key(one), self._key(other)
        if here is None or there is None:
            return APART
        if here == there:
            return 0.0 if one == other else _SHIFTED
        return math.dist(here, there)

    def _key(self, letter: str) -> tuple[float, float] | None:
        return self.keys.get(letter) or self.keys.get(base(letter))


@functools.cache
def layouts() -> dict[str, KeyboardLayout]:
    """All layouts by name, in the order of the file."""
    content = resources.files(__package__).joinpath("layouts.json").read_text("utf-8")
    return {name: _layout(name, fields) for name, fields in json.loads(content).items()}


def layout_named(name: str) -> KeyboardLayout:
    """The layout of this name; raises UnknownName, which lists them all."""
    known = layouts()
    if name not in known:
        raise unknown_name("keyboard layout", name[:_NAME_LIMIT], known)
    return known[name]


def layout_of_languages(languages: Iterable[str]) -> KeyboardLayout:
    """The usual layout of the first of these languages (ISO 639) that has one; QWERTY where none has."""
    known = layouts()
    for language in languages:
        for code in (language, language.partition("-")[0]):
            for layout in known.values():
                if code in layout.languages:
                    return layout
    return known[DEFAULT_LAYOUT]


def key_distance(layout: KeyboardLayout, one: str, other: str) -> float:
    """How far two letters' keys are apart, in widths of a key.

    Where the layout lacks one of them, as QWERTY lacks the letters of Russian, the first one that has both
    counts: who writes two alphabets switches between two layouts.
    """
    distance = layout.distance(one, other)
    return distance if distance < APART else _distance_elsewhere(one, other)


@functools.lru_cache(maxsize=1 << 16)
def _distance_elsewhere(one: str, other: str) -> float:
    return next((d for each in layouts().values() if (d := each.distance(one, other)) < APART), APART)


def _layout(name: str, fields: dict[str, list[str] | list[dict[str, str | float]]]) -> KeyboardLayout:
    keys: dict[str, tuple[float, float]] = {}
    rows = [row for row in fields["rows"] if isinstance(row, dict)]
    for above, row in enumerate(reversed(rows)):
        for letters in (row["keys"], row.get("shift", "")):
            for place, letter in enumerate(str(letters)):
                if letter != " ":
                    keys.setdefault(letter, (float(row["offset"]) + place, -float(above)))
    return KeyboardLayout(name, tuple(str(code) for code in fields["languages"]), keys)

"""The noisy channel: how likely a letter is typed for the one that was meant, or is left out, or put in.

Kernighan, Church and Gale (1990), "A spelling correction program based on a noisy channel model": the word w
that was meant by the letters t has p(w | t) ~ p(w) p(t | w), and p(t | w) is that of the likeliest way from
w to t in single errors (Damerau 1964): a letter missing, one too many, another one, two in the wrong order.
Brill and Moore (2000), "An improved error model for noisy channel spelling correction", have pairs of strings
for one another; of these there are the letters that stand for one that the keyboard lacks ("ue" for "ü").

    p(another letter) = NEAR exp(-(d^2 - 1) / SPREAD)     d: how far the keys are apart, in widths of a key
                        but SOUND at least for letters that sound alike, and FAR at least for any

A word that is not at its end yet, and has an error already, is the less likely one (`unfinished`): it will be
found when more of it is typed. A cost is -ln p, in nats. An accent, apostrophe or hyphen that is left out
is no error and not counted among the edits: some people type none (`bare`), and then leave out them all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from fedstill_proto.errors import InvalidValue

from fedstill_client.keyboard.correction.layouts import KeyboardLayout, key_distance
from fedstill_client.keyboard.correction.letters import APOSTROPHES, base, is_accent, sound_alike

EDIT = 32.0
"""What each error adds to a cost, so that a cost tells the number of errors: the fewest are the likeliest."""


@dataclass(frozen=True)
class Channel:
    """Probabilities of single errors; chosen by benchmarks/corrections.py on generated errors."""

    bare: float = 0.2
    accent_left_out: float = 0.9
    accent_wrong: float = 0.05
    apostrophe_left_out: float = 0.9
    apostrophe_put_in: float = 0.05
    near: float = 1 / 40
    spread: float = 0.8
    sound: float = 1 / 200
    far: float = 1 / 1000
    transposed: float = 1 / 40
    missing: float = 1 / 80
    missing_double: float = 1 / 50
    extra: float = 1 / 400
    extra_double: float = 1 / 100
    first: float = 0.3
    unfinished: float = 0.4

    def __post_init__(self) -> None:
        for entry in fields(self):
            if not 0 < getattr(self, entry.name) <= 1:
                raise InvalidValue(entry.name, f"{getattr(self, entry.name)} is no probability above 0")

    def substitution(self, typed: str, meant: str, layout: KeyboardLayout) -> float:
        """The cost [nats, and EDIT for an error] of a letter typed for the one that was meant."""
        if typed == meant:
            return 0.0
        bare, meant_bare = base(typed), base(meant)
        if bare == meant_bare:
            return cost_of(self.accent_left_out if bare == typed else self.accent_wrong)
        distance = key_distance(layout, typed, meant)
        chance = self.near * math.exp(-max(0.0, distance**2 - 1) / self.spread)
        if sound_alike(bare, meant_bare):
            chance = max(chance, self.sound)
        return EDIT + cost_of(max(chance, self.far))

    def left_out(self, meant: str, *, is_double: bool) -> float:
        """The cost of a letter that is missing; `is_double` where the one before it is the same."""
        if meant in APOSTROPHES:
            return cost_of(self.apostrophe_left_out)
        if is_accent(meant):
            return cost_of(self.accent_left_out)
        return EDIT + cost_of(self.missing_double if is_double else self.missing)

    def put_in(self, typed: str, *, is_double: bool) -> float:
        """The cost of a letter too many."""
        if typed in APOSTROPHES:
            return cost_of(self.apostrophe_put_in)
        if is_accent(typed):
            return cost_of(self.accent_wrong)
        return EDIT + cost_of(self.extra_double if is_double else self.extra)

    @property
    def exchange(self) -> float:
        """The cost of two letters in the wrong order."""
        return EDIT + cost_of(self.transposed)


def cost_of(probability: float) -> float:
    """-ln p [nats]."""
    return -math.log(probability)

"""Two words without the space between them, and words behind an article that has lost its vowel.

"goodmorning" may be "good morning": no word begins so, but one is the first part and one begins as the rest
does, and p(left) p(right) NO_SPACE is how likely that is. In French, Italian or Catalan, "lhomme" may be
"l'homme" even where the list has "homme" alone: as often as words begin with "l'" there.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fedstill_client.keyboard.correction.as_typed import is_bare_letter
from fedstill_client.keyboard.correction.letters import base

NO_SPACE = 1 / 200
NO_APOSTROPHE = 0.6
LEAST_LETTERS, LEAST_RIGHT = 6, 3
_ELISIONS = ("l", "d", "j", "n", "s", "m", "t", "c", "qu", "un", "all", "dell", "nell", "dall", "sull")
_SEEN = 10  # words of the list that begin with an article and its apostrophe, in a language that has it
_BEFORE = frozenset("aeiouyh")
_LAST = "\U0010ffff"

Chances = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TwoWords:
    """What may have been meant: the left part as it is, and the place of the word on the right."""

    left: str
    between: str
    right: int
    chance: float


def two_words(words: Sequence[str], chances: Chances, typed: str) -> TwoWords | None:
    """The likeliest two words that `typed` may be, the second one perhaps not at its end.

    Args:
        words: The words that may be suggested, in the alphabet's order.
        chances: How likely each is.
        typed: Letters in lower case, with which no word begins.
    """
    found = [*_without_space(words, chances, typed), *_elided(words, chances, typed)]
    return max(found, key=lambda each: each.chance, default=None)


def _without_space(words: Sequence[str], chances: Chances, typed: str) -> list[TwoWords]:
    found = []
    for end in range(1, len(typed) - LEAST_RIGHT + 1) if len(typed) >= LEAST_LETTERS else ():
        left = bisect_left(words, typed[:end])
        if left == len(words) or words[left] != typed[:end] or is_bare_letter(words[left], chances[left]):
            continue
        right = _likeliest(words, chances, typed[end:])
        if right is not None:
            chance = float(chances[left] * chances[right]) * NO_SPACE
            found.append(TwoWords(words[left], " ", right, chance))
    return found


def _elided(words: Sequence[str], chances: Chances, typed: str) -> list[TwoWords]:
    found = []
    for article in _ELISIONS:
        if not typed.startswith(article):
            continue
        rest = typed[len(article) :]
        bare = rest.removeprefix("'")
        here = _beginning(words, article + "'")
        if len(bare) < LEAST_RIGHT or base(bare[0]) not in _BEFORE or here.stop - here.start < _SEEN:
            continue
        right = _likeliest(words, chances, bare)
        if right is not None:
            share = float(chances[here].sum()) * (NO_APOSTROPHE if bare == rest else 1.0)
            found.append(TwoWords(article, "'", right, share * float(chances[right])))
    return found


def _likeliest(words: Sequence[str], chances: Chances, typed: str) -> int | None:
    here = _beginning(words, typed)
    return here.start + int(chances[here].argmax()) if here.stop > here.start else None


def _beginning(words: Sequence[str], typed: str) -> slice:
    start = bisect_left(words, typed)
    return slice(start, bisect_left(words, typed + _LAST, start))

"""When the word that stands there already is suggested: a whole word is as it should be, and comes first."""

from __future__ import annotations

import unicodedata

import numpy as np
import numpy.typing as npt

WHOLE_FROM = 4
"""Letters from which on a whole word is always shown, for its owner sees that it is spelt right."""
SHORT_SHARE = 0.3  # of the least of the shown words' chance that a shorter one needs
ACCENTED_SHARE = 0.05  # the same of one whose accents or apostrophe are left out, as they often are
BARE_IN_DICTIONARY, BARE_IN_LIST = 4, 30
"""How many times as frequent a word with accents is that one without them, from there, stands for."""
BARE_LETTER = 0.005  # the chance from which on a single letter is a word
_SCRIPTS_OF_WORDS = {"CJK", "HANGUL", "HIRAGANA", "KATAKANA", "BOPOMOFO", "YI"}  # one sign may be a word

Chances = npt.NDArray[np.float64]


def with_as_typed(
    shown: list[int],
    chances: Chances,
    typed: int | None,
    *,
    letters: int,
    k: int,
    share: float = SHORT_SHARE,
) -> list[int]:
    """The places of the words to show, with the whole word that is typed first.

    A short one that is hardly ever meant, such as "wil" on the way to "will", takes nobody's place.

    Args:
        shown: Places of up to k words, the likeliest first.
        chances: Those of all words.
        typed: The place of the word that the letters are by themselves; None where they are none.
        letters: How many letters these are.
        k: How many words are shown.
        share: Of the least of the shown words' chance, what a short word needs.
    """
    if typed is None or not shown:
        return shown
    if typed not in shown and len(shown) == k:
        enough = chances[typed] >= share * chances[shown[-1]]
        if letters < 2 or (letters < WHOLE_FROM and not enough):
            return shown
    return [typed, *(place for place in shown if place != typed)][:k]


def is_bare_letter(word: str, chance: float) -> bool:
    """Whether a word is a letter of an alphabet by itself that nobody would write there."""
    if len(word) != 1 or chance >= BARE_LETTER or not unicodedata.category(word).startswith("L"):
        return False
    return unicodedata.name(word, "").partition(" ")[0] not in _SCRIPTS_OF_WORDS

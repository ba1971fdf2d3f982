"""A model of typing errors: what may have been meant, one edit away (Damerau 1964), near keys likelier.

p(typed | meant) is 1/50 for a neighbouring key, 1/100 for two transposed letters, 1/200 for a missing or an
extra letter, and 1/1000 for any other key.
"""

from __future__ import annotations

MAX_LETTERS = 24  # of a prefix that is corrected
MIN_LETTERS = 3
NEIGHBOUR, TRANSPOSED, MISSING_OR_EXTRA, OTHER_KEY = 1 / 50, 1 / 100, 1 / 200, 1 / 1000

_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")  # each half a key to the right of the one above it
LETTERS = "abcdefghijklmnopqrstuvwxyz'"


def _neighbours() -> dict[str, str]:
    places = {
        letter: (row, column + row / 2)
        for row, keys in enumerate(_ROWS)
        for column, letter in enumerate(keys)
    }
    return {
        letter: "".join(
            other
            for other, (row, column) in places.items()
            if other != letter and abs(row - places[letter][0]) <= 1 and abs(column - places[letter][1]) <= 1
        )
        for letter in places
    }


NEIGHBOURS = _neighbours()


def corrections(typed: str) -> dict[str, float]:
    """The prefixes that may have been meant by `typed` (lower case).

    Args:
        typed: The letters typed so far, in lower case.

    Returns:
        Each prefix one typing error away, with p(typed | prefix); nothing where `typed` has fewer than
        MIN_LETTERS or more than MAX_LETTERS.
    """
    if not MIN_LETTERS <= len(typed) <= MAX_LETTERS:
        return {}
    likelihoods: dict[str, float] = {}

    def propose(variant: str, likelihood: float) -> None:
        if variant != typed and likelihood > likelihoods.get(variant, 0.0):
            likelihoods[variant] = likelihood

    for place, letter in enumerate(typed):
        before, after = typed[:place], typed[place + 1 :]
        propose(before + after, MISSING_OR_EXTRA)
        for other in LETTERS:
            propose(before + other + after, NEIGHBOUR if other in NEIGHBOURS.get(letter, "") else OTHER_KEY)
            propose(before + other + letter + after, MISSING_OR_EXTRA)
        if after:
            propose(before + after[0] + letter + after[1:], TRANSPOSED)
    return likelihoods

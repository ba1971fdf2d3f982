"""What was meant by letters that slipped: one edit away (Damerau 1964), neighbouring keys the likelier.

p(typed | meant), for one slip: a neighbouring key 1/50, two letters in the other order 1/100, a letter
too few or too many 1/200, any other key 1/1000
"""

from __future__ import annotations

LONGEST = 24  # letters of what is corrected
SHORTEST = 3
NEIGHBOUR, SWAPPED, ONE_MORE_OR_LESS, OTHER_KEY = 1 / 50, 1 / 100, 1 / 200, 1 / 1000

_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")  # each half a key to the right of the one above it
LETTERS = "abcdefghijklmnopqrstuvwxyz'"


def _neighbours() -> dict[str, str]:
    places = {
        letter: (row, column + row / 2)
        for row, keys in enumerate(_ROWS)
        for column, letter in enumerate(keys)
    }
    return {
        one: "".join(
            other
            for other, (row, column) in places.items()
            if other != one and abs(row - places[one][0]) <= 1 and abs(column - places[one][1]) <= 1
        )
        for one in places
    }


NEIGHBOURS = _neighbours()


def meant(typed: str) -> dict[str, float]:
    """Beginnings that may have been meant by `typed` [lower case], and how likely each slip is."""
    if not SHORTEST <= len(typed) <= LONGEST:
        return {}
    found: dict[str, float] = {}

    def say(variant: str, chance: float) -> None:
        if variant != typed and chance > found.get(variant, 0.0):
            found[variant] = chance

    for place, letter in enumerate(typed):
        before, after = typed[:place], typed[place + 1 :]
        say(before + after, ONE_MORE_OR_LESS)
        for other in LETTERS:
            say(before + other + after, NEIGHBOUR if other in NEIGHBOURS.get(letter, "") else OTHER_KEY)
            say(before + other + letter + after, ONE_MORE_OR_LESS)
        if after:
            say(before + after[0] + letter + after[1:], SWAPPED)
    return found

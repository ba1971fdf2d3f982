"""German words with "ß", which wordfreq writes with "ss": how public text writes them, others have them, too.

wordfreq counts "große" as "grosse". What the public text writes with an ß has that back, and so have words
that begin as one of the text's does, up to its ß: who has read "groß" writes "großartig". A word that the
text writes with "ss" as often, as the Swiss do, stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping

LANGUAGE = "de"
_LEAST_STEM = 4  # letters, the ß included; two more where that is too short: "außer" ("aussehen" has none)


def with_sharp_s(general: Mapping[str, float], counts: Mapping[str, int]) -> dict[str, float]:
    """How frequent words are in general, with ß where it belongs.

    Args:
        general: Frequencies by key, as wordfreq writes them.
        counts: How often the public text has each word.
    """
    written = [word for word in counts if "ß" in word and counts[word] > counts.get(_folded(word), 0)]
    whole = {_folded(word): word for word in written}
    stems = {_folded(stem): stem for stem in map(_stem, written) if len(stem) >= _LEAST_STEM}
    found: dict[str, float] = {}
    for word, frequency in general.items():
        right = whole.get(word)
        if right is None and "ss" in word and word not in counts:
            right = _with_stem(word, stems)
        right = word if right is None else right
        found[right] = found.get(right, 0.0) + frequency
    return found


def _folded(word: str) -> str:
    return word.replace("ß", "ss")


def _stem(word: str) -> str:
    """A word up to its ß, or to two letters behind it."""
    end = word.index("ß") + 1
    return word[: end if end >= _LEAST_STEM else end + 2]


def _with_stem(word: str, stems: Mapping[str, str]) -> str | None:
    for length in range(len(word), _LEAST_STEM, -1):
        stem = stems.get(word[:length])
        if stem is not None:
            return stem + word[length:]
    return None

"""Whether a text plainly holds what a list suppresses: a second opinion, which shares nothing with the first.

Whoever checks a package or a student asks what was suggested by this, and not by the code that is to keep
it from being suggested: an error there is then found.
"""

from __future__ import annotations

import unicodedata

from fedstill_proto.package.constraints.constraints import PHRASE_WORDS, Constraints


class PlainReader:
    """Reads texts without case, accents and signs, for the entries of one list."""

    def __init__(self, constraints: Constraints) -> None:
        exact = {_written(word) for word in constraints.all_words}
        self._allowed = {_written(word) for word in constraints.allowed} - exact
        self._words = {plain: word for word in constraints.all_words if (plain := _plain(word))}
        self._sequences = [(_plain(each), each) for each in constraints.all_sequences if _plain(each)]
        self._longest = max([len(plain.split()) for plain in self._words], default=0)

    def holds(self, text: str) -> str:
        """The first entry that a text holds; "" where there is none."""
        words = [_plain(word) for word in text.split() if _written(word) not in self._allowed]
        read = " ".join(filter(None, words)).split()
        for begin in range(len(read)):
            for length in range(1, min(self._longest, PHRASE_WORDS, len(read) - begin) + 1):
                entry = self._words.get(" ".join(read[begin : begin + length]))
                if entry is not None:
                    return entry
        whole = " ".join(read)
        return next((entry for plain, entry in self._sequences if plain in whole), "")


def plainly_holds(constraints: Constraints, text: str) -> str:
    """The first entry of a list that a text holds; "" where there is none. Of many texts, keep the reader."""
    return PlainReader(constraints).holds(text)


def _written(word: str) -> str:
    return unicodedata.normalize("NFC", word.strip().casefold())


def _plain(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    letters = "".join(
        sign if unicodedata.category(sign)[0] in "LNS" or sign.isspace() else "" for sign in decomposed
    )
    return " ".join(letters.split())

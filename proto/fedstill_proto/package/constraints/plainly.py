"""Whether a text plainly holds what a list suppresses: a second opinion, which shares nothing with the first.

Whoever checks a package or a student asks what was suggested by this, and not by the code that is to keep
it from being suggested: an error there is then found.
"""

from __future__ import annotations

import unicodedata

from fedstill_proto.package.constraints.constraints import Constraints


def plainly_holds(constraints: Constraints, text: str) -> str:
    """The first entry that a text holds, read without case, accents and signs; "" where there is none."""
    exact = {_written(word) for word in constraints.all_words}
    allowed = {_written(word) for word in constraints.allowed} - exact
    words = [_plain(word) for word in text.split() if _written(word) not in allowed]
    read = f" {' '.join(filter(None, words))} "
    for entry in constraints.all_words:
        if f" {_plain(entry)} " in read:
            return entry
    return next((entry for entry in constraints.all_sequences if _plain(entry) in read), "")


def _written(word: str) -> str:
    return unicodedata.normalize("NFC", word.strip().casefold())


def _plain(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    letters = "".join(
        sign if unicodedata.category(sign)[0] in "LNS" or sign.isspace() else "" for sign in decomposed
    )
    return " ".join(letters.split())

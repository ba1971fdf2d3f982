"""A part of a text that must not be learned, and the text that such parts are looked for in."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

_HIDING = re.compile(
    "[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufe00-\ufe0f\u20e3\ufeff"
    "\u00b2\u00b3\u00b9\u2070-\u2089\u2460-\u24ff\uff01-\uff5e\U0001d400-\U0001d7ff\U000e0000-\U000e007f]"
)


def word_set(*lines: str) -> frozenset[str]:
    """The words of lines."""
    return frozenset(" ".join(lines).split())


@dataclass(frozen=True, slots=True)
class PrivatePart:
    """A part of a text that must not be learned.

    Attributes:
        begin: The character that it begins with.
        end: The character behind its last one.
        reason: What it looks like: "number", "card", "e-mail" and so on.
    """

    begin: int
    end: int
    reason: str


@dataclass(frozen=True)
class FoldedText:
    """A text with plain digits and letters in place of those that are drawn otherwise, and without signs that
    nobody sees, so that none of them hides what it is.

    Attributes:
        text: The folded text.
        places: Of each of its characters, the place in the text as written, and that of the end; None where
            nothing was folded.
    """

    text: str
    places: tuple[int, ...] | None

    @classmethod
    def of(cls, text: str) -> FoldedText:
        """Fold a text."""
        if text.isascii() or not _HIDING.search(text):
            return cls(text, None)
        folded: list[str] = []
        places: list[int] = []
        for place, sign in enumerate(text):
            if not _HIDING.match(sign):
                folded.append(sign)
                places.append(place)
            elif unicodedata.category(sign) not in ("Cf", "Mn", "Me"):
                plain = unicodedata.normalize("NFKC", sign)
                folded.append(plain)
                places += [place] * len(plain)
        return cls("".join(folded), (*places, len(text)))

    def as_written(self, parts: Iterable[PrivatePart]) -> list[PrivatePart]:
        """Parts of the folded text, as parts of the one that was written."""
        if self.places is None:
            return list(parts)
        places = self.places
        return [PrivatePart(places[part.begin], places[part.end - 1] + 1, part.reason) for part in parts]

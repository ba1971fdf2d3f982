"""Cuts a document into passages that each fit into a student's row: no vector knows what is cut off."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import regex

MOST_PASSAGES = 4096
"""Of one document."""
_PARAGRAPH = regex.compile(r"\n\s*\n")
_SENTENCE = regex.compile(r"(?<=[.!?…。！？][\"'”’)\]]*)\s+|\n+")


def passages(document: str, fits: Callable[[str], bool]) -> list[str]:
    """The passages of a document, in order: as many whole sentences of a paragraph as fit, each.

    Args:
        document: Its text.
        fits: Whether a text fits into a row. A sentence that does not is cut between words, and a word that
            does not stays whole: the student sees its beginning.
    """
    found: list[str] = []
    for paragraph in _PARAGRAPH.split(document):
        found += _joined(_pieces(paragraph, fits), fits)
    return found


def _pieces(paragraph: str, fits: Callable[[str], bool]) -> Iterator[str]:
    """Sentences that fit, and the parts of those that do not."""
    for sentence in _SENTENCE.split(paragraph):
        words = sentence.split()
        if words and fits(" ".join(words)):
            yield " ".join(words)
            continue
        while words:
            many = _most_that_fit(words, fits)
            yield " ".join(words[:many])
            words = words[many:]


def _joined(pieces: Iterator[str], fits: Callable[[str], bool]) -> Iterator[str]:
    together = ""
    for piece in pieces:
        longer = f"{together} {piece}" if together else piece
        if together and not fits(longer):
            yield together
            longer = piece
        together = longer
    if together:
        yield together


def _most_that_fit(words: list[str], fits: Callable[[str], bool]) -> int:
    """How many of the first words fit together, 1 or more, by halving."""
    least, most = 1, len(words)
    while least < most:
        middle = (least + most + 1) // 2
        least, most = (middle, most) if fits(" ".join(words[:middle])) else (least, middle - 1)
    return least

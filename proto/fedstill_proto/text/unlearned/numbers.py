"""Numbers that must not be learned: those of four digits and more, in whatever way they are grouped.

"4821", "4 821", "12-34-56", "+49 170 123 45 67", "4, 8, 2, 1". What stays: times of day (10:30)"
    ", numbers of two
parts with up to two digits each (19.99, 24/7, 10-15), decades (1990s) and sizes of pictures (1080p).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from fedstill_proto.text.unlearned.parts import PrivatePart

LEAST_DIGITS = 4
_BETWEEN = r"(?:[.,:;](?=\d)|[ \t\u00a0\u2009\u202f'’/\-‐‑–—_·)(]{1,3}+(?=\d))"
_RUN = re.compile(rf"[+(]{{0,2}}\d++(?:{_BETWEEN}\d++)*+")
_ONE_BY_ONE = re.compile(r"(?<![\w.,])\d(?:[,;.] ?\d(?!\d)){3,}+")
_TIME = re.compile(r"(?:[01]?\d|2[0-4])[:.h][0-5]\d(?::[0-5]\d)?")
_APART = r"(?:[.,/:'’\-‐‑–—_]| ?[-–—/] ?)"
_TWO_PARTS = re.compile(rf"\d{{1,2}}{_APART}\d{{1,2}}|\d{{3}}{_APART}\d|\d[-–—/]\d{{1,3}}")
_PIECE = re.compile(r"[^ \t\u00a0\u2009\u202f]+")
_LETTER = r"A-Za-z\u00aa-\u024f\u0370-\u052f"
_LETTERS = re.compile(rf"[{_LETTER}]")
_BEFORE = re.compile(rf"[{_LETTER}\d_]{{0,40}}\Z")
_BEHIND = re.compile(rf"[{_LETTER}\d_]{{0,40}}")
_ORDINARY = re.compile(r"(?:1[4-9]|20)\d0(?:['’]?s|er|erne)\b|(?:240|360|480|540|720|1080|1440|2160)[pi]\b")
_CARD_DIGITS = range(12, 20)


def private_numbers(text: str) -> Iterator[PrivatePart]:
    """The numbers of a text that must not be learned, with the letters that stand at them."""
    for match in _RUN.finditer(text):
        if match.end() - match.start() >= LEAST_DIGITS:
            for begin, end in _private_pieces(text, match.start(), match.end()):
                digits = text[begin:end]
                yield PrivatePart(*_with_letters(text, begin, end), _kind(digits))
    for match in _ONE_BY_ONE.finditer(text):
        yield PrivatePart(match.start(), match.end(), "number")


def passes_luhn(digits: str) -> bool:
    """Whether the check digit of a card's number is right (Luhn 1960, ISO/IEC 7812-1)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _private_pieces(text: str, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Where, in a run of digits, numbers stand that are too long; what is ordinary parts them from others."""
    if _is_short_pair(text[begin:end].strip("+()")):
        return
    first, last, digits = begin, begin, 0
    for piece in _PIECE.finditer(text, begin, end):
        if _is_ordinary(text, piece.start(), piece.end()):
            if digits >= LEAST_DIGITS:
                yield first, last
            digits = 0
            continue
        if not digits:
            first = piece.start()
        digits += sum(map(str.isdigit, piece.group()))
        last = piece.end()
    if digits >= LEAST_DIGITS:
        yield first, last


def _is_ordinary(text: str, begin: int, end: int) -> bool:
    piece = text[begin:end].strip("+()-–—/_·'’")
    if _TIME.fullmatch(piece) or _is_short_pair(piece):
        return True
    if end - begin < LEAST_DIGITS and (
        _LETTERS.match(text, end) or (begin and _LETTERS.match(text, begin - 1))
    ):
        return True  # user31, 64bit: no part of a longer number
    return _ORDINARY.match(text, begin) is not None


def _is_short_pair(piece: str) -> bool:
    """Whether it is two numbers with up to four digits together: 19.99, 24/7, 10 - 15."""
    return sum(map(str.isdigit, piece)) <= LEAST_DIGITS and _TWO_PARTS.fullmatch(piece) is not None


def _kind(run: str) -> str:
    digits = "".join(filter(str.isdigit, run))
    if len(digits) in _CARD_DIGITS and passes_luhn(digits):
        return "card"
    return "phone number" if run.startswith("+") and len(digits) > 6 else "number"


def _with_letters(text: str, begin: int, end: int) -> tuple[int, int]:
    """The word that a number stands in, as far as letters are told apart from words by spaces."""
    before = _BEFORE.search(text, max(0, begin - 40), begin)
    behind = _BEHIND.match(text, end)
    return (before.start() if before else begin), (behind.end() if behind else end)

"""Words as those who evade a list would have them read: without case, accents, hyphens and unseen signs.

`folded` gives the one form that an entry of a list has; `forms` all forms that a word in a text may stand
for: "D4mnnn", "d-à-m-n" and "ＤＡＭＮ" are all "damn". Letters of another script that look alike count as
Latin where they stand among Latin ones. Marks that make another letter in their script (vowel signs of Indic
scripts, say) stay. What an ordinary word loses so ("schön" is read as "schon") is for a list's `allowed`
words to say.
"""

from __future__ import annotations

import functools
import unicodedata

import regex

# Combining accents, points and strokes that people leave out; variation selectors; skin tones.
_LEFT_OUT = regex.compile(
    "[\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670\u1ab0-\u1aff\u1dc0-\u1dff"
    "\u20d0-\u20ff\ufe00-\ufe0f\ufe20-\ufe2f\U0001f3fb-\U0001f3ff\U000e0100-\U000e01ef]|\\p{Cf}"
)
_STROKES = str.maketrans({"ı": "i", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "æ": "ae", "œ": "oe", "þ": "th"})
_LOOK_ALIKE = str.maketrans("аеорсухіјѕԁԛԝвкмнтαειοκνρτυχω", "aeopcyxijsdqwbkmhtaeiokvptuxw")
_DIGITS = str.maketrans("034578", "oeastb")
JOINERS = regex.compile(r"[-'’‘ʼ＇·_.‐‑]+")
_LATIN = regex.compile(r"\p{Latin}")
_OTHER_LETTERS = regex.compile(r"[\p{Cyrillic}\p{Greek}]")
_RUN = regex.compile(r"(.)\1{2,}")


@functools.lru_cache(maxsize=1 << 16)
def folded(word: str) -> str:
    """One word or emoji in the form that an entry of a list has; "" where nothing is left of it."""
    if word.isascii():
        return str(JOINERS.sub("", word.lower()))
    plain = unicodedata.normalize("NFKD", word).casefold()
    plain = unicodedata.normalize("NFKD", plain)
    plain = JOINERS.sub("", _LEFT_OUT.sub("", plain)).translate(_STROKES)
    if _LATIN.search(plain) and _OTHER_LETTERS.search(plain):
        plain = plain.translate(_LOOK_ALIKE)
    return str(plain)


@functools.lru_cache(maxsize=1 << 16)
def forms(word: str) -> tuple[str, ...]:
    """All forms that one word may stand for, the plain one first: digits as letters, drawn-out letters once
    or twice.
    """
    found = {folded(word): None}
    for form in list(found):
        if any(map(str.isalpha, form)) and any(map(str.isdecimal, form)):
            read = form.translate(_DIGITS)
            found |= dict.fromkeys((read.replace("1", "i"), read.replace("1", "l")))
    for form in list(found):
        if _RUN.search(form):
            found |= dict.fromkeys((_RUN.sub(r"\1\1", form), _RUN.sub(r"\1", form)))
    return tuple(form for form in found if form)


def parts_of(word: str) -> list[str]:
    """The parts of a word between its hyphens, apostrophes and dots; the word where there are none."""
    parts = [part for part in JOINERS.split(word) if part]
    return parts or [word]

"""Letters that people type for one another: bare for accented ones, two for one, and those that sound alike.

Unicode's canonical decomposition (UAX 15) says which letters are a bare one and marks above or below it; what
it keeps whole ("ł", "ø", "ı", the final forms of Hebrew) is in a table here.
"""

from __future__ import annotations

import functools
import unicodedata

APOSTROPHES = "'-"
"""Signs inside words that are often left out."""

_BASES = {
    **dict(zip("ßæœøłđðþıŋħŧĸ", "saooldatinhtk", strict=True)),
    **dict(zip("ґђћєѕ", "гдчес", strict=True)),
    **dict(zip("ىةٱکیۀھےہ", "يهاكيههيه", strict=True)),
    **dict(zip("ךםןףץ", "כמנפצ", strict=True)),
    "ς": "σ",
    "ँ": "ं",
    "ð": "d",
    "þ": "t",
}
_EXPANSIONS = {
    "ß": ("ss", "sz"),
    "ä": ("ae",),
    "ö": ("oe",),
    "ü": ("ue",),
    "æ": ("ae",),
    "œ": ("oe",),
    "ø": ("oe",),
    "å": ("aa",),
    "þ": ("th",),
    "ĳ": ("ij",),
    "щ": ("шч",),
    "ё": ("йо",),
}
# Combining classes of marks that are part of the letter rather than an accent: viramas, Thai and Lao vowels
# (vowel signs of Indian scripts have class 0 and are never dropped).
_OWN_LETTERS = {0, 9, 103, 118}
# Letters of which one is written for the other by those who spell by ear.
_SOUNDS = (
    "aeiouy",
    "ck",
    "cs",
    "sz",
    "kq",
    "fv",
    "vw",
    "bv",
    "dt",
    "bp",
    "gj",
    "mn",
    "оа",
    "еиэы",
    "юу",
    "яа",
    "шщчж",
    "сзц",
    "тд",
    "гкх",
    "бпвф",
    "ієи",
    "ъь",
    "αε",
    "ιηυ",
    "οω",
    "אעה",
    "כקח",
    "תט",
    "שס",
    "بو",
    "تط",
    "سصث",
    "دضذ",
    "زظذ",
    "حهخ",
    "قك",
    "اع",
    "िी",
    "ुू",
    "ेै",
    "ोौ",
    "शषस",
    "नणञङं",
    "टत",
    "डद",
    "बव",
)
_ALIKE = {(one, other) for letters in _SOUNDS for one in letters for other in letters if one != other}


@functools.cache
def base(letter: str) -> str:
    """The bare letter of one with an accent ("é" -> "e"), or the letter itself.

    A letter of several parts that are letters each, such as a Korean syllable, is its own base.
    """
    known = _BASES.get(letter)
    if known is not None:
        return known
    parts = [part for part in unicodedata.normalize("NFD", letter) if not is_accent(part)]
    if len(parts) != 1:
        return letter
    return _BASES.get(parts[0], parts[0])


def is_accent(sign: str) -> bool:
    """Whether a sign is an accent that stands above or below a letter, niqqud and harakat included."""
    return unicodedata.combining(sign) not in _OWN_LETTERS


def is_letter(sign: str) -> bool:
    """Whether a sign is part of words that may be corrected: letters, marks on them, apostrophe, hyphen."""
    return sign in APOSTROPHES or unicodedata.category(sign)[0] in "LM"


def sound_alike(one: str, other: str) -> bool:
    """Whether one bare letter is written for the other by those who spell by ear."""
    return (one, other) in _ALIKE


def expansions(letter: str) -> tuple[str, ...]:
    """What is typed for a letter that a keyboard lacks: "ss" for "ß", "ue" for "ü"."""
    return _EXPANSIONS.get(letter, ())

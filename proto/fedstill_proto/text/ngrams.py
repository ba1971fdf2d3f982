"""The tokenizer of a student of utterances: a text becomes the numbers of hashed n-grams.

Server and devices share it, and both get the same numbers for the same text. A number stands for an n-gram
only through a hash (Weinberger et al., 2009, arXiv:0902.2206): there is no list of words to learn, to ship or
to keep secret, in any language, and a name that a user has made up has numbers of its own. Several n-grams
may share a number.

A text is folded (Unicode's NFKC, letters without their case) and split into words. Their n-grams are, in this
order and each once: the words themselves, pairs of neighbours, and runs of 3 and of 4 letters (as in
fastText: Bojanowski et al., 2016, arXiv:1607.04606), with a mark at both ends of a word. So a typing error
costs only some of the runs. What finds no place in the row is left out from the end.

    number = 1 + crc32(kind + n-gram) mod (buckets - 1)

and 0 fills the row.

Since version 2 numbers are read before that: "50%" and "fifty percent" are the same three words, "#", "50"
and "percent", and digits have no runs. Students that learned the rows of version 1 are given those.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from fedstill_proto.arrays import IntArray
from fedstill_proto.errors import InvalidValue
from fedstill_proto.text.spoken_numbers import TEXT_LIMIT as TEXT_LIMIT
from fedstill_proto.text.spoken_numbers import with_numbers_normalized

VERSION = 2
NOTHING = 0
"""The number that fills a row."""
_RUNS = (3, 4)  # letters
_BEGIN, _END = "<", ">"
_NUMBER = "#"
_MOST_WORDS = 64  # of an utterance; later ones are ignored
_WORD_LIMIT = 32  # letters of a word that its runs are taken of
# A letter by itself: scripts that put no space between words, whose words nobody can tell by looking.
_ALONE = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(f"[{_ALONE}]|[^{_ALONE}\\s]+")


@dataclass(frozen=True)
class NgramHashing:
    """How texts become rows [places] of numbers 0 to buckets - 1."""

    buckets: int = 8192
    places: int = 128
    version: int = VERSION

    def __post_init__(self) -> None:
        for name, least, most in (("buckets", 2, 1 << 20), ("places", 1, 4096), ("version", 1, VERSION)):
            value = getattr(self, name)
            if not (isinstance(value, int) and least <= value <= most):
                raise InvalidValue(name, f"{value!r} is not a whole number from {least} to {most}")

    def encode(self, text: str) -> IntArray:
        """The row of a text: int64 [places]; raises InvalidValue for one that is too long."""
        (row,) = self.encode_all([text])
        return np.asarray(row)

    def encode_all(self, texts: Iterable[str]) -> IntArray:
        """A row each: int64 [texts, places]."""
        rows = [self._numbers(text) for text in texts]
        out = np.full((len(rows), self.places), NOTHING, np.int64)
        for row, numbers in zip(out, rows, strict=True):
            row[: len(numbers)] = numbers
        return out

    def _numbers(self, text: str) -> list[int]:
        kept: dict[int, None] = {}
        for ngram in ngrams(text, version=self.version):
            kept[1 + zlib.crc32(ngram.encode()) % (self.buckets - 1)] = None
            if len(kept) == self.places:
                break
        return list(kept)


def fold(text: str) -> str:
    """The text that is read: without case, and one form for what looks alike; raises InvalidValue."""
    if len(text) > TEXT_LIMIT:
        raise InvalidValue("text", f"{len(text)} characters; an utterance has {TEXT_LIMIT} at most")
    whole = text.encode("utf-8", "ignore").decode()  # what cannot be encoded is no text
    # Folding may leave the normal form, and one character may become many.
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", whole).casefold())[: 4 * TEXT_LIMIT]


def words_of(text: str) -> list[str]:
    """The words of an utterance: letters and digits; raises InvalidValue for a text that is too long."""
    apart = "".join(sign if _is_of_word(sign) else " " for sign in fold(text))
    return _WORD.findall(apart)[:_MOST_WORDS]


def ngrams(text: str, *, version: int = VERSION) -> Iterator[str]:
    """The n-grams of a text, each behind the letter of its kind."""
    words = words_of(text) if version == 1 else _words_and_numbers(text)
    if not words:
        return
    yield from (f"w{word}" for word in words)
    bounded = ["", *words, ""]
    yield from (f"p{one} {other}" for one, other in itertools.pairwise(bounded))
    for length in _RUNS:
        for word in words:
            if version > 1 and (word == _NUMBER or word.isdecimal()):
                continue
            marked = f"{_BEGIN}{word[:_WORD_LIMIT]}{_END}"
            yield from (f"c{marked[at : at + length]}" for at in range(len(marked) - length + 1))


def _words_and_numbers(text: str) -> list[str]:
    """The words of an utterance, with "#" and the digits of each number; raises as `words_of` does."""
    words_of(text)  # refuses what is too long
    whole = unicodedata.normalize("NFC", text.encode("utf-8", "ignore").decode())[:TEXT_LIMIT]
    words: list[str] = []
    for word in words_of(with_numbers_normalized(whole)[:TEXT_LIMIT]):
        words += [_NUMBER, word] if word.isdecimal() else [word]
    return words[:_MOST_WORDS]


def _is_of_word(sign: str) -> bool:
    """Letters, digits, and the marks above and below them, which are vowels in some scripts."""
    return sign.isalnum() or unicodedata.category(sign).startswith("M")

"""What a tagger of slots reads of each word: the numbers of its hashed n-grams, and where it stands.

Server and devices share it. The numbers of a word are those of the word itself and of its runs of 3 and 4
letters, hashed as in `ngrams`; all words of a quantity have the one number of its kind, so "50%" and "fifty
percent" are alike. Beside them stand features [words, FEATURES]: whether a word begins or goes on with a
quantity of each kind, a colour's name, a room's or a thing's name that the device knows; and what is before
it. So a tagger can tell a name that nobody ever heard by the words around it, and one that the owner has
declared by that.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from fedstill_proto.arrays import FloatArray, IntArray
from fedstill_proto.errors import InvalidValue
from fedstill_proto.text.colors import MOST_COLOR_WORDS, color_of_words
from fedstill_proto.text.ngrams import TEXT_LIMIT
from fedstill_proto.text.quantities import Quantity, QuantityKind, find_quantities
from fedstill_proto.text.slots import KNOWN_WORDS_BYTES, HomeNames, SlotKind, SlotSchema, SlotSpan
from fedstill_proto.text.spoken_numbers import folded

MOST_WORDS = 64  # of an utterance; later ones have no slot
GRAMS = 24  # numbers of a word; what finds no place is left out
_RUNS = (3, 4)
_WORD_LIMIT = 32  # letters of a word that its runs are taken of
_WORD = re.compile(r"(?:[^\W_][\u0300-\u036f]*)+")
_PAUSE = re.compile(r"[,;:.!?]")
_KINDS = tuple(QuantityKind)
_COLOR, _AREA, _THING, _OTHER = (2 * (len(_KINDS) + place) for place in range(4))
_HOME, _PAUSED, _ELIDED, _FIRST, _LAST, UNKNOWN = range(_OTHER, _OTHER + 6)
FEATURES = _OTHER + 6


@dataclass(frozen=True, eq=False)
class SlotWords:
    """The words of an utterance, as a tagger reads them."""

    text: str
    places: tuple[tuple[int, int], ...]  # characters [begin, end) of each word
    quantities: tuple[Quantity, ...]
    numbers: IntArray  # [words, GRAMS]; 0 is nothing
    features: FloatArray  # [words, FEATURES]
    named: list[tuple[SlotKind, range]] = field(default_factory=list)  # words that are names of the home

    def words_of(self, begin: int, end: int) -> range:
        """The words that have a character of [begin, end)."""
        inside = [at for at, (first, last) in enumerate(self.places) if first < end and begin < last]
        return range(inside[0], inside[-1] + 1) if inside else range(0)

    def labels(self, spans: Sequence[SlotSpan], names: Sequence[str]) -> IntArray:
        """The label of each word [words]; of overlapping spans, the first counts."""
        out = np.zeros(len(self.places), np.int64)
        for span in spans:
            words = self.words_of(span.begin, span.end)
            if len(words) and not out[words.start : words.stop].any():
                slot = names.index(span.name)
                out[words.start : words.stop] = 2 + 2 * slot
                out[words.start] = 1 + 2 * slot
        return out


@dataclass(frozen=True)
class KnownNames:
    """A home's names by their words, so that they are found in an utterance."""

    areas: Mapping[tuple[str, ...], str] = field(default_factory=dict)
    things: Mapping[tuple[str, ...], str] = field(default_factory=dict)

    @classmethod
    def of_home(cls, home: HomeNames) -> KnownNames:
        return cls(*({_words(name): name for name in names} for names in (home.areas, home.things)))


def slot_words(text: str, schema: SlotSchema, *, known: KnownNames | None = None) -> SlotWords:
    """An utterance as a tagger reads it; raises InvalidValue for a text that is too long.

    Args:
        text: The utterance.
        schema: The slots: how many numbers n-grams may have, and which words are known.
        known: The names of the home, where the device knows them.
    """
    if len(text) > TEXT_LIMIT:
        raise InvalidValue("text", f"{len(text)} characters; an utterance has {TEXT_LIMIT} at most")
    found = [each for each, _ in zip(_WORD.finditer(text), range(MOST_WORDS), strict=False)]
    places = tuple((each.start(), each.end()) for each in found)
    words = [folded(each.group()) for each in found]
    quantities = tuple(find_quantities(text))
    numbers = np.zeros((len(words), GRAMS), np.int64)
    features = np.zeros((len(words), FEATURES), np.float32)
    read = SlotWords(text, places, quantities, numbers, features)
    for at, word in enumerate(words):
        row = list(dict.fromkeys(_number(gram, schema.buckets) for gram in _grams(word)))[:GRAMS]
        numbers[at, : len(row)] = row
        features[at, UNKNOWN] = bool(schema.known_words) and not _is_known(word, schema.known_words)
    for quantity in quantities:
        inside = read.words_of(quantity.begin, quantity.end)
        numbers[inside.start : inside.stop] = 0
        features[inside.start : inside.stop, UNKNOWN] = 0.0
        numbers[inside.start : inside.stop, 0] = _number(f"q{quantity.kind}", schema.buckets)
        _mark(features, inside, 2 * _KINDS.index(quantity.kind))
    for inside in _named(words, lambda part: color_of_words(part) is not None, MOST_COLOR_WORDS):
        _mark(features, inside, _COLOR)
    of_home = ((_AREA, SlotKind.AREA, known.areas), (_THING, SlotKind.NAME, known.things)) if known else ()
    for place, kind, names in of_home:
        for inside in _named(words, names.__contains__, max(map(len, names), default=0)):
            _mark(features, inside, place)
            read.named.append((kind, inside))
    for at, (begin, _) in enumerate(places):
        before = text[places[at - 1][1] if at else 0 : begin]
        features[at, _PAUSED] = bool(_PAUSE.search(before))
        features[at, _ELIDED] = any(sign in before for sign in "'’")
    if words:
        features[:, _HOME] = bool(known and (known.areas or known.things))
        features[0, _FIRST] = features[-1, _LAST] = 1.0
    return read


def known_words(texts: Iterable[str], *, least: int = 2) -> bytes:
    """The bits of the words that are there so often, for a schema."""
    counts = Counter(folded(word) for text in texts for word in _WORD.findall(text))
    bits = np.zeros(8 * KNOWN_WORDS_BYTES, bool)
    bits[[_bit(word) for word, count in counts.items() if count >= least]] = True
    return np.packbits(bits).tobytes()


def _is_known(word: str, known: bytes) -> bool:
    place = _bit(word)
    return bool(known[place // 8] & (128 >> place % 8))


def _bit(word: str) -> int:
    return zlib.crc32(f"k{word}".encode("utf-8", "ignore")) % (8 * KNOWN_WORDS_BYTES)


def _words(name: str) -> tuple[str, ...]:
    return tuple(folded(each.group()) for each in _WORD.finditer(name))


def _mark(features: FloatArray, inside: range, place: int) -> None:
    """A word that begins something, and those that go on with it."""
    features[inside.start : inside.stop, place + 1] = 1.0
    features[inside.start : inside.start + 1, place] = 1.0


def _named(words: Sequence[str], is_known: Callable[[tuple[str, ...]], bool], most: int) -> Iterator[range]:
    """The longest runs of words that are known, from the left."""
    at = 0
    while at < len(words):
        for length in range(min(most, len(words) - at), 0, -1):
            if is_known(tuple(words[at : at + length])):
                yield range(at, at + length)
                at += length
                break
        else:
            at += 1


def _grams(word: str) -> Iterator[str]:
    yield f"w{word}"
    bounded = f"<{word[:_WORD_LIMIT]}>"
    for length in _RUNS:
        yield from (f"c{bounded[at : at + length]}" for at in range(len(bounded) - length + 1))


def _number(gram: str, buckets: int) -> int:
    return 1 + zlib.crc32(gram.encode("utf-8", "ignore")) % (buckets - 1)

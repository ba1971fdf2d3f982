"""What a keyboard knows of words besides its student: a dictionary, how frequent words are, and counts.

A word is looked up by its key (`normal`). Numbers 0 to V - 1 are the student's list, V to V + D - 1 are words
of a dictionary that the student lacks, and a device numbers its owner's own new words from V + D on.

The counts are word trigrams in the smoothing of Kneser and Ney (Chen and Goodman, 1999), made of public text
on the server, pruned and quantized (Heafield, 2011, "KenLM: faster and smaller language model queries"):
after a history h, with h' = h without its first word,

    p(w | h) = share(h, w) + (1 - sum_v share(h, v)) p(w | h')

down to how frequent the word is by itself. They are mixed with the student's prediction,

    p(w | h) = weight p_student(w | h) + (1 - weight) p_counts(w | h)

by a weight for each class of histories: how long the longest one is that was seen, and how much of it the
counts leave to shorter ones.

    lexicon.safetensors    about       uint8, JSON: {"languages": ["en"], "attribution": "..."}
                           dictionary  uint8, the D keys in UTF-8, a line each
                           frequency   float16 [V + D], log of how frequent a word is, NEVER for what is none
                           mix         float32 [CLASSES], the student's weight
                           pair_*, triple_*    histories, begins, next, shares: tables of what came next
                           casing_*    how words are written, see casing.py; may be missing
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.text.casing import CaseTable
from fedstill_proto.text.vocabulary import START, UNKNOWN, WORD_LIMIT, WordList, split

FILE_NAME = "lexicon.safetensors"
FILE_LIMIT_BYTES = 32 << 20
DICTIONARY_LIMIT = 200_000  # words
COUNT_LIMIT = 4_000_000  # of next words in one table
NEVER = -100.0
"""The log frequency of an entry that is no word by itself, such as a letter or the end of a word."""
LEVELS, FREED_STEPS = 3, (0.3, 0.6)
CLASSES = 1 + (LEVELS - 1) * (len(FREED_STEPS) + 1)
"""No history was seen; the last word, with three classes of what it leaves to shorter ones; the last two."""
SHARE_STEP = 0.05  # of the log of a share, in a uint8
CASING = "casing_"

_LANGUAGES_LIMIT, _TEXT_LIMIT = 64, 4000
_WORDS_AT_ONCE = 2000
_STUDENT_WEIGHT = 0.5
_LEAST_REST = 0.01  # of the mass that a history leaves to shorter ones

Numbers = npt.NDArray[np.int64]
Chances = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FollowingWords:
    """The words after each history and their shares, in one table.

    Attributes:
        histories: int64 [H], rising; of two words first * (V + D) + second.
        begins: int64 [H + 1], where those of each history begin in the other two.
        next: int64 [n], numbers of the words that came next; those of a history rise.
        shares: float32 [n], of a history 0.99 together at most.
    """

    histories: Numbers
    begins: Numbers
    next: Numbers
    shares: npt.NDArray[np.float32]

    @classmethod
    def empty(cls) -> FollowingWords:
        none = np.zeros(0, np.int64)
        return cls(none, np.zeros(1, np.int64), none, np.zeros(0, np.float32))

    def __len__(self) -> int:
        return len(self.next)

    def after(self, history: int) -> tuple[Numbers, npt.NDArray[np.float32]] | None:
        """Next words and their shares; None where the history was not seen."""
        place = int(np.searchsorted(self.histories, history))
        if place == len(self.histories) or self.histories[place] != history:
            return None
        here = slice(int(self.begins[place]), int(self.begins[place + 1]))
        return self.next[here], self.shares[here]


@dataclass(frozen=True, eq=False)
class Lexicon:
    """Words, how frequent they are, and what public text says comes next.

    Attributes:
        languages: Such as ("en", "nl").
        dictionary: The D keys of the words that the student's list lacks.
        frequency: float16 [V + D], natural logarithms; NEVER for entries that are no words.
        pairs: What came after a word.
        triples: What came after two words.
        mix: float32 [CLASSES], the student's weight.
        attribution: Whose data it is made of, and under which terms.
        casing: How words are written; None where that is not known.
    """

    languages: tuple[str, ...]
    dictionary: tuple[str, ...]
    frequency: npt.NDArray[np.float16]
    pairs: FollowingWords = field(default_factory=FollowingWords.empty)
    triples: FollowingWords = field(default_factory=FollowingWords.empty)
    mix: npt.NDArray[np.float32] = field(
        default_factory=lambda: np.full(CLASSES, _STUDENT_WEIGHT, np.float32)
    )
    attribution: str = ""
    casing: CaseTable | None = None
    base: Chances = field(init=False, repr=False)
    """float64 [V + D] of sum 1: how frequent each word is."""
    _numbers: dict[str, int] = field(init=False, repr=False)
    _alone: npt.NDArray[np.bool_] = field(init=False, repr=False)  # [V] which entries are words
    _parts: npt.NDArray[np.bool_] = field(init=False, repr=False)  # [V] which are parts of words
    _rare: Chances = field(init=False, repr=False)  # [D] of sum 1

    def __post_init__(self) -> None:
        listed = len(self.frequency) - len(self.dictionary)
        if listed < 0:
            raise InvalidValue("frequency", f"{len(self.frequency)} values of more words")
        chances = np.exp(self.frequency.astype(np.float64))
        chances[self.frequency <= NEVER] = 0
        if not chances.sum() > 0:
            raise InvalidValue("frequency", "no word is ever used")
        object.__setattr__(self, "base", chances / chances.sum())
        object.__setattr__(self, "_numbers", {word: listed + n for n, word in enumerate(self.dictionary)})
        alone = self.frequency[:listed] > NEVER
        parts = ~alone
        parts[[UNKNOWN, START]] = False
        object.__setattr__(self, "_alone", alone)
        object.__setattr__(self, "_parts", parts)
        of_dictionary = self.base[listed:]
        object.__setattr__(self, "_rare", of_dictionary / max(of_dictionary.sum(), 1e-300))

    @property
    def words(self) -> int:
        """V + D"""
        return len(self.frequency)

    @property
    def listed(self) -> int:
        """V"""
        return len(self.frequency) - len(self.dictionary)

    def number(self, word: str) -> int | None:
        """The number, V and above, of a word of the dictionary; None for others."""
        return self._numbers.get(word)

    def stands_alone(self, number: int) -> bool:
        """Whether an entry is a word by itself, as most single letters are not."""
        return bool(self.frequency[number] > NEVER)

    def counted(self, context: Sequence[int]) -> tuple[int, Chances]:
        """What the counts say comes after numbers of words [V + D], of which the last two matter.

        Returns:
            The class of the history, 0 to CLASSES - 1, and probabilities [V + D] of sum 1.
        """
        first, second = [START, START, *context][-2:]
        chances, history_class = self.base.copy(), 0
        keys = (second, first * self.words + second)
        for level, (table, key) in enumerate(zip((self.pairs, self.triples), keys, strict=True)):
            found = table.after(key)
            if found is None:
                break
            words, shares = found
            rest = 1 - float(shares.sum(dtype=np.float64))
            chances *= rest
            chances[words] += shares
            steps = sum(rest > step for step in FREED_STEPS)
            history_class = 1 + level * (len(FREED_STEPS) + 1) + steps
        return history_class, chances

    def of_all_words(self, student: npt.NDArray[np.floating[Any]]) -> Chances:
        """The student's prediction [V] as one of all words [V + D].

        What it gives to entries that are no words by themselves (letters, ends of words) is what it gives to
        words that it lacks: the dictionary's, in proportion to how frequent they are.
        """
        chances = np.empty(self.words)
        np.multiply(student, self._alone, out=chances[: self.listed])
        np.multiply(self._rare, float(student[self._parts].sum()), out=chances[self.listed :])
        return chances

    def mixed(self, student: npt.NDArray[np.floating[Any]], context: Sequence[int]) -> Chances:
        """The student's prediction [V] after a context, mixed with the counts: [V + D] of sum 1."""
        history_class, chances = self.counted(context)
        weight = float(self.mix[history_class])
        if weight > 0:
            chances *= 1 - weight
            chances += weight * self.of_all_words(student)
            chances /= chances.sum()
        return chances

    def to_bytes(self) -> bytes:
        """lexicon.safetensors"""
        about = {"languages": list(self.languages), "attribution": self.attribution}
        casing = {} if self.casing is None else self.casing.to_arrays()
        arrays: dict[str, npt.NDArray[Any]] = {
            "about": _as_bytes(json.dumps(about, ensure_ascii=False)),
            "dictionary": _as_bytes("\n".join(self.dictionary)),
            "frequency": self.frequency.astype(np.float16),
            "mix": self.mix.astype(np.float32),
            **{CASING + name: array for name, array in casing.items()},
        }
        for name, table in (("pair", self.pairs), ("triple", self.triples)):
            arrays[f"{name}_histories"] = table.histories.astype(np.uint64 if name == "triple" else np.uint32)
            arrays[f"{name}_begins"] = table.begins.astype(np.uint32)
            arrays[f"{name}_next"] = table.next.astype(np.uint16 if self.words <= 1 << 16 else np.uint32)
            arrays[f"{name}_shares"] = quantized(table.shares)
        return bytes(safetensors.numpy.save(arrays))

    @classmethod
    def from_bytes(cls, content: bytes, words: WordList) -> Lexicon:
        """Read a lexicon.safetensors that stands beside a list of words; raises WireError."""
        if len(content) > FILE_LIMIT_BYTES:
            raise WireError(FILE_NAME, f"{len(content)} bytes, more than {FILE_LIMIT_BYTES}")
        try:
            arrays = safetensors.numpy.load(content)
        except (safetensors.SafetensorError, KeyError, ValueError, TypeError) as error:
            raise WireError(FILE_NAME, f"not a safetensors file: {error}") from None
        about = _about(arrays)
        dictionary = _dictionary(arrays, words)
        total = len(words) + len(dictionary)
        frequency = _array(arrays, "frequency", (np.float16,), length=total)
        if not np.isfinite(frequency).all() or frequency.max() > 0 or frequency.min() < NEVER:
            raise WireError(f"{FILE_NAME}: frequency", f"not all are logarithms, {NEVER} to 0")
        mix = _array(arrays, "mix", (np.float32,), length=CLASSES)
        if not ((mix >= 0) & (mix <= 1)).all():
            raise WireError(f"{FILE_NAME}: mix", "not all are weights, 0 to 1")
        try:
            return cls(
                *about[:1],
                dictionary,
                frequency,
                _following(arrays, "pair", np.uint32, total, total),
                _following(arrays, "triple", np.uint64, total, total * total),
                mix,
                about[1],
                _casing(arrays, (*words.entries, *dictionary)),
            )
        except InvalidValue as error:
            raise WireError(f"{FILE_NAME}: {error.field}", error.problem) from None


def quantized(shares: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.uint8]:
    """Codes of shares: minus their logarithms, in steps of SHARE_STEP."""
    logs = -np.log(np.maximum(shares, 1e-9)) / SHARE_STEP
    return np.asarray(np.clip(np.rint(logs), 0, 255), np.uint8)


def following(
    histories: Numbers, begins: Numbers, words: Numbers, codes: npt.NDArray[np.uint8]
) -> FollowingWords:
    """The table of codes; shares that come to more than nearly all of a history are made smaller."""
    shares = np.exp(-SHARE_STEP * codes.astype(np.float32))
    if len(histories):
        sums = np.add.reduceat(shares.astype(np.float64), begins[:-1])
        factor = np.minimum(1.0, (1 - _LEAST_REST) / sums)
        shares = (shares * np.repeat(factor, np.diff(begins))).astype(np.float32)
    return FollowingWords(histories, begins, words, shares)


def _as_bytes(text: str) -> npt.NDArray[np.uint8]:
    return np.frombuffer(text.encode(), np.uint8)


def _array(
    arrays: Mapping[str, npt.NDArray[Any]], name: str, types: tuple[type, ...], length: int | None = None
) -> npt.NDArray[Any]:
    """A vector of the file, of one of these types; raises WireError."""
    array = arrays.get(name)
    where = f"{FILE_NAME}: {name}"
    if array is None or array.ndim != 1 or array.dtype not in [np.dtype(each) for each in types]:
        raise WireError(where, f"no vector of {' or '.join(each.__name__ for each in types)}")
    if length is not None and len(array) != length:
        raise WireError(where, f"{len(array)} values, expected {length}")
    return array


def _about(arrays: Mapping[str, npt.NDArray[Any]]) -> tuple[tuple[str, ...], str]:
    where = f"{FILE_NAME}: about"
    try:
        about = json.loads(_array(arrays, "about", (np.uint8,)).tobytes())
    except (ValueError, RecursionError) as error:
        raise WireError(where, f"is no JSON: {error}") from None
    if not isinstance(about, dict):
        raise WireError(where, "is no object")
    languages, attribution = about.get("languages"), about.get("attribution")
    if (
        not isinstance(languages, list)
        or len(languages) > _LANGUAGES_LIMIT
        or not all(isinstance(each, str) and 0 < len(each) <= WORD_LIMIT for each in languages)
    ):
        raise WireError(f"{where}: languages", "is no list of languages such as en")
    if not isinstance(attribution, str) or len(attribution) > _TEXT_LIMIT:
        raise WireError(f"{where}: attribution", f"is no text of {_TEXT_LIMIT} characters at most")
    return tuple(languages), attribution


def _dictionary(arrays: Mapping[str, npt.NDArray[Any]], words: WordList) -> tuple[str, ...]:
    where = f"{FILE_NAME}: dictionary"
    try:
        text = _array(arrays, "dictionary", (np.uint8,)).tobytes().decode()
    except UnicodeDecodeError as error:
        raise WireError(where, f"is no UTF-8: {error}") from None
    found = text.split("\n") if text else []
    if len(found) > DICTIONARY_LIMIT:
        raise WireError(where, f"{len(found)} words, more than {DICTIONARY_LIMIT}")
    if len(set(found)) != len(found):
        raise WireError(where, "names a word twice")
    for begin in range(0, len(found), _WORDS_AT_ONCE):
        part = found[begin : begin + _WORDS_AT_ONCE]
        long = next((word for word in part if len(word) > WORD_LIMIT), None)
        if long is not None:
            raise WireError(where, f"{long!r:.80} has more than {WORD_LIMIT} letters")
        if split(" ".join(part)) != part:
            odd = next((word for word in part if split(word) != [word]), part[0])
            raise WireError(where, f"{odd!r:.80} is no word in lower case")
    listed = next((word for word in found if word in words), None)
    if listed is not None:
        raise WireError(where, f"{listed!r:.80} is in the student's list already")
    return tuple(found)


def _casing(arrays: Mapping[str, npt.NDArray[Any]], words: Sequence[str]) -> CaseTable | None:
    found = {name.removeprefix(CASING): array for name, array in arrays.items() if name.startswith(CASING)}
    return CaseTable.from_arrays(found, words) if found else None


def _following(
    arrays: Mapping[str, npt.NDArray[Any]], name: str, key: type, words: int, histories: int
) -> FollowingWords:
    """A table of what came next, whose numbers are all within bounds; raises WireError."""
    keys = _array(arrays, f"{name}_histories", (key,))
    begins = _array(arrays, f"{name}_begins", (np.uint32,), length=len(keys) + 1).astype(np.int64)
    next_words = _array(arrays, f"{name}_next", (np.uint16, np.uint32))
    codes = _array(arrays, f"{name}_shares", (np.uint8,), length=len(next_words))
    if len(next_words) > COUNT_LIMIT:
        raise WireError(f"{FILE_NAME}: {name}_next", f"{len(next_words)} words, more than {COUNT_LIMIT}")
    if len(keys) and not (keys[-1] < histories and (keys[1:] > keys[:-1]).all()):
        raise WireError(f"{FILE_NAME}: {name}_histories", "do not rise, or name words that are not there")
    if begins[0] != 0 or begins[-1] != len(next_words) or not (begins[1:] > begins[:-1]).all():
        raise WireError(f"{FILE_NAME}: {name}_begins", "do not rise from 0 to the end")
    followers = next_words.astype(np.int64)
    if len(followers):
        falls = np.flatnonzero(followers[1:] <= followers[:-1]) + 1
        if followers.max() >= words or not np.isin(falls, begins).all():
            raise WireError(f"{FILE_NAME}: {name}_next", "do not rise, or name words that are not there")
    return following(keys.astype(np.int64), begins, followers, codes)

"""Sentences that ask for nothing, made for a table of utterances of any kind and language.

An assistant that never heard them takes "don't turn on the light" for the wish that it denies, and "call my
mother" for the likeliest of what it knows. They are made from

    the operator's own utterances     negated, put as a question of what would be, reported, or talked about
    sentences of other topics         those that come with fedstill, without topics that the operator has
    bits                              a word or two of those, and of what everyone says

in the languages of the utterances, by the templates of nothing_asked.json. Some templates are held out:
nobody learns them, and confidence is fitted with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse
from fedstill_proto.text.ngrams import NOTHING, NgramHashing, words_of

from fedstill_server.tasks.utterances.scope.phrases import Phrases, all_phrases, language_of, language_shares

_KINDS = {"negated": 0.34, "hypothetical": 0.1, "reported": 0.16, "about": 0.05, "topics": 0.27, "bits": 0.08}
_ALIKE = 0.5  # cosine of n-grams from which on a sentence may be about the operator's own topic
_TOO_ALIKE = 0.75  # the same of a sentence of a topic that is nobody's
_OWN_TOPIC = 0.2  # the share of a topic's sentences that are alike, from which on it is the operator's
_NOBODYS = ("idioms", "plays", "family", "bits")
_LEAST_SHARE = 0.02  # of utterances in a language, for sentences in it
_COMMON = 0.4  # of bits, those of common words alone
_ASKED = 0.3  # of utterances that are no imperative, those that are reported or denied
_TRIES = 20  # draws for each sentence that is wanted


@dataclass(frozen=True)
class _Language:
    phrases: Phrases
    wishes: tuple[str, ...]
    topics: tuple[str, ...]  # templates


class Negatives:
    """Draws sentences that ask for nothing of an operator's utterances.

    said: Utterances that mean something.
    held_out: Whether the templates are those that nobody learns.
    """

    def __init__(self, said: Sequence[str], *, held_out: bool = False) -> None:
        self._own = {_key(text) for text in said}
        self._held_out = held_out
        shares = language_shares(said)
        known = {language: share for language, share in shares.items() if share >= _LEAST_SHARE}
        self._shares = known or dict.fromkeys(all_phrases(), 1.0)
        usual = max(self._shares, key=lambda language: self._shares[language])
        wishes: dict[str, list[str]] = {language: [] for language in self._shares}
        for text in said:
            language = language_of(text)
            wishes[language if language in wishes else usual].append(" ".join(text.lower().split()))
        rows = _ngram_rows(said)
        self._languages = {
            language: _Language(
                all_phrases()[language],
                tuple(dict.fromkeys(each)) or tuple(said),
                self._foreign(all_phrases()[language], rows),
            )
            for language, each in wishes.items()
        }

    def draw(self, count: int, *, seed: int) -> list[str]:
        """So many different sentences, or fewer where there are no more."""
        random = np.random.default_rng(seed)
        names = list(self._shares)
        shares = np.array([self._shares[name] for name in names])
        kinds, weights = list(_KINDS), np.array(list(_KINDS.values()))
        found: dict[str, str] = {}
        for _ in range(count * _TRIES):
            if len(found) == count:
                break
            language = self._languages[names[int(random.choice(len(names), p=shares / shares.sum()))]]
            kind = kinds[int(random.choice(len(kinds), p=weights / weights.sum()))]
            text = self._one(language, kind, random)
            key = _key(text)
            if key and key not in self._own:
                found.setdefault(key, text)
        return list(found.values())

    def _one(self, language: _Language, kind: str, random: np.random.Generator) -> str:
        phrases = language.phrases
        if kind == "topics":
            return phrases.sentence(_drawn(language.topics, random), random)
        if kind == "bits":
            if random.random() < _COMMON:
                common = sorted(phrases.common)
                return " ".join(_drawn(common, random) for _ in range(1 + int(random.integers(3))))
            return _bit(_drawn(language.topics, random), random)
        wish = _drawn(language.wishes, random)
        if kind != "about" and not phrases.is_imperative(wish):
            if random.random() >= _ASKED:
                return phrases.sentence(_drawn(language.topics, random), random)
            kind = "asked"
        templates = phrases.part(phrases.templates[kind], held_out=self._held_out)
        return phrases.around(_drawn(templates, random), wish, random)

    def _foreign(self, phrases: Phrases, own: scipy.sparse.csr_matrix) -> tuple[str, ...]:
        """Sentences of the topics that are not the operator's."""
        random, kept = np.random.default_rng(0), []
        for name, sentences in phrases.topics.items():
            filled = [phrases.sentence(each, random) for each in sentences]
            closest = np.asarray((_ngram_rows(filled) @ own.T).max(axis=1).todense()).ravel()
            if name not in _NOBODYS and (closest >= _ALIKE).mean() >= _OWN_TOPIC:
                continue
            limit = _TOO_ALIKE if name in _NOBODYS else _ALIKE
            some = [each for each, near in zip(sentences, closest, strict=True) if near < limit]
            kept += phrases.sentences(some, held_out=self._held_out) if some else []
        return tuple(kept)


def polite_wishes(
    said: Sequence[tuple[str, str]], count: int, *, seed: int, held_out: bool = False
) -> list[tuple[str, str]]:
    """Utterances put politely, which mean what they meant: what a template adds is no reason to doubt."""
    random = np.random.default_rng(seed)
    found: dict[str, str] = {}
    for _ in range(count):
        text, label = said[int(random.integers(len(said)))]
        phrases = all_phrases().get(language_of(text))
        if phrases is not None:
            templates = phrases.part(phrases.templates["polite"], held_out=held_out)
            put = phrases.around(_drawn(templates, random), " ".join(text.lower().split()), random)
            found.setdefault(put, label)
    return list(found.items())


def _drawn(choices: Sequence[str], random: np.random.Generator) -> str:
    return choices[int(random.integers(len(choices)))]


def _bit(text: str, random: np.random.Generator) -> str:
    """A word or two of a text."""
    words = text.split()
    length = 1 + int(random.integers(2))
    start = int(random.integers(max(1, len(words) - length + 1)))
    return " ".join(word for word in words[start : start + length] if "{" not in word)


def _key(text: str) -> str:
    return " ".join(words_of(text))


def _ngram_rows(texts: Sequence[str]) -> scipy.sparse.csr_matrix:
    """Sets of n-grams as rows of length 1: [texts, buckets]."""
    hashing = NgramHashing()
    numbers = np.asarray(hashing.encode_all(texts))
    row, place = np.nonzero(numbers != NOTHING)
    lengths = np.sqrt(np.maximum((numbers != NOTHING).sum(axis=1), 1))
    shape = (len(texts), hashing.buckets)
    return scipy.sparse.csr_matrix((1 / lengths[row], (row, numbers[row, place])), shape)

"""Words for sentences that ask for nothing, by language: nothing_asked.json.

    common         words by which the language of an utterance is told
    starts         words that no wish in the imperative begins with
    forms          how a verb that asks becomes another form of it: endings, longest first as they are tried
    polite         templates around a wish that leave it one
    negated, hypothetical, reported    templates around a wish after which nothing is asked
    asked          templates around a question, or another utterance that is no imperative, of the same kinds
    about          templates around a thing that somebody talks about
    topics         sentences about other things, with {slots}

A template is filled with the words of an utterance: {wish} is all of it, {first} {rest} its verb and what
follows, {middle} {last} what follows without its last word, {thing} its last words.
"""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from fedstill_proto.text.ngrams import words_of

_HELD_OUT = 3  # of so many templates one is learned by nobody, as long as others have its words
_LONGEST_THING = 3  # words
_OTHERS = 2  # templates
_FILLED = re.compile(r"\{\w+\}")
_WHOLE = "^"  # before an ending that is a whole word


@dataclass(frozen=True)
class Phrases:
    """The templates of one language."""

    language: str
    common: frozenset[str]
    starts: frozenset[str]
    forms: Mapping[str, tuple[tuple[str, ...], ...]]
    templates: Mapping[str, tuple[str, ...]]  # by kind
    slots: Mapping[str, tuple[str, ...]]
    topics: Mapping[str, tuple[str, ...]]

    def part(self, templates: Sequence[str], *, held_out: bool) -> list[str]:
        """The templates that are learned, or those that are held out, of words that others have."""
        known = [each for each in templates if all(self._used[word] > _OTHERS for word in _fixed_words(each))]
        kept = set(known[_HELD_OUT - 1 :: _HELD_OUT])
        return [each for each in templates if (each in kept) == held_out] or list(templates)

    @functools.cached_property
    def _used(self) -> Counter[str]:
        """In how many templates around an utterance each word stands."""
        templates = [template for each in self.templates.values() for template in each]
        return Counter(word for template in templates for word in _fixed_words(template))

    def sentences(self, topic: Sequence[str], *, held_out: bool) -> list[str]:
        """The sentences of a topic that are learned, or those that are held out."""
        kept = [each for at, each in enumerate(topic) if (at % _HELD_OUT == _HELD_OUT - 1) == held_out]
        return kept or list(topic)

    def is_imperative(self, wish: str) -> bool:
        """Whether an utterance begins as a wish in the imperative may."""
        return wish.split()[0].replace("\u2019", "'") not in self.starts

    def around(self, template: str, wish: str, random: np.random.Generator) -> str:
        """A template around the words of an utterance."""
        words = wish.split()
        first, rest = words[0], words[1:]
        length = max(1, min(len(words) - 1, 1 + int(random.integers(_LONGEST_THING))))
        parts = {
            **self._filled(random),
            "wish": wish,
            "first": first,
            "rest": " ".join(rest),
            "middle": " ".join(rest[:-1]),
            "last": rest[-1] if rest else "",
            "thing": " ".join(words[-length:]),
            **{name: _in_form(first, endings) for name, endings in self.forms.items()},
        }
        return " ".join(template.format_map(parts).split())

    def sentence(self, template: str, random: np.random.Generator) -> str:
        """A sentence of a topic, its slots filled."""
        return template.format_map(self._filled(random))

    def _filled(self, random: np.random.Generator) -> dict[str, str]:
        return {name: choices[int(random.integers(len(choices)))] for name, choices in self.slots.items()}


@functools.cache
def all_phrases() -> Mapping[str, Phrases]:
    """Those of all languages that there are."""
    text = (resources.files(__package__) / "nothing_asked.json").read_text(encoding="utf-8")
    return {language: _phrases(language, each) for language, each in json.loads(text).items()}


def language_shares(texts: Iterable[str]) -> dict[str, float]:
    """How much of some utterances is in each language, of those that are known; empty where none is."""
    found: Counter[str] = Counter()
    for text in texts:
        if language := language_of(text):
            found[language] += 1
    total = sum(found.values())
    return {language: count / total for language, count in found.items()}


def language_of(text: str) -> str:
    """The language whose common words an utterance has most of; empty where none has more than the others."""
    heard = words_of(text)
    counts = {name: sum(word in each.common for word in heard) for name, each in all_phrases().items()}
    best, second = sorted(counts, key=lambda name: -counts[name])[:2]
    return best if counts[best] > counts[second] else ""


def _phrases(language: str, read: dict[str, Any]) -> Phrases:
    kinds = ("polite", "negated", "hypothetical", "reported", "asked", "about")
    return Phrases(
        language,
        frozenset(read["common"]),
        frozenset(read["starts"]),
        {name: tuple(tuple(each) for each in endings) for name, endings in read["forms"].items()},
        {kind: tuple(dict.fromkeys(read[kind])) for kind in kinds},
        {name: tuple(words) for name, words in read["slots"].items()},
        {name: tuple(sentences) for name, sentences in read["topics"].items()},
    )


def _fixed_words(template: str) -> set[str]:
    """The words of a template without what is filled in."""
    return set(words_of(_FILLED.sub(" ", template)))


def _in_form(verb: str, endings: Sequence[Sequence[str]]) -> str:
    """A verb in another form: the first ending that it has is replaced."""
    for old, new, *before in endings:
        prefix = before[0] if before else ""
        if old.startswith(_WHOLE):
            if verb == old.removeprefix(_WHOLE):
                return prefix + new
        elif verb.endswith(old):
            return prefix + verb.removesuffix(old) + new
    return verb

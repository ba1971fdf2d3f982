"""Names that nobody ever heard, so that a tagger learns to tell a room or a thing by the words around it.

The text of a slot of rooms, things or free text is often replaced: by one of the same slot elsewhere in the
table, or by an invented one. An invented word is made of the beginning of one word of the table and the end
of another. An invented name is a known one of which one word stays ("zorlen room"), or the end of a long
one ("zorlzimmer"), or nothing. Free text of three words and more, as messages are, becomes a sentence about
something else in the language of the utterance, where there are such sentences; shorter free text, as what
is to be played, often a part of one. Sometimes a home's names are known, as on a device whose owner has
declared them: those of the utterance among others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from fedstill_proto.text.slots import HomeNames, SlotKind, SlotSpan

from fedstill_server.tasks.utterances.scope.phrases import all_phrases, language_of

REPLACED = (SlotKind.AREA, SlotKind.NAME, SlotKind.TEXT)
_INVENTED, _INVENTED_ROOMS, _ELSEWHERE = 0.6, 0.35, 0.2  # shares of the slots that are replaced
_WHOLE = 0.15  # of invented words, that are some word of the table
_POSSESSIVE = 0.04  # of invented words ("rosie's lamp")
_HEADED = 0.45  # of invented names, of which a part is known
_LONG, _STEM = 7, 3  # letters: of a word that has an end of its own, and before that at least
_LINKING = 3  # letters of a word between names, which stays ("de", "of"), at most
_NUMBERED = 0.04  # of invented names ("zorlen 2")
_SENTENCE = 3  # words of free text, on average, that is sentences
_FOREIGN = 0.25  # of what is said instead, that is of any language
_PART = 0.5  # of shorter free texts, that become a part of a sentence
_MOST_PART = 4  # words
_KNOWN = 0.4  # of utterances, in which the home's names are known
_DECOYS = 6  # names of the home that an utterance doesn't say, at most


@dataclass(frozen=True)
class MarkedText:
    """An utterance and its slots."""

    text: str
    spans: tuple[SlotSpan, ...]


@dataclass(frozen=True)
class Inventor:
    """Says utterances of a table anew, at other homes."""

    said: Mapping[tuple[str, str], tuple[str, ...]]  # what each slot was, by language, "" for all of them
    words: tuple[str, ...]
    sentences: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # of other things, by language

    @classmethod
    def of_table(cls, table: Sequence[MarkedText]) -> Inventor:
        said: dict[tuple[str, str], dict[str, None]] = {}
        words: dict[str, None] = {}
        for each in table:
            language = language_of(each.text)
            for span in each.spans:
                text = each.text[span.begin : span.end]
                for where in ("", language):
                    said.setdefault((span.name, where), {})[text] = None
            words |= dict.fromkeys(word for word in each.text.split() if word.isalpha() and len(word) > 3)
        sentences = {
            language: tuple(text for topic in phrases.topics.values() for text in topic)
            for language, phrases in all_phrases().items()
        }
        return cls({slot: tuple(texts) for slot, texts in said.items()}, tuple(words), sentences)

    def anew(self, utterance: MarkedText, random: np.random.Generator) -> MarkedText:
        """The utterance with some of its names replaced."""
        parts: list[str] = []
        spans = []
        done = length = 0
        language = language_of(utterance.text)
        for span in sorted(utterance.spans, key=lambda each: each.begin):
            before, text = utterance.text[done : span.begin], utterance.text[span.begin : span.end]
            text = self._other(span.name, text, language, random)
            parts += [before, text]
            begin = length + len(before)
            length = begin + len(text)
            spans.append(SlotSpan(span.name, begin, length))
            done = span.end
        return MarkedText("".join([*parts, utterance.text[done:]]), tuple(spans))

    def home(self, utterance: MarkedText, random: np.random.Generator) -> HomeNames | None:
        """Names that the device knows, or None."""
        if random.random() >= _KNOWN:
            return None
        names: dict[SlotKind, list[str]] = {SlotKind.AREA: [], SlotKind.NAME: []}
        for span in utterance.spans:
            kind = SlotKind.of_name(span.name)
            if kind in names and random.random() < 0.8:  # not everything that is said has been declared
                names[kind].append(utterance.text[span.begin : span.end])
        for (name, language), texts in self.said.items():
            kind = SlotKind.of_name(name)
            if kind in names and not language:
                chosen = random.integers(len(texts), size=int(random.integers(_DECOYS + 1)))
                names[kind] += [texts[int(at)] for at in chosen]
        areas, things = (tuple(each[:60] for each in names[kind]) for kind in names)
        return HomeNames(areas, things)

    def _other(self, slot: str, text: str, language: str, random: np.random.Generator) -> str:
        kind = SlotKind.of_name(slot)
        # Most homes have the same rooms.
        invented = _INVENTED_ROOMS if kind is SlotKind.AREA else _INVENTED
        drawn = random.random()
        if kind not in REPLACED or not self.words:
            return text
        abroad = random.random() < _FOREIGN
        said = self.said.get((slot, "" if abroad else language)) or self.said[slot, ""]
        if drawn < invented:
            like = _one_of(said, random)
            return (
                self._free_text(slot, like, language, random)
                if kind is SlotKind.TEXT
                else self._name(like, random)
            )
        if drawn < invented + _ELSEWHERE:
            return _one_of(said, random)
        return text

    def _name(self, like: str, random: np.random.Generator) -> str:
        """A name that is like a known one."""
        words = like.split()
        kept = -1
        if random.random() < _HEADED:
            if len(words) == 1:
                word = words[0]
                if len(word) < _LONG:
                    return f"{self._invented(random)} {word}"
                return self._stem(random) + word[-int(random.integers(4, len(word) - _STEM + 1)) :]
            kept = int(random.choice((0, len(words) - 1)))
        name = " ".join(
            word if at == kept or len(word) <= _LINKING else self._invented(random)
            for at, word in enumerate(words)
        )
        return f"{name} {random.integers(1, 10)}" if random.random() < _NUMBERED else name

    def _free_text(self, slot: str, like: str, language: str, random: np.random.Generator) -> str:
        texts = self.said[slot, ""]
        is_sentence = sum(len(text.split()) for text in texts) >= _SENTENCE * len(texts)
        if not is_sentence and random.random() < _FOREIGN:
            language = _one_of(tuple(self.sentences), random)  # as titles are
        known = self.sentences.get(language, ())
        if not known or not (is_sentence or random.random() < _PART):
            return " ".join(self._invented(random) for _ in like.split())
        sentence = _one_of(known, random)
        words = [
            self._invented(random) if word.startswith("{") or word.endswith("}") else word
            for word in sentence.split()
        ]
        if is_sentence and random.random() < 0.7:
            return " ".join(words)
        most = 2 * _MOST_PART if is_sentence else _MOST_PART
        length = int(random.integers(1, min(len(words), most) + 1))
        begin = int(random.integers(len(words) - length + 1))
        return " ".join(words[begin : begin + length])

    def _invented(self, random: np.random.Generator) -> str:
        """A word: of the table, or made of two of its words."""
        other = _one_of(self.words, random)
        if random.random() < _WHOLE:
            return other
        begin = int(random.integers(1, 4))
        return self._stem(random) + other[-begin - 1 :] + ("'s" if random.random() < _POSSESSIVE else "")

    def _stem(self, random: np.random.Generator) -> str:
        """The beginning of a word of the table."""
        return _one_of(self.words, random)[: int(random.integers(1, 5))]


def _one_of(texts: Sequence[str], random: np.random.Generator) -> str:
    return texts[int(random.integers(len(texts)))]

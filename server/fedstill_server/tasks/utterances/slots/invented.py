"""Names that nobody ever heard, so that a tagger learns to tell a room or a thing by the words around it.

The text of a slot of rooms, things or free text is often replaced: by one of the same slot elsewhere in the
table, or by one to three invented words, each made of the beginning of one word of the table and the end of
another. Sometimes a home's names are known, as on a device whose owner has declared them: those of the
utterance among others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from fedstill_proto.text.slots import HomeNames, SlotKind, SlotSpan

REPLACED = (SlotKind.AREA, SlotKind.NAME, SlotKind.TEXT)
_INVENTED, _INVENTED_ROOMS, _ELSEWHERE = 0.6, 0.35, 0.2  # shares of the slots that are replaced
_WHOLE = 0.15  # of invented words, that are some word of the table
_POSSESSIVE = 0.04  # of invented words ("rosie's lamp")
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

    said: dict[str, tuple[str, ...]]  # what each slot was
    words: tuple[str, ...]

    @classmethod
    def of_table(cls, table: Sequence[MarkedText]) -> Inventor:
        said: dict[str, dict[str, None]] = {}
        words: dict[str, None] = {}
        for each in table:
            for span in each.spans:
                said.setdefault(span.name, {})[each.text[span.begin : span.end]] = None
            words |= dict.fromkeys(word for word in each.text.split() if word.isalpha() and len(word) > 3)
        return cls({name: tuple(texts) for name, texts in said.items()}, tuple(words))

    def anew(self, utterance: MarkedText, random: np.random.Generator) -> MarkedText:
        """The utterance with some of its names replaced."""
        parts: list[str] = []
        spans = []
        done = length = 0
        for span in sorted(utterance.spans, key=lambda each: each.begin):
            before, text = utterance.text[done : span.begin], utterance.text[span.begin : span.end]
            text = self._other(span.name, text, random)
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
        for name, texts in self.said.items():
            kind = SlotKind.of_name(name)
            if kind in names:
                chosen = random.integers(len(texts), size=int(random.integers(_DECOYS + 1)))
                names[kind] += [texts[int(at)] for at in chosen]
        areas, things = (tuple(each[:60] for each in names[kind]) for kind in names)
        return HomeNames(areas, things)

    def _other(self, slot: str, text: str, random: np.random.Generator) -> str:
        # Most homes have the same rooms.
        invented = _INVENTED_ROOMS if SlotKind.of_name(slot) is SlotKind.AREA else _INVENTED
        drawn = random.random()
        if SlotKind.of_name(slot) not in REPLACED or not self.words:
            return text
        if drawn < invented:
            like = self.said[slot][int(random.integers(len(self.said[slot])))]
            return " ".join(self._invented(random) for _ in like.split())
        if drawn < invented + _ELSEWHERE:
            return self.said[slot][int(random.integers(len(self.said[slot])))]
        return text

    def _invented(self, random: np.random.Generator) -> str:
        """A word: of the table, or made of two of its words."""
        one, other = (self.words[int(random.integers(len(self.words)))] for _ in range(2))
        if random.random() < _WHOLE:
            return one
        cut, begin = int(random.integers(1, 5)), int(random.integers(1, 4))
        return one[:cut] + other[-begin - 1 :] + ("'s" if random.random() < _POSSESSIVE else "")

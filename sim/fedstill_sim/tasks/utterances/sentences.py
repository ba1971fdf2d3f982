"""What is said to a home: sentences drawn from the templates of Home Assistant.

The templates and their intents are those of the package home-assistant-intents, read by hassil. Hassil lists
all that a template can say, which may be millions of sentences; here one is drawn at random, a choice at
every fork.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fedstill_sim.data.fleet import FleetDataError
from fedstill_sim.tasks.utterances.homes import Home

_POLITE = 0.15  # sentences with a "please" or the like
_WORDS_OF = {"shopping_list_item": "item", "todo_list_item": "item"}
_ANYTHING = ("light", "switch", "fan", "media_player")  # kinds of thing where a template names none
_DEEPEST = 32
_PLACED = 0.35  # of the lights in marked sentences that are called by their room
_IN_WORDS = 0.5  # of the numbers in marked sentences

NOTHING = (
    *("the moon is made of cheese", "how tall is a giraffe", "i had pasta for lunch", "my sister is in rome"),
    *("who won the match", "tell me about the romans", "blue is nice", "he walked to the river"),
    *("turn on your brain", "set a good example", "turn the page please", "close friends are important"),
    *("stop being silly", "open your mind", "she played the violin", "start a new life", "run for president"),
    *("increase your knowledge", "the light of day", "good morning to you", "xylophone zwieback"),
    *("add insult to injury", "play it again sam", "cats have nine lives", "what does this word mean"),
)
"""Sentences that mean nothing to a home, though some words of theirs do."""


@dataclass(frozen=True)
class Templates:
    """The sentences of a language by intent."""

    language: str
    polite: tuple[str, ...]
    intents: dict[str, list[Any]]  # hassil's IntentData, each with sentences that have one thing in common
    _rules: dict[str, Any] = field(repr=False)
    _lists: dict[str, Any] = field(repr=False)

    @classmethod
    def load(cls, language: str) -> Templates:
        """Raises FleetDataError where the packages are not installed, or do not know the language."""
        try:
            from hassil.intents import Intents
            from home_assistant_intents import get_intents
        except ImportError as error:
            raise FleetDataError(
                f"assistant: {error.name} is not installed; its sentences come from it: "
                "pip install 'fedstill[assistant]'"
            ) from error
        known = get_intents(language)
        if known is None:
            raise FleetDataError(f"assistant: home-assistant-intents knows no language {language!r}")
        parsed = Intents.from_dict(known)
        return cls(
            language,
            tuple(known.get("skip_words", ())),
            {name: list(intent.data) for name, intent in parsed.intents.items()},
            dict(parsed.expansion_rules),
            dict(parsed.slot_lists),
        )

    def say(self, intent: str, home: Home, random: np.random.Generator) -> str:
        """One sentence that means `intent` at this home, in lower case."""
        blocks = self.intents[intent]
        block = blocks[int(random.integers(len(blocks)))]
        sentence = block.sentences[int(random.integers(len(block.sentences)))]
        return self.fill(block, sentence, home, random)

    def say_marked(self, intent: str, home: Home, random: np.random.Generator) -> str:
        """One sentence that means `intent`, with the words of the templates' slots marked: [light](name).

        What stands for a number is marked with it: [fifty](brightness=50).
        """
        blocks = self.intents[intent]
        block = blocks[int(random.integers(len(blocks)))]
        sentence = block.sentences[int(random.integers(len(block.sentences)))]
        return self.fill(block, sentence, home, random, marked=True)

    def by_kind(self) -> dict[str, list[tuple[Any, Any]]]:
        """The blocks and sentences by intent, and by kind of thing where it is about one kind."""
        found: dict[str, list[tuple[Any, Any]]] = {}
        for name, blocks in self.intents.items():
            for block in blocks:
                asked = block.slots.get("domain") or block.requires_context.get("domain") or ()
                kinds = [asked] if isinstance(asked, str) else list(asked)
                kind = f"{name}, {kinds[0]}" if len(kinds) == 1 else name
                found.setdefault(kind, []).extend((block, sentence) for sentence in block.sentences)
        return found

    def fill(
        self, block: Any, sentence: Any, home: Home, random: np.random.Generator, *, marked: bool = False
    ) -> str:
        """One text of a sentence's template; marked: with the words of its slots, as in `say_marked`."""
        text = _Speaker(self, block, home, random, marked).say(sentence.expression)
        if self.polite and random.random() < _POLITE:
            word = self.polite[int(random.integers(len(self.polite)))]
            text = f"{word} {text}" if random.random() < 0.5 else f"{text} {word}"
        return " ".join(text.lower().split())


def in_words(number: float, language: str) -> str:
    """A number as Unicode's rules spell it in a language."""
    return str(_speller(language).format_number(number).text)


@functools.cache
def _speller(language: str) -> Any:
    from unicode_rbnf import RbnfEngine

    return RbnfEngine.for_language(language)


@dataclass
class _Speaker:
    """Walks one sentence's template."""

    templates: Templates
    block: Any
    home: Home
    random: np.random.Generator
    marked: bool = False

    def say(self, part: Any, depth: int = 0) -> str:
        from hassil.expression import Alternative, Group, ListReference, Permutation, RuleReference, TextChunk

        if depth > _DEEPEST:
            raise FleetDataError(f"assistant: a rule of {self.templates.language!r} refers to itself")
        if isinstance(part, TextChunk):
            return part.original_text
        if isinstance(part, Alternative):
            return self.say(part.items[self._draw(len(part.items))], depth + 1)
        if isinstance(part, Permutation):
            order = self.random.permutation(len(part.items))
            return " ".join(self.say(part.items[int(at)], depth + 1) for at in order)
        if isinstance(part, Group):
            return "".join(self.say(item, depth + 1) for item in part.items)
        if isinstance(part, RuleReference):
            rules = {**self.templates._rules, **self.block.expansion_rules}
            return self.say(rules[part.rule_name].expression, depth + 1)
        assert isinstance(part, ListReference)
        return self._word(part.list_name, depth)

    def _word(self, slot: str, depth: int) -> str:
        """A word for a slot: the home's own, else one of the template's list; marked, where it is asked."""
        said, number = self._said(slot, depth)
        if not self.marked:
            return said
        is_light = slot == "name" and said in self.home.things["light"]
        if is_light and self.home.placed and self.random.random() < _PLACED:
            place = self.home.placed[self._draw(len(self.home.placed))]
            area = self.home.words["area"][self._draw(len(self.home.words["area"]))]
            return place.format(area=f"[{area}](area)")
        return f"[{said}]({slot})" if number is None else f"[{said}]({slot}={number})"

    def _said(self, slot: str, depth: int) -> tuple[str, float | None]:
        """A word for a slot, and the number that it stands for."""
        from hassil.intents import RangeSlotList, TextSlotList

        words = self._names() if slot == "name" else self.home.words.get(_WORDS_OF.get(slot, slot))
        if words:
            return words[self._draw(len(words))], None
        known = self.block.slot_lists.get(slot) or self.templates._lists.get(slot)
        if isinstance(known, RangeSlotList):
            numbers = list(known.get_numbers())
            number = numbers[self._draw(len(numbers))]
            if self.marked and self.random.random() < _IN_WORDS:
                return in_words(number, self.templates.language), number
            return str(number), number
        if isinstance(known, TextSlotList) and known.values:
            return self.say(known.values[self._draw(len(known.values))].text_in, depth + 1), None
        raise FleetDataError(
            f"assistant: nothing is known to say for {{{slot}}} in {self.templates.language!r}; "
            "add it to homes.json"
        )

    def _names(self) -> tuple[str, ...]:
        """The names of things at home which the sentence may be about."""
        asked = self.block.requires_context.get("domain") or self.block.name_domains or _ANYTHING
        kinds = [asked] if isinstance(asked, str) else sorted(asked)
        names = tuple(name for kind in kinds for name in self.home.things.get(kind, ()))
        return names or tuple(name for kind in _ANYTHING for name in self.home.things[kind])

    def _draw(self, choices: int) -> int:
        return int(self.random.integers(choices))

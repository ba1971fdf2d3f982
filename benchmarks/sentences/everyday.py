"""Everyday English sentences by a small grammar: what people do, want, ask and read in the news.

No sentence stands anywhere; the words and phrases are in everyday_words.json.
"""

from __future__ import annotations

import json
import re
from importlib import resources

import numpy as np

PATTERNS = (
    "{people} {be} {doing}",
    "{people} {be} {doing} {places}",
    "{people} {be} {doing} {places} {times}",
    "{people} {be} not {doing}",
    "{animals} {be} {animal_doing}",
    "{be} {people} {doing}?",
    "{things} is {qualities}",
    "{things} is not {qualities} but {qualities}",
    "{people} {done} {things} {times}",
    "{people} {done} {things} {places}",
    "I want to {wishes}",
    "how can I {wishes}?",
    "she does not want to {wishes} {times}",
    "what do you think about {topics}?",
    "{people} talked about {topics} and {topics}",
    "he is {feelings} {links} {news}",
    "{people} {be} {feelings}",
    "{news} {links} {news}",
    "{news} {times}",
    "do you know when {news}?",
    "where is {things}?",
    "please {offers} me {things}",
    "there is a {qualities} {kinds} {places}",
    "{topics} is more important than {topics}",
)
_SLOT = re.compile(r"\{(\w+)\}")
_MANY = ("two ", "some ", "several ", "our neighbours", "the police", "the birds")
_ENDINGS = (".", ".", "", "")


def words() -> dict[str, list[str]]:
    """The phrases of each slot."""
    text = resources.files(__package__).joinpath("everyday_words.json").read_text()
    lists: dict[str, list[str]] = json.loads(text)
    return lists


def everyday_sentences(count: int, random: np.random.Generator) -> list[str]:
    """So many sentences; some may be equal."""
    lists = words()

    def one(slot: str) -> str:
        return lists[slot][random.integers(len(lists[slot]))]

    def sentence() -> str:
        pattern = PATTERNS[random.integers(len(PATTERNS))]
        who = one("animals" if "{animals}" in pattern else "people")
        kept = {"people": who, "animals": who, "be": "are" if who.startswith(_MANY) else "is"}
        # A slot that stands twice is drawn twice, but for who does something.
        said = _SLOT.sub(lambda slot: kept.get(slot[1]) or one(slot[1]), pattern)
        said = said[0].upper() + said[1:]
        return said if said.endswith("?") else said + _ENDINGS[random.integers(len(_ENDINGS))]

    return [sentence() for _ in range(count)]

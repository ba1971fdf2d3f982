"""How much a keyboard's suggestions are worth to someone who types a text.

A person types each word with the suggestions in sight, and takes the right one as soon as it is among the k
shown: one keystroke, which types the space behind it, too. No marks are suggested, they are typed; how well
words and marks together are foreseen is a figure of its own, for other people's numbers are often that one.
Tags that stand for names in public collections (user12), and addresses, are typed without being counted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np
from fedstill_client.keyboard.suggester import Scores, Suggester
from fedstill_proto.text.vocabulary import UNKNOWN, is_word, split

SHOWN = 3
_LETTERS_OF_NEW_WORDS = 2
_NEARLY_SHOWN = SHOWN + 3  # places in rank from which on a word may be shown, if others give way
_TAG = re.compile(r"user\d+|.*(://|@).*|www\..*|https?|<.*>")
_POINT = 0.01 + 1e-9  # a difference of a point itself is not over a point, however it is rounded


@dataclass(frozen=True)
class Tally:
    """Counts over typed texts; the sum of two tallies is that of both texts."""

    words: int = 0
    first: int = 0  # words that stood first before a letter was typed
    shown: int = 0  # ... or among those shown
    tokens: int = 0  # words and marks
    token_first: int = 0
    token_shown: int = 0  # ... among the three likeliest words and marks
    listed: int = 0  # words and marks that the word list has
    listed_nats: float = 0.0  # their -log p
    letters: int = 0  # of words, with the space behind each, and marks
    keystrokes: int = 0
    new: int = 0  # words that the list lacks, with more than two letters
    new_shown: int = 0  # ... that are shown behind their first two

    def __add__(self, other: Tally) -> Tally:
        return Tally(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(Tally)))

    @property
    def top1(self) -> float:
        return self.first / max(self.words, 1)

    @property
    def top3(self) -> float:
        return self.shown / max(self.words, 1)

    @property
    def token_top1(self) -> float:
        return self.token_first / max(self.tokens, 1)

    @property
    def token_top3(self) -> float:
        return self.token_shown / max(self.tokens, 1)

    @property
    def perplexity(self) -> float:
        """Perplexity over the words and marks that the list has."""
        return math.exp(min(self.listed_nats / max(self.listed, 1), 700.0))

    @property
    def keystrokes_saved(self) -> float:
        return 1 - self.keystrokes / self.letters if self.letters else 0.0

    @property
    def new_word_recall(self) -> float:
        return self.new_shown / max(self.new, 1)


def measure(suggester: Suggester, texts: Iterable[str], *, observes: bool = False) -> Tally:
    """Type the texts with a suggester.

    observes: it counts each text as soon as that is typed, as an agent does.
    """
    total = Tally()
    for text in texts:
        tokens = split(text)
        for place, (token, student) in enumerate(suggester.along(tokens)):
            if _TAG.fullmatch(token):
                continue
            chances = suggester.interpolated(tokens[:place], student)
            total += _of_token(suggester, token, chances)
        if observes:
            suggester.observe(text)
    return total


def _of_token(suggester: Suggester, token: str, chances: Scores) -> Tally:
    seen = _as_token(suggester, token, chances)
    if not is_word(token):
        return seen + Tally(letters=1, keystrokes=1)
    scores, at = suggester.by_alphabet(chances), suggester.place(token)
    rank = len(scores) if at is None else _rank(scores, at)
    typed = 0 if rank < SHOWN else _letters_typed(suggester, token, scores, at)
    new = int(token not in suggester.word_list and len(token) > _LETTERS_OF_NEW_WORDS)
    return seen + Tally(
        words=1,
        first=int(rank == 0),
        shown=int(rank < SHOWN),
        letters=len(token) + 1,
        keystrokes=typed + 1,
        new=new,
        new_shown=int(new and typed <= _LETTERS_OF_NEW_WORDS),
    )


def _as_token(suggester: Suggester, token: str, chances: Scores) -> Tally:
    """The tally of one word or mark among all that the list has and all that the device has typed."""
    number = suggester.ngrams.number(token)
    if number == UNKNOWN:
        return Tally(tokens=1)
    rank, lexicon = _rank(chances, number), suggester.ngrams.lexicon
    # A letter that the list has to spell with is no word of a lexicon.
    alone = lexicon is None or number >= lexicon.words or lexicon.stands_alone(number)
    listed = int(token in suggester.word_list and alone)
    nats = -math.log(max(float(chances[number]), 1e-300)) if listed else 0.0
    return Tally(
        tokens=1,
        token_first=int(rank == 0),
        token_shown=int(rank < SHOWN),
        listed=listed,
        listed_nats=nats,
    )


def _rank(scores: Scores, at: int) -> int:
    """How many stand before this one; of equals, the first."""
    return int((scores > scores[at]).sum() + (scores[:at] == scores[at]).sum())


def _letters_typed(suggester: Suggester, word: str, scores: Scores, at: int | None) -> int:
    """Letters of a word that are typed until it is shown, all where it never is."""
    if at is not None:
        own = suggester.is_own(at)  # which may have a place of its own
        for typed in range(1, len(word)):
            here = suggester.with_prefix(word[:typed])
            if not own and (scores[here] > scores[at]).sum() >= _NEARLY_SHOWN:
                continue
            if at in suggester.shown(scores, word[:typed], SHOWN):
                return typed
    return len(word)


@dataclass(frozen=True)
class Change:
    """A figure after against before, over devices: the mean difference, and its 95 % interval."""

    mean: float
    low: float
    high: float
    better: float  # share of devices that gain over a point
    worse: float  # share of devices that lose over a point


def changed(before: Sequence[float], after: Sequence[float]) -> Change:
    """How a share (0 to 1) changed over devices: the mean difference and its 95 % interval."""
    differences = np.array(after) - np.array(before)
    mean, devices = float(differences.mean()), len(differences)
    half = 1.96 * float(differences.std(ddof=1)) / math.sqrt(devices) if devices > 1 else math.inf
    return Change(
        mean,
        mean - half,
        mean + half,
        better=float((differences > _POINT).mean()),
        worse=float((differences < -_POINT).mean()),
    )

"""Asks a keyboard for what it must never suggest: behind contexts that call for it, and with its own letters.

The contexts are none, the beginnings of suppressed phrases, the words before suppressed ones in the owner's
texts, and a few of those texts; the letters are the beginnings of suppressed words, and these with two
letters exchanged. What is suggested is judged by `PlainReader`, which is not what keeps it from being
suggested.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

from fedstill_proto.package.constraints.constraints import Constraints
from fedstill_proto.package.constraints.plainly import PlainReader
from fedstill_proto.text.vocabulary import is_word, split

from fedstill_client.keyboard.suggester import MOST_SUGGESTIONS, Suggester

MOST_PROBES = 200
_FEW_TEXTS, _CONTEXT_WORDS = 20, 4
_SEED = 0x70726F62


def suppressed_suggestions(
    suggester: Suggester, constraints: Constraints, texts: Iterable[str] = (), *, most: int = MOST_PROBES
) -> list[str]:
    """What a keyboard suggests though it must not, as "context | letters: word (entry)"; else empty.

    Args:
        suggester: The keyboard.
        constraints: What its package suppresses.
        texts: Texts of the owner's.
        most: Questions at most; of more, some are drawn by a fixed seed.
    """
    if not constraints.concerns_text:
        return []
    probes = list(dict.fromkeys(_probes(suggester, constraints, list(texts))))
    if len(probes) > most:
        probes = random.Random(_SEED).sample(probes, most)
    found, plain = [], PlainReader(constraints)
    for context, letters in probes:
        before = [token for token in split(context) if is_word(token)]
        own = plain.holds(context)
        for each in suggester.suggest(context, letters, MOST_SUGGESTIONS):
            entry = plain.holds(each.word)
            if not entry and not own:
                entry = plain.holds(" ".join([*before, each.word]))
            if entry:
                found.append(f"{context} | {letters}: {each.word} ({entry})")
    return found


def _probes(suggester: Suggester, constraints: Constraints, texts: list[str]) -> Iterator[tuple[str, str]]:
    """Contexts and letters, those that call for suppressed words the most first."""
    suppressor = suggester.ngrams.suppressor
    for entry in constraints.all_words:
        *before, last = entry.split()
        context = " ".join(before)
        yield context, ""
        for end in range(1, len(last) + 1):
            yield context, last[:end]
        if len(last) > 3:
            yield context, f"{last[0]}{last[2]}{last[1]}{last[3:]}"
        if before:
            yield " ".join(before[:-1]), f"{before[-1]}{last}"
    for entry in constraints.all_sequences:
        yield "", entry.split()[-1]
    for text in texts:
        words = [token for token in split(text) if is_word(token)]
        for place, word in enumerate(words):
            if suppressor.word(word):
                yield " ".join(words[max(0, place - _CONTEXT_WORDS) : place]), ""
                yield " ".join(words[max(0, place - _CONTEXT_WORDS) : place]), word[:2]
    for text in texts[:_FEW_TEXTS]:
        yield text, ""
    yield "", ""

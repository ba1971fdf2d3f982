"""What typing errors cost: is the word that was meant among three suggestions, and how long does that take.

    python benchmarks/corrections.py                        # en de fr es nl ru, 30,000 words each
    python benchmarks/corrections.py --languages de --words 60000

Words of wordfreq (its data is CC BY-SA 4.0) are drawn as often as they are used, and mistyped on the
language's keyboard: neighbouring and other keys, letters that are missing, doubled, too many or in the wrong
order, one error in each word and two in one long word of five. Beside them stand misspellings that people are
known for (misspellings.json). Only a word's frequency and its letters count, as if no word stood before it.

    all         the whole mistyped word is there
    two less    all but its last two letters are

    noisy channel   what a device does (client/fedstill_client/keyboard/correction)
    one edit        one error in a beginning, by fixed shares, of QWERTY's letters alone: as before
    symspell        symspellpy's look-up of whole words, two edits: the nearest, then the most frequent
    edit distance   rapidfuzz's distance of beginnings, two edits: the nearest, then the most frequent
"""

from __future__ import annotations

import argparse
import json
import string
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fedstill_client.keyboard.correction.as_typed import with_as_typed
from fedstill_client.keyboard.correction.channel import Channel
from fedstill_client.keyboard.correction.corrector import Corrector
from fedstill_client.keyboard.correction.layouts import KeyboardLayout, key_distance, layout_of_languages

LANGUAGES = ("en", "de", "fr", "es", "nl", "ru")
SHOWN, LEAST_LETTERS, LONG = 3, 4, 7
_MISSPELLINGS = Path(__file__).with_name("misspellings.json")

Suggest = Callable[[str], Sequence[str]]


@dataclass(frozen=True)
class Words:
    """The words of a language in the alphabet's order, and how frequent each is."""

    words: list[str]
    chances: np.ndarray

    @classmethod
    def of(cls, language: str, size: int) -> Words:
        import wordfreq

        words = sorted(wordfreq.top_n_list(language, size))
        return cls(words, np.array([wordfreq.word_frequency(word, language) for word in words]))

    def place(self, word: str) -> int | None:
        at = bisect_left(self.words, word)
        return at if at < len(self.words) and self.words[at] == word else None

    def best(self, places: np.ndarray, order: np.ndarray) -> list[str]:
        chosen = places[np.argsort(-order, kind="stable")[:SHOWN]]
        return [self.words[place] for place in chosen]


def mistyped(word: str, layout: KeyboardLayout, rng: np.random.Generator) -> str:
    """A word with one typing error in it, as a keyboard brings them about."""
    letters = sorted(set("".join(layout.keys)) - set("'-"))
    near = {
        key: [other for other in letters if 0 < key_distance(layout, key, other) < 1.3] for key in set(word)
    }
    place = int(rng.integers(1 if rng.random() < 0.8 else 0, len(word)))
    before, letter, after = word[:place], word[place], word[place + 1 :]
    kind = rng.choice(
        ["near", "other", "missing", "double", "extra", "swapped"], p=[0.35, 0.05, 0.2, 0.1, 0.1, 0.2]
    )
    if kind == "near" and near[letter]:
        return before + str(rng.choice(near[letter])) + after
    if kind == "other":
        return before + str(rng.choice(letters)) + after
    if kind == "double":
        return before + letter + letter + after
    if kind == "extra" and near[letter]:
        return before + letter + str(rng.choice(near[letter])) + after
    if kind == "swapped" and after:
        return before + after[0] + letter + after[1:]
    return before + after


def errors(words: Words, layout: KeyboardLayout, count: int, *, seed: int) -> list[tuple[str, str]]:
    """Pairs of what is typed and what is meant; no pair is typed right, or is another word."""
    rng = np.random.default_rng(seed)
    long = np.array([len(word) >= LEAST_LETTERS and word.isalpha() for word in words.words])
    shares = words.chances * long
    pairs: list[tuple[str, str]] = []
    until = np.cumsum(shares / shares.sum())
    while len(pairs) < count:
        meant = words.words[int(np.searchsorted(until, rng.random()))]
        typed = mistyped(meant, layout, rng)
        if len(meant) >= LONG and rng.random() < 0.2:
            typed = mistyped(typed, layout, rng)
        if typed != meant and words.place(typed) is None:
            pairs.append((typed, meant))
    return pairs


def noisy_channel(words: Words, layout: KeyboardLayout, channel: Channel | None = None) -> Suggest:
    corrector = Corrector(words.words, channel)

    def suggest(typed: str) -> list[str]:
        meant = corrector.meant(typed, layout)
        chances = np.zeros(len(words.words))
        chances[meant.places] = words.chances[meant.places] * meant.likelihoods
        best = meant.places[np.argsort(-chances[meant.places], kind="stable")[:SHOWN]].tolist()
        shown = with_as_typed(best, chances, words.place(typed), letters=len(typed), k=SHOWN)
        return [words.words[place] for place in shown]

    return suggest


def one_edit(words: Words) -> Suggest:
    rows = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
    keys = {key: (row, column + row / 2) for row, line in enumerate(rows) for column, key in enumerate(line)}

    def near(one: str, other: str) -> bool:
        here, there = keys.get(one), keys.get(other)
        return (
            here is not None
            and there is not None
            and max(abs(here[0] - there[0]), abs(here[1] - there[1])) <= 1
        )

    def variants(typed: str) -> dict[str, float]:
        found: dict[str, float] = {}

        def propose(variant: str, chance: float) -> None:
            found[variant] = max(chance, found.get(variant, 0.0))

        for place, letter in enumerate(typed):
            before, after = typed[:place], typed[place + 1 :]
            propose(before + after, 1 / 200)
            for other in string.ascii_lowercase + "'":
                propose(before + other + after, 1 / 50 if near(letter, other) else 1 / 1000)
                propose(before + other + letter + after, 1 / 200)
            if after:
                propose(before + after[0] + letter + after[1:], 1 / 100)
        return found | {typed: 1.0}

    def suggest(typed: str) -> list[str]:
        best: dict[int, float] = {}
        for variant, chance in (variants(typed) if len(typed) >= 3 else {typed: 1.0}).items():
            start = bisect_left(words.words, variant)
            stop = bisect_left(words.words, variant + "\U0010ffff", start)
            here = words.chances[start:stop]
            for at in np.argsort(-here, kind="stable")[:SHOWN].tolist():
                best[start + at] = max(best.get(start + at, 0.0), float(here[at]) * chance)
        return [words.words[place] for place in sorted(best, key=lambda at: -best[at])[:SHOWN]]

    return suggest


def symspell(words: Words) -> Suggest:
    from symspellpy import SymSpell, Verbosity

    index = SymSpell(max_dictionary_edit_distance=2)
    for word, chance in zip(words.words, words.chances, strict=True):
        index.create_dictionary_entry(word, max(1, int(chance * 1e9)))
    return lambda typed: [each.term for each in index.lookup(typed, Verbosity.ALL, 2)[:SHOWN]]


def edit_distance(words: Words) -> Suggest:
    from rapidfuzz import process
    from rapidfuzz.distance import OSA

    def suggest(typed: str) -> list[str]:
        beginnings = [word[: len(typed)] for word in words.words]
        distances = process.cdist([typed], beginnings, scorer=OSA.distance, score_cutoff=2)[0]
        places = np.flatnonzero(distances <= 2)
        return words.best(places, words.chances[places] - distances[places])

    return suggest


def share(suggest: Suggest, pairs: Sequence[tuple[str, str]], *, less: int = 0) -> float:
    """The share of pairs whose meant word is shown once all letters but the `less` last ones are typed."""
    kept = [(typed[: len(typed) - less], meant) for typed, meant in pairs if len(typed) - less >= 3]
    return sum(meant in suggest(typed) for typed, meant in kept) / max(1, len(kept))


def times_ms(suggest: Suggest, pairs: Sequence[tuple[str, str]]) -> tuple[float, float]:
    """The median and the 99th percentile of a call, after each letter from the third on [ms]."""
    typed = [word[:length] for word, _ in pairs for length in range(3, len(word) + 1)]
    spent = []
    for letters in typed:
        begun = time.process_time_ns()
        suggest(letters)
        spent.append((time.process_time_ns() - begun) / 1e6)
    return float(np.median(spent)), float(np.percentile(spent, 99))


def misspellings(words: Words, language: str) -> list[tuple[str, str]]:
    """Those of a language whose right spelling is among the words, and that are none of them."""
    known = json.loads(_MISSPELLINGS.read_text("utf-8")).get(language, {})
    return [pair for pair in known.items() if words.place(pair[1]) is not None]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--languages", nargs="+", default=LANGUAGES)
    parser.add_argument("--words", type=int, default=30_000)
    parser.add_argument("--errors", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", help="some of the systems, by name")
    given = parser.parse_args()
    print(f"{'':4}{'':15}{'generated errors':>20}{'misspellings':>20}{'ms of a call':>18}{'index':>8}")
    print(f"{'':4}{'':15}{'all':>10}{'two less':>10}{'all':>10}{'two less':>10}{'p50':>9}{'p99':>9}{'s':>8}")
    for language in given.languages:
        words = Words.of(language, given.words)
        layout = layout_of_languages([language])
        pairs, known = errors(words, layout, given.errors, seed=given.seed), misspellings(words, language)
        systems: dict[str, Callable[[], Suggest]] = {
            "noisy channel": lambda words=words, layout=layout: noisy_channel(words, layout),
            "one edit": lambda words=words: one_edit(words),
            "symspell": lambda words=words: symspell(words),
            "edit distance": lambda words=words: edit_distance(words),
        }
        for name, make in systems.items():
            if given.only and name not in given.only:
                continue
            begun = time.process_time()
            suggest = make()
            index_s = time.process_time() - begun
            shares = [share(suggest, each, less=less) for each in (pairs, known) for less in (0, 2)]
            p50, p99 = times_ms(suggest, pairs[:60])
            figures = "".join(f"{100 * value:10.1f}" for value in shares)
            print(f"{language:4}{name:15}{figures}{p50:9.2f}{p99:9.2f}{index_s:8.2f}", flush=True)


if __name__ == "__main__":
    main()

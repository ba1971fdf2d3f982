"""Pairs of sentences that judge a sentence model, none of which it was distilled from.

graded          pairs of everyday sentences, graded by hand from 0 (nothing in common) to 5 (the same said
                otherwise) for this benchmark; three pairs or so to a first sentence
documentation   the first sentence of a docstring with the paragraph behind it, or with that of another
                docstring of the same package; packages that gathered.py does not read
homes           two utterances of Home Assistant's templates, of one intent or of two, at another home than
                the one whose utterances were distilled from
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources

import numpy as np
from fedstill_sim.tasks.utterances.homes import other_home
from fedstill_sim.tasks.utterances.sentences import Templates
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from benchmarks.sentences.gathered import docstrings, paragraphs

PACKAGES = ("networkx", "jsonschema", "docutils", "markdown", "sklearn", "websockets")


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldOutPairs:
    """Pairs, and what is true of them.

    Attributes:
        name: Of the set.
        measure: "Spearman", of grades, or "AUC", where a pair belongs together (1) or not (0).
        first: The first text of each pair.
        second: The other.
        truth: The grade of each [pairs].
        group: Which pairs are drawn together when they are drawn again [pairs].
    """

    name: str
    measure: str
    first: tuple[str, ...]
    second: tuple[str, ...]
    truth: NDArray[np.float64]
    group: NDArray[np.int64]

    def score(self, cosines: NDArray[np.float64], rows: NDArray[np.int64] | None = None) -> float:
        """How well cosines [pairs] tell the truth, of all pairs or of those in `rows`."""
        if rows is not None:
            cosines = cosines[rows]
        truth = self.truth if rows is None else self.truth[rows]
        if self.measure == "AUC":
            return float(roc_auc_score(truth, cosines))
        return float(spearmanr(truth, cosines).statistic)

    def drawn(self, random: np.random.Generator) -> NDArray[np.int64]:
        """The pairs of as many groups, drawn with replacement."""
        members = [np.flatnonzero(self.group == group) for group in np.unique(self.group)]
        return np.concatenate([members[at] for at in random.integers(len(members), size=len(members))])


def graded_pairs() -> HeldOutPairs:
    text = resources.files(__package__).joinpath("graded_pairs.tsv").read_text()
    rows = [line.split("\t") for line in text.splitlines()]
    anchors = {first: number for number, first in enumerate(dict.fromkeys(row[0] for row in rows))}
    return HeldOutPairs(
        name="graded",
        measure="Spearman",
        first=tuple(row[0] for row in rows),
        second=tuple(row[1] for row in rows),
        truth=np.array([float(row[2]) for row in rows]),
        group=np.array([anchors[row[0]] for row in rows]),
    )


def documentation_pairs(count: int, *, seed: int) -> HeldOutPairs:
    """`count` docstrings, each with its own paragraph and with one of another."""
    random = np.random.default_rng(seed)
    first, second, truth = [], [], []
    for package in PACKAGES:
        found = sorted({(own[0], own[1]) for own in map(paragraphs, docstrings(package)) if _tells(own)})
        some = [found[at] for at in random.permutation(len(found))[: -(-count // len(PACKAGES))]]
        for at, (summary, paragraph) in enumerate(some):
            other = some[(at + 1) % len(some)][1]
            first += [summary, summary]
            second += [paragraph, other]
            truth += [1.0, 0.0]
    return _by_twos("documentation", first, second, truth)


def _tells(parts: list[str]) -> bool:
    return len(parts) > 1 and all(20 <= len(part) <= 200 and part[0].isupper() for part in parts[:2])


def home_pairs(count: int, *, seed: int) -> HeldOutPairs:
    """`count` utterances, each with one of its intent and with one of another."""
    random = np.random.default_rng(seed)
    templates = Templates.load("en")
    home, intents = other_home("en", random), sorted(templates.intents)
    first, second, truth = [], [], []
    for _ in range(count):
        own, other = random.choice(len(intents), 2, replace=False)
        said = templates.say(intents[own], home, random)
        first += [said, said]
        second += [
            templates.say(intents[own], home, random),
            templates.say(intents[other], home, random),
        ]
        truth += [1.0, 0.0]
    return _by_twos("homes", first, second, truth)


def _by_twos(name: str, first: list[str], second: list[str], truth: list[float]) -> HeldOutPairs:
    """Pairs that are judged by AUC, of which every two share their first text, and are drawn together."""
    return HeldOutPairs(
        name=name,
        measure="AUC",
        first=tuple(first),
        second=tuple(second),
        truth=np.array(truth),
        group=np.arange(len(first)) // 2,
    )

"""Draws the next token of a text from a student's logits.

    p = softmax(logits / temperature), of which only the k likeliest stay (top-k; Fan et al., 2018,
    arXiv:1805.04833), and of these the fewest that hold a share of at least `top_p` together (the nucleus;
    Holtzman et al., 2019, arXiv:1904.09751). What stays is divided by its sum.

A temperature of 0 takes the likeliest token. One uniform number is drawn for each token, so that the same
seed and the same chances give the same text.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import FloatArray
from fedstill_proto.errors import InvalidValue

Chances = npt.NDArray[np.float64]
"""Probabilities [V] of the next token, which sum to 1."""


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is chosen.

    Attributes:
        temperature: What logits are divided by; 0 takes the likeliest token.
        top_k: How many of the likeliest tokens may be drawn; 0 is all.
        top_p: The share that those which may be drawn hold together at least, above 0 and up to 1.
        seed: Of the draws.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise InvalidValue("temperature", f"{self.temperature}; give 0 or more")
        if self.top_k < 0:
            raise InvalidValue("top_k", f"{self.top_k}; give 1 or more, or 0 for all tokens")
        if not 0 < self.top_p <= 1:
            raise InvalidValue("top_p", f"{self.top_p}; give a share above 0 and up to 1")
        if self.seed < 0:
            raise InvalidValue("seed", f"{self.seed}; give 0 or more")


class TokenSampler:
    """Draws tokens, one uniform number each."""

    def __init__(self, sampling: Sampling) -> None:
        self.sampling = sampling
        self._random = np.random.default_rng(sampling.seed)

    def uniform(self) -> float:
        """The next number of the sequence, from 0 to below 1."""
        return float(self._random.random())

    def chances(self, logits: FloatArray) -> Chances:
        """The probabilities [V] that a token is drawn with, given logits [V]."""
        return chances_of(logits, self.sampling)

    def draw(self, chances: Chances) -> int:
        """A token of these chances."""
        return drawn_at(self.uniform(), chances)

    def __call__(self, logits: FloatArray) -> int:
        """A token, given logits [V]."""
        return self.draw(self.chances(logits))


def chances_of(logits: FloatArray, sampling: Sampling) -> Chances:
    """The probabilities [V] that a sampling gives tokens of logits [V]; those of -inf have none."""
    values = np.asarray(logits, np.float64)
    if sampling.temperature == 0:
        only: Chances = np.zeros(len(values))
        only[int(values.argmax())] = 1.0
        return only
    chances: Chances = np.exp((values - values.max()) / sampling.temperature)
    if 0 < sampling.top_k < len(values):
        chances[_likeliest_first(chances)[sampling.top_k :]] = 0.0
    chances /= chances.sum()
    if sampling.top_p < 1:
        order = _likeliest_first(chances)
        held = np.cumsum(chances[order])
        chances[order[int(np.searchsorted(held, sampling.top_p)) + 1 :]] = 0.0
        chances /= chances.sum()
    return chances


def drawn_at(uniform: float, chances: Chances) -> int:
    """The token at a place from 0 to below 1 of the chances, laid end to end in the tokens' order."""
    ends = np.cumsum(chances)
    return int(np.searchsorted(ends, uniform * ends[-1], side="right"))


def _likeliest_first(chances: Chances) -> npt.NDArray[np.intp]:
    """Of tokens that are as likely, the one with the lower number stands first."""
    return np.argsort(-chances, kind="stable")

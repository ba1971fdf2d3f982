"""What this device's owner typed where the student expected much the same as now, and lately above all.

A continuous cache (Grave, Joulin and Usunier 2016, "Improving neural language models with a continuous
cache", arXiv 1612.04426; of whole datasets: Khandelwal et al. 2019, "Generalization through memorization",
arXiv 1911.00172). Nothing is trained: each word typed is kept beside a key of what the student said before,

    p_memory(w | h) ~ sum over places i where w was typed of
                      (AGE + words since i) ^ -FADING exp(SHARPNESS cos(k_i - m, k - m) + SAME_WORD [same])
    p(w | h) = (1 - share) p_student(w | h) + share p_memory(w | h)        share = SHARE n / (n + FEW)

with n places, the mean key m of the texts before this one, and [same] where the word before is the same one.
A key is a random projection of the student's log chances (Johnson and Lindenstrauss 1984): those of a student
with a table of words are a linear function of its state, and so any model of next words has keys, whatever
it is made of.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.text.vocabulary import START

SHARE, FEW = 0.13, 50.0
SHARPNESS, SAME_WORD = 7.0, 1.0
AGE, FADING = 20.0, 0.7
KEY = 64  # numbers
_LEAST = 1e-8  # of a chance, in logs
_SEED = 0x6B6579

Chances = npt.NDArray[np.floating[Any]]
Keys = npt.NDArray[np.float32]


def key_of(said: Chances) -> Keys:
    """[KEY] of what a student says [words]."""
    logs = np.log(np.maximum(said, _LEAST)).astype(np.float32)
    return np.asarray(logs @ _projection(len(logs)))


def share(places: int) -> float:
    """Of the memory of so many places, in what is said next."""
    return SHARE * places / (places + FEW)


class CacheLM:
    """Places of texts in the order in which they were typed."""

    def __init__(self) -> None:
        self._keys: list[Keys] = []
        self._sum = np.zeros(KEY)
        self._before: list[int] = []
        self._typed: list[int] = []
        self._numbers: npt.NDArray[np.int64] | None = None
        self._places: _Places | None = None

    def __len__(self) -> int:
        return len(self._typed)

    @property
    def mean(self) -> Keys:
        """Of the keys [KEY]; 0 without any."""
        return np.asarray(self._sum / max(len(self), 1), np.float32)

    @property
    def typed(self) -> list[int]:
        """Numbers of the words [n]."""
        return self._typed

    @property
    def numbers(self) -> npt.NDArray[np.int64]:
        """The same as an array, made once for all that is asked of these places."""
        if self._numbers is None:
            self._numbers = np.array(self._typed, np.int64)
        return self._numbers

    def add(self, before: int, typed: int, key: Keys) -> None:
        """Keep a word that was typed: the numbers of the one before and its own, and the key of its place."""
        self._before.append(before)
        self._typed.append(typed)
        self._keys.append(key)
        self._sum += key
        self._numbers = self._places = None

    def alike(self, before: int, key: Keys, *, mean: Keys, later: int = 0) -> npt.NDArray[np.float64]:
        """Logarithms [n] of how much each place counts; `later` words were typed after all of them."""
        if not self._typed:
            return np.zeros(0)
        if self._places is None or not np.array_equal(self._places.mean, mean):
            self._places = _Places.of(self._keys, self._before, mean=mean)
        cosines = (self._places.directions @ _directions(key - mean)).astype(np.float64)
        since = later + len(self) - np.arange(len(self))
        return np.asarray(
            SHARPNESS * cosines + SAME_WORD * (self._places.before == before) - FADING * np.log(AGE + since)
        )


@dataclass(frozen=True)
class _Places:
    """What is kept, ready to be compared with."""

    mean: Keys  # [KEY]
    directions: Keys  # [n, KEY], of length 1
    before: npt.NDArray[np.int64]  # [n]

    @classmethod
    def of(cls, keys: Sequence[Keys], before: Sequence[int], *, mean: Keys) -> _Places:
        return cls(mean, _directions(np.stack(keys) - mean), np.array(before, np.int64))


def _directions(keys: Keys) -> Keys:
    lengths = np.linalg.norm(keys, axis=-1, keepdims=True)
    return np.asarray(keys / np.maximum(lengths, np.float32(1e-12)), np.float32)


@functools.cache
def _projection(words: int) -> Keys:
    """[words, KEY], to which a factor that all chances have is nothing, nor the chance that a text ends."""
    drawn = np.random.default_rng(_SEED).standard_normal((words, KEY), np.float32)
    others = np.arange(words) != START
    drawn[others] -= drawn[others].mean(axis=0)
    drawn[START] = 0
    return drawn

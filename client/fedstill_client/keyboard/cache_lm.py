"""A cache language model: what the owner typed, lately above all, where the student predicted much the same.

A continuous cache (Grave, Joulin and Usunier 2016, "Improving neural language models with a continuous
cache", arXiv 1612.04426; of whole data sets: Khandelwal et al. 2019, "Generalization through memorization",
arXiv 1911.00172). Nothing is trained: each word typed is kept beside a key of the student's prediction there,

    p_cache(w | h) ~ sum over places i where w was typed of
                     (OFFSET + words since i) ^ -DECAY exp(SHARPNESS cos(k_i - m, k - m) + SAME_WORD [same])
    p(w | h) = (1 - weight) p_student(w | h) + weight p_cache(w | h)     weight = MAX_WEIGHT n / (n + HALF_AT)

with n places, the mean key m of the texts before this one, and [same] where the word before is the same one.
A key is a random projection of the student's log probabilities (Johnson and Lindenstrauss 1984): those of a
student with a table of words are a linear function of its state, and so any model of next words has keys,
whatever it is made of.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.text.vocabulary import START

MAX_WEIGHT, HALF_AT = 0.13, 50.0
SHARPNESS, SAME_WORD = 7.0, 1.0
OFFSET, DECAY = 20.0, 0.7
KEY_SIZE, KEY_WORDS = 64, 16_384
MOST_PLACES, _ROOM = 6000, 64
_FLOOR = 1e-8  # of a probability, in logs
_SEED = 0x6B6579

Probabilities = npt.NDArray[np.floating[Any]]
Keys = npt.NDArray[np.float32]


def key_of(probabilities: Probabilities) -> Keys:
    """The key [KEY_SIZE] of a student's prediction [words], of the first KEY_WORDS, which are frequent."""
    logs = np.log(np.maximum(probabilities[:KEY_WORDS], _FLOOR)).astype(np.float32)
    return np.asarray(logs @ _projection(len(logs)))


def cache_weight(places: int) -> float:
    """The weight of a cache of so many places beside the student."""
    return MAX_WEIGHT * places / (places + HALF_AT)


class CacheLM:
    """Places of texts in the order in which they were typed: the latest MOST_PLACES, and some before them."""

    def __init__(self) -> None:
        self._size = 0
        self._keys = np.zeros((_ROOM, KEY_SIZE), np.float32)
        self._key_sum = np.zeros(KEY_SIZE)
        self._previous = np.zeros(_ROOM, np.int64)
        self._words = np.zeros(_ROOM, np.int64)
        self._index: _Index | None = None

    def __len__(self) -> int:
        return self._size

    @property
    def mean_key(self) -> Keys:
        """The mean of the keys [KEY_SIZE]; 0 without any."""
        return np.asarray(self._key_sum / max(len(self), 1), np.float32)

    @property
    def words(self) -> npt.NDArray[np.int64]:
        """Numbers of the words [n] that were typed at the places."""
        return self._words[: self._size]

    def add(self, previous: int, word: int, key: Keys) -> None:
        """Keep a word that was typed after the previous one, with the key of the prediction there."""
        if self._size == len(self._words):
            self._make_room()
        self._previous[self._size], self._words[self._size] = previous, word
        self._keys[self._size] = key
        self._key_sum += key
        self._size += 1
        self._index = None

    def _make_room(self) -> None:
        """Let the oldest places go where there are many; have room for twice as many otherwise."""
        kept = min(self._size, MOST_PLACES)
        room = max(2 * kept, _ROOM)
        for name in ("_keys", "_previous", "_words"):
            old = getattr(self, name)
            new = np.zeros((room, *old.shape[1:]), old.dtype)
            new[:kept] = old[self._size - kept : self._size]
            setattr(self, name, new)
        self._size = kept
        self._key_sum = self._keys[:kept].sum(axis=0, dtype=np.float64)

    def log_weights(
        self, previous: int, key: Keys, *, mean_key: Keys, later: int = 0
    ) -> npt.NDArray[np.float64]:
        """Logarithms [n] of how much each place counts now.

        Args:
            previous: The word before the one that is predicted.
            key: The key of the student's prediction of it.
            mean_key: The key that all are compared against.
            later: Words that were typed after all of these places.
        """
        if not self._size:
            return np.zeros(0)
        if self._index is None or not np.array_equal(self._index.mean_key, mean_key):
            self._index = _Index.of(self._keys[: self._size], self._previous[: self._size], mean_key=mean_key)
        cosines = (self._index.directions @ _directions(key - mean_key)).astype(np.float64)
        since = later + len(self) - np.arange(len(self))
        return np.asarray(
            SHARPNESS * cosines
            + SAME_WORD * (self._index.previous == previous)
            - DECAY * np.log(OFFSET + since)
        )


@dataclass(frozen=True)
class _Index:
    """The places, ready to be compared with."""

    mean_key: Keys  # [KEY_SIZE]
    directions: Keys  # [n, KEY_SIZE], of length 1
    previous: npt.NDArray[np.int64]  # [n]

    @classmethod
    def of(cls, keys: Keys, previous: npt.NDArray[np.int64], *, mean_key: Keys) -> _Index:
        return cls(mean_key, _directions(keys - mean_key), previous.copy())


def _directions(keys: Keys) -> Keys:
    lengths = np.linalg.norm(keys, axis=-1, keepdims=True)
    return np.asarray(keys / np.maximum(lengths, np.float32(1e-12)), np.float32)


@functools.cache
def _projection(words: int) -> Keys:
    """A projection [words, KEY_SIZE] blind to a factor of all probabilities, and to that of a text's end."""
    drawn = np.random.default_rng(_SEED).standard_normal((words, KEY_SIZE), np.float32)
    others = np.arange(words) != START
    drawn[others] -= drawn[others].mean(axis=0)
    drawn[START] = 0
    return drawn

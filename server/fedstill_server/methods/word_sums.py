"""What devices name at places of public sentences, summed over the cells (place, word) that somebody named.

A monoid, as those of aggregation.py: a fold of any shape gives the same, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import Float64Array, IntArray
from fedstill_proto.soft_labels.drawn.tails import narrowed
from fedstill_proto.soft_labels.label_arrays import TopKSoftLabels

from fedstill_server.consensus.exact_sum import Arrays, flattened, grouped
from fedstill_server.consensus.superaccumulator import ExactSum

_TOGETHER = 64  # devices whose cells are put in order at once


@dataclass(frozen=True, eq=False)
class WordSums:
    """`mass` [n] of the `cells` [n], increasing: place * words + word. `votes` [places]: who answered.

    aged: how much less than once each the devices count, summed.
    """

    cells: IntArray
    mass: Float64Array
    votes: Float64Array
    words: int
    devices: int = 0
    aged: float = 0.0

    @classmethod
    def zero(cls, *, places: int, words: int) -> WordSums:
        return cls(np.zeros(0, np.int64), np.zeros(0), np.zeros(places), words)

    @classmethod
    def of(cls, labels: TopKSoftLabels, places: IntArray, *, of: int) -> WordSums:
        """A device's soft labels [n] of the `places` [n], increasing, of so many."""
        votes = np.zeros(of)
        votes[places] = 1
        return cls(
            cells=_cells(labels, places), mass=_mass(labels), votes=votes, words=labels.classes, devices=1
        )

    def __add__(self, other: WordSums) -> WordSums:
        cells, mass = _summed((self.cells, other.cells), (self.mass, other.mass))
        return WordSums(
            cells,
            mass,
            self.votes + other.votes,
            self.words,
            self.devices + other.devices,
            self.aged + other.aged,
        )

    def accumulator(self) -> WordTally:
        return WordTally(self)

    def weighted(self, weight: float) -> WordSums:
        aged = self.devices - weight * (self.devices - self.aged)
        return WordSums(self.cells, weight * self.mass, weight * self.votes, self.words, self.devices, aged)

    @property
    def freshness(self) -> float:
        """The mean weight of the devices: 1 where all are fresh."""
        return 1 - self.aged / max(self.devices, 1)

    def stepped(self, labels: TopKSoftLabels, *, step: float) -> TopKSoftLabels:
        """`labels` of all places, moved by `step` (0 to 1) towards the means of those that were answered.

        As many words as were named stay, the likeliest.
        """
        cells, mass = self._moved(labels, step)
        place = cells // self.words
        order = np.lexsort((cells, -mass, place))  # within a place the likeliest first, then by word
        rank = np.arange(len(cells)) - np.searchsorted(place, place)
        chosen = np.sort(order[rank < labels.k])
        indices = (cells[chosen] % self.words).reshape(-1, labels.k)
        return TopKSoftLabels(indices, mass[chosen].reshape(-1, labels.k).astype(np.float32), labels.classes)

    def stepped_and_drawn(
        self, labels: TopKSoftLabels, *, step: float, drawn: int, seed: int
    ) -> TopKSoftLabels:
        """The same where so many of the named words are draws: of the others, draws stay that stand for all.

        What devices drew, of which each tells another part, thus comes to what they all meant, on average.
        """
        cells, mass = self._moved(labels, step)
        place = cells // self.words
        column = np.arange(len(cells)) - np.searchsorted(place, place)
        shape = labels.rows, int(column.max(initial=0)) + 1
        names, chances = np.zeros(shape, np.int64), np.zeros(shape, np.float32)
        names[place, column], chances[place, column] = cells % self.words, mass
        return narrowed(names, chances, classes=labels.classes, k=labels.k - drawn, drawn=drawn, seed=seed)

    def _moved(self, labels: TopKSoftLabels, step: float) -> tuple[IntArray, Float64Array]:
        """All cells that are named, by place and word, and their mass after the step."""
        votes = self.votes
        towards = np.where(votes > 0, step, 0.0)  # [places]
        stay = _mass(labels) * np.repeat(1 - towards, labels.k)
        here = self.cells // self.words
        go = self.mass / np.where(votes > 0, votes, 1)[here] * towards[here]
        return _summed((_cells(labels, np.arange(labels.rows)), self.cells), (stay, go))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {"cells": self.cells, "mass": self.mass, "votes": self.votes}


class WordTally:
    """An accumulator of WordSums: exact sums of the cells that somebody named so far."""

    is_exact = True

    def __init__(self, zero: WordSums) -> None:
        self._words, self._devices = zero.words, 0
        self._cells, self._mass = zero.cells[:0], ExactSum((0,))
        self._votes, self._aged = ExactSum(zero.votes.shape), ExactSum(())
        self._waiting: list[WordSums] = []
        self.add(zero)

    def add(self, part: WordSums) -> None:
        self._devices += part.devices
        self._votes.add(part.votes)
        self._aged.add(np.array(part.aged))
        self._waiting.append(part)
        if len(self._waiting) == _TOGETHER:
            self._add_waiting()

    def merge(self, other: WordTally) -> None:
        self._devices += other._devices
        self._votes.merge(other._votes)
        self._aged.merge(other._aged)
        other._add_waiting()
        self._name(other._cells)
        self._mass.merge_at(np.searchsorted(self._cells, other._cells), other._mass)

    def result(self) -> WordSums:
        self._add_waiting()
        mass, votes = self._mass.result(), self._votes.result()
        return WordSums(self._cells, mass, votes, self._words, self._devices, float(self._aged.result()))

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        self._add_waiting()
        sums = {"mass": self._mass, "votes": self._votes, "aged": self._aged}
        arrays = flattened({name: one.to_arrays() for name, one in sums.items()})
        return {"devices": np.array(self._devices), "cells": self._cells, **arrays}

    def merge_arrays(self, arrays: Arrays) -> None:
        sums = {name: ExactSum.from_arrays(of_one) for name, of_one in grouped(arrays).items()}
        self._devices += int(arrays["devices"])
        self._votes.merge(sums["votes"])
        self._aged.merge(sums["aged"])
        self._name(arrays["cells"])
        self._mass.merge_at(np.searchsorted(self._cells, arrays["cells"]), sums["mass"])

    def _add_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        self._name(*(part.cells for part in waiting))
        for part in waiting:
            self._mass.add_at(np.searchsorted(self._cells, part.cells), part.mass[None])

    def _name(self, *cells: IntArray) -> None:
        """Have these cells besides."""
        together = np.unique(np.concatenate([self._cells, *cells]))
        if len(together) > len(self._cells):
            mass = ExactSum((len(together),))
            mass.merge_at(np.searchsorted(together, self._cells), self._mass)
            self._cells, self._mass = together, mass


def _cells(labels: TopKSoftLabels, places: IntArray) -> IntArray:
    return (places[:, None] * labels.classes + labels.indices).reshape(-1)


def _mass(labels: TopKSoftLabels) -> Float64Array:
    return labels.probabilities.reshape(-1).astype(np.float64)


def _summed(
    cells: tuple[IntArray, IntArray], mass: tuple[Float64Array, Float64Array]
) -> tuple[IntArray, Float64Array]:
    """The mass of each cell that is in one of the two, or in both."""
    together, where = np.unique(np.concatenate(cells), return_inverse=True)
    total = np.bincount(where, np.concatenate(mass), minlength=len(together))
    return together, total.astype(np.float64)

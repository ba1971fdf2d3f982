"""The private sets that an adversary makes up, out of examples like those of the watched device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from fedstill_proto.arrays import Float64Array, IntArray

from fedstill_sim.audit.membership import Members
from fedstill_sim.data.fleet import FleetData
from fedstill_sim.data.pools import DEFAULT_ALPHA
from fedstill_sim.data.splits import resampled_split

MOST_EXAMPLES = 160  # whose membership is guessed
_OWN, _JUDGED = 1, 2  # draws
_REPEATS = 8  # of each of two private sets, which differ in the order of their batches


@dataclass(frozen=True, kw_only=True, eq=False)
class Population:
    """Shadows, by what their answers are for.

    Attributes:
        halves: Rows of each shadow that holds a random half of `examples` [shadows].
        members: Which examples that half is [shadows, examples].
        examples: The rows whose membership is guessed [examples].
        one: Rows of the watched device, once for each shadow that holds them.
        other: Rows of the device that they are replaced by.
        mixed: Rows of each shadow with a random mixture of classes.
        histograms: The shares of the classes among those rows [shadows, classes].
    """

    halves: Sequence[IntArray]
    members: Members
    examples: IntArray
    one: Sequence[IntArray]
    other: Sequence[IntArray]
    mixed: Sequence[IntArray]
    histograms: Float64Array

    @property
    def private(self) -> list[IntArray]:
        """The rows of all shadows, in the order of `parts`."""
        return [*self.halves, *self.one, *self.other, *self.mixed]

    def parts(self, answers: Float64Array) -> tuple[Float64Array, Float64Array, Float64Array, Float64Array]:
        """What belongs to halves, one, other and mixed, of something [shadows, ...] of all."""
        cuts = np.cumsum([len(self.halves), len(self.one), len(self.other)])
        halves, one, other, mixed = np.split(answers, cuts)
        return halves, one, other, mixed


@dataclass(frozen=True, kw_only=True, eq=False)
class PopulationMaker:
    """Draws populations around one device of a fleet.

    Attributes:
        data: The fleet's data.
        device: The watched device.
        alpha: Dirichlet's, of the mixtures of classes.
        seed: Decides every draw.
    """

    data: FleetData
    device: int
    alpha: float = DEFAULT_ALPHA
    seed: int = 0

    @staticmethod
    def sizes(shadows: int, judged: int) -> tuple[int, int]:
        """How many devices `shadows` and `judged` of so many of each kind are in all."""
        return 2 * shadows + 2 * _REPEATS, 4 * judged

    def shadows(self, many: int) -> Population:
        """The adversary's own: of each kind so many, but of the two private sets a few."""
        return self._drawn(many, of_each_set=_REPEATS, draw=_OWN)

    def judged(self, many: int) -> Population:
        """Those whose answers the attacks are counted on: of each kind so many."""
        return self._drawn(many, of_each_set=many, draw=_JUDGED)

    @property
    def everyones_histogram(self) -> Float64Array:
        """The mean of the devices' histograms [classes]."""
        counts = self.data.class_counts().astype(np.float64)
        return np.asarray((counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)).mean(axis=0))

    def _drawn(self, many: int, *, of_each_set: int, draw: int) -> Population:
        generator = np.random.default_rng([self.seed, draw])
        own = self.data.train[self.device]
        kept, examples = self._examples()
        members = np.zeros((many, len(examples)), bool)
        for row in members:
            row[generator.permutation(len(examples))[: len(examples) // 2]] = True
        mixed, histograms = self._mixed(many, draw)
        return Population(
            halves=[np.concatenate([kept, examples[row]]) for row in members],
            members=members,
            examples=examples,
            one=[own] * of_each_set,
            other=[self.data.train[self._farthest()]] * of_each_set,
            mixed=mixed,
            histograms=histograms,
        )

    def _examples(self) -> tuple[IntArray, IntArray]:
        """Rows that every shadow holds, and those of which each holds half: its own and others like them."""
        generator = np.random.default_rng([self.seed, 0])
        own = np.unique(self.data.train[self.device])
        others = np.setdiff1d(np.unique(self.data.train.rows), own)
        guessed = generator.permutation(own)[: MOST_EXAMPLES // 2]
        labels, like = np.asarray(self.data.y), []
        for label, count in zip(*np.unique(labels[guessed], return_counts=True), strict=True):
            of_class = others[labels[others] == label]
            like.append(generator.permutation(of_class)[:count])
        examples = np.concatenate([guessed, *like])
        return np.setdiff1d(own, guessed), np.sort(examples)

    def _farthest(self) -> int:
        """The device whose histogram is farthest from the watched one's."""
        counts = self.data.class_counts().astype(np.float64)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        return int(np.abs(shares - shares[self.device]).sum(axis=1).argmax())

    def _mixed(self, many: int, draw: int) -> tuple[list[IntArray], Float64Array]:
        classes, pool = self.data.classes, np.unique(self.data.train.rows).astype(np.int64)
        if draw == _OWN and self.data.devices > 1:  # the adversary does not have what it looks for
            pool = np.setdiff1d(pool, self.data.train[self.device])
        labels = np.asarray(self.data.y)[pool]
        generator = np.random.default_rng([self.seed, draw, 1])
        present = np.bincount(labels, minlength=classes) > 0
        mixtures = generator.dirichlet(np.full(classes, self.alpha), many) * present
        mixtures /= np.maximum(mixtures.sum(axis=1, keepdims=True), 1e-30)
        size = max(1, len(self.data.train[self.device]))
        counts = np.full(many, size)
        seed = int(generator.integers(1 << 31))
        drawn = resampled_split(labels, mixtures=mixtures.astype(np.float32), counts=counts, seed=seed)
        histograms = np.stack([np.bincount(labels[part], minlength=classes) / size for part in drawn])
        return [pool[part] for part in drawn], histograms

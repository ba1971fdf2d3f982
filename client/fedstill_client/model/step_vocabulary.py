"""The words that one training step of a text student sees, and their rows of the student's tables.

A step's softmax is over U of the vocabulary's V words: those of its batch (its own words, then the words that
its soft labels name, likeliest first) and others drawn at random up to U (sampled softmax:
Jean, Cho, Memisevic and Bengio 2015, arXiv 1412.2007, without the correction for the draw). The graph knows
words by their places 0 to U - 1 among them. A soft label's word that finds no room counts as one of those
that the label does not name.
"""

from __future__ import annotations

import numpy as np
from fedstill_proto.arrays import FloatArray, IntArray
from fedstill_proto.errors import FedstillError
from fedstill_proto.package.artifact import StudentManifest
from fedstill_proto.package.manifest import Vocabulary

from fedstill_client.model.order import epoch_order
from fedstill_client.model.step import StepArrays

# Draws of words are of an epoch that no order of examples comes near.
_WORDS_EPOCH = (1 << 32) - 2
_ALL_DEVICES = np.zeros(1, np.uint64)


class StepVocabularyError(FedstillError):
    """A batch holds more words than a step of the artifact sees."""


class StepVocabulary:
    """Chooses the words of each step, and translates a batch into their places."""

    def __init__(self, manifest: StudentManifest, vocabulary: Vocabulary) -> None:
        self._size, self._step_size = vocabulary.size, vocabulary.step_size
        self._place = np.full(vocabulary.size, -1, np.int64)  # of each word among those chosen
        if manifest.soft_labels == "top-k" and manifest.k >= self._step_size:
            raise StepVocabularyError(
                f"soft labels name {manifest.k} words, a step sees {self._step_size}; rebuild the artifact."
            )

    def translate(self, batch: StepArrays, into: StepArrays, *, seed: int, step: int) -> IntArray:
        """Write a batch of words into another, in the places of the step's words.

        Returns:
            The words [C, U] of the step.
        """
        others = self._others(seed, step)
        chosen = np.empty((len(batch.x), self._step_size), np.int64)
        for device in range(len(batch.x)):
            chosen[device] = self._choose(batch, device, others)
            self._place[chosen[device]] = np.arange(self._step_size)
            into.x[device] = self._place[batch.x[device]]
            into.labels[device] = self._place[batch.labels[device]]
            self._translate_soft(batch, into, device, chosen[device])
            self._place[chosen[device]] = -1
        for name in ("hard_weight", "soft_weight", "lr", "temperature"):
            copied = getattr(into, name)
            if copied is not None:
                copied[...] = getattr(batch, name)
        return chosen

    def _others(self, seed: int, step: int) -> IntArray:
        """All words in the step's own order: the same for all devices of a stack, and after a restart."""
        words = np.array([self._size])
        order = epoch_order(
            seed, _ALL_DEVICES, round=step, epoch=_WORDS_EPOCH, counts=words, capacity=self._size
        )
        return np.asarray(order[0], np.int64)

    def _choose(self, batch: StepArrays, device: int, others: IntArray) -> IntArray:
        own = np.union1d(batch.x[device], batch.labels[device]).astype(np.int64)
        if len(own) > self._step_size:
            raise StepVocabularyError(
                f"a step holds {len(own)} different words, and the training artifact sees {self._step_size} "
                "in a step; lower batch_size, or rebuild it with a larger step_vocabulary."
            )
        taken = np.zeros(self._size, np.bool_)
        taken[own] = True
        named = _named_words(batch, device, self._size)
        named = named[~taken[named]][: self._step_size - len(own)]
        taken[named] = True
        rest = others[~taken[others]][: self._step_size - len(own) - len(named)]
        return np.concatenate([own, named, rest])

    def _translate_soft(self, batch: StepArrays, into: StepArrays, device: int, chosen: IntArray) -> None:
        if batch.soft_labels is not None and into.soft_labels is not None:
            kept = batch.soft_labels[device][..., chosen]
            total = kept.sum(axis=-1, keepdims=True)
            np.divide(kept, total, out=into.soft_labels[device], where=total > 0)
        if batch.soft_weight is None or batch.soft_indices is None or batch.soft_probabilities is None:
            return
        assert into.soft_indices is not None
        assert into.soft_probabilities is not None
        places = self._place[batch.soft_indices[device]]
        # What weighs nothing names no words; any places will do.
        places[batch.soft_weight[device] == 0] = np.arange(places.shape[-1])
        into.soft_probabilities[device] = np.where(places >= 0, batch.soft_probabilities[device], 0)
        into.soft_indices[device] = _without_gaps(places)


def _named_words(batch: StepArrays, device: int, size: int) -> IntArray:
    """The words that soft labels with a weight name, those with most probability first."""
    if batch.soft_weight is None or batch.soft_indices is None or batch.soft_probabilities is None:
        return np.zeros(0, np.int64)
    weight = batch.soft_weight[device][..., None] * batch.soft_probabilities[device]
    mass = np.bincount(batch.soft_indices[device].reshape(-1), weight.reshape(-1), minlength=size)
    named = np.flatnonzero(mass)
    return named[np.argsort(-mass[named], kind="stable")]


def _without_gaps(places: IntArray) -> IntArray:
    """Places [..., k] with each -1 replaced by one that its row has not; its probability is 0."""
    gaps = places < 0
    if not gaps.any():
        return places
    k = places.shape[-1]
    filled = places.copy().reshape(-1, k)
    for row in np.flatnonzero(gaps.any(axis=-1)):
        own = filled[row]
        own[own < 0] = np.setdiff1d(np.arange(k), own)[: int((own < 0).sum())]
    return filled.reshape(places.shape)


def gather_rows(table: FloatArray, words: IntArray, out: FloatArray) -> None:
    """out[c] = table[c, words[c]] for all devices: [C, V, ...] to [C, U, ...]."""
    for device, own in enumerate(words):
        np.take(table[device], own, axis=0, out=out[device], mode="clip")


def scatter_rows(rows: FloatArray, words: IntArray, out: FloatArray) -> None:
    """out[c, words[c]] = rows[c] for all devices."""
    for device, own in enumerate(words):
        out[device][own] = rows[device]

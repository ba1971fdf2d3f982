"""What devices say in a round, as arrays: soft labels or parameters, one line a device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from fedstill_proto.arrays import BoolArray, Float64Array, IntArray


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelAnswers:
    """Soft labels of n devices: of the asked public rows, or of each class.

    Attributes:
        probabilities: float64 [n, rows, classes], as the server reads them; uniform where nothing is said.
        said: Which rows each device answers, bool [n, rows].
        counts: How many examples of each class it claims, int64 [n, classes]; 0 where nobody asks.
    """

    probabilities: Float64Array
    said: BoolArray
    counts: IntArray

    def __len__(self) -> int:
        return len(self.probabilities)

    def logits(self, least: float) -> Float64Array:
        """log p less its mean over the classes [n, rows, classes]; probabilities below `least` count as
        that."""
        return centred_logits(self.probabilities, least=least)

    def saying(self, probabilities: Float64Array) -> LabelAnswers:
        """The same devices, which answer every row with these probabilities: [n, rows, classes], or [rows,
        classes] of all alike."""
        everywhere = np.broadcast_to(probabilities, self.probabilities.shape).copy()
        return LabelAnswers(probabilities=everywhere, said=np.ones_like(self.said), counts=self.counts.copy())

    def with_probabilities(self, probabilities: Float64Array) -> LabelAnswers:
        """The same devices, which answer the same rows with other probabilities [n, rows, classes]."""
        return replace(self, probabilities=np.broadcast_to(probabilities, self.probabilities.shape).copy())

    @classmethod
    def joined(cls, parts: Sequence[LabelAnswers]) -> Self:
        """The answers of all, one after the other."""
        return cls(
            probabilities=np.concatenate([one.probabilities for one in parts]),
            said=np.concatenate([one.said for one in parts]),
            counts=np.concatenate([one.counts for one in parts]),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class ParameterAnswers:
    """Students of n devices of one family.

    Attributes:
        parameters: All numbers of a student in one line, float64 [n, width].
        examples: How many private examples each device claims, int64 [n].
    """

    parameters: Float64Array
    examples: IntArray

    def __len__(self) -> int:
        return len(self.parameters)

    def saying(self, parameters: Float64Array) -> ParameterAnswers:
        """The same devices, which send these students: [n, width], or [width] of all alike."""
        everywhere = np.broadcast_to(parameters, self.parameters.shape).copy()
        return ParameterAnswers(parameters=everywhere, examples=self.examples.copy())

    @classmethod
    def joined(cls, parts: Sequence[ParameterAnswers]) -> Self:
        """The answers of all, one after the other."""
        return cls(
            parameters=np.concatenate([one.parameters for one in parts]),
            examples=np.concatenate([one.examples for one in parts]),
        )


def centred_logits(probabilities: Float64Array, *, least: float) -> Float64Array:
    """log p less its mean over the classes, of probabilities [..., classes] of `least` at the least."""
    logits = np.log(np.maximum(probabilities, least))
    centred: Float64Array = logits - logits.mean(axis=-1, keepdims=True)
    return centred


def softmax(logits: Float64Array) -> Float64Array:
    """Probabilities [..., classes] of logits."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probabilities: Float64Array = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities


def one_hot(chosen: IntArray, classes: int) -> Float64Array:
    """All of the probability on the chosen class of each row: [..., classes] of [...]."""
    return np.eye(classes)[chosen]

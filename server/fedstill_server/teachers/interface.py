"""The interface of a teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from fedstill_proto.arrays import FloatArray

from fedstill_server.teachers.errors import TeacherError

LEAST_PROBABILITY = 1e-7
"""A probability of 0 counts as this where logits are made of probabilities."""


@dataclass(frozen=True, eq=False)
class TeacherAnswers:
    """What a teacher answers to examples.

    Attributes:
        logits: [n, classes], or [n, S, classes] for text.
        features: Those of the layers that were asked for, [n, ...] each.
    """

    logits: FloatArray
    features: Mapping[str, FloatArray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.logits)


class TeacherModel(Protocol):
    """Anything that answers examples with logits, the same ones each time.

    An own teacher needs no base class: these four members suffice.
    """

    @property
    def digest(self) -> str:
        """SHA-256 of everything that its answers depend on, in hexadecimal."""

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers whose features it shows; a black box has none."""

    @property
    def attention(self) -> tuple[str, ...]:
        """The parts whose attention matrices it shows."""

    def answer(self, x: FloatArray, *, layers: Sequence[str] = ()) -> TeacherAnswers:
        """Answer examples.

        Args:
            x: Examples [n, *input_shape].
            layers: The layers whose features are wanted, too.
        """


def logits_of_probabilities(probabilities: FloatArray) -> FloatArray:
    """Logits whose softmax is `probabilities` [n, classes]."""
    return np.log(np.maximum(probabilities, LEAST_PROBABILITY)).astype(np.float32)


def checked(logits: FloatArray, *, rows: int, who: str) -> FloatArray:
    """The logits as contiguous float32.

    Args:
        logits: What a teacher answered.
        rows: How many examples it was asked about.
        who: The teacher, for the error.

    Raises:
        TeacherError: These are no finite logits [rows, classes], or [rows, S, classes] for text.
    """
    if logits.ndim not in (2, 3) or len(logits) != rows or logits.shape[-1] < 2:
        raise TeacherError(
            f"{who}: answers of shape {list(logits.shape)} to {rows} examples, not [n, classes]"
        )
    if not np.isfinite(logits).all():
        raise TeacherError(f"{who}: an answer that is not a finite number")
    return np.ascontiguousarray(logits, np.float32)


def refuse_layers(layers: Sequence[str], who: str) -> None:
    """Raise TeacherError for layers that are asked of a black box."""
    if layers:
        raise TeacherError(
            f"{who}: shows answers only, no layers; techniques of features need a teacher that is "
            "a torch module"
        )

"""What a student says of an example: one class, several labels that are each there or not, or numbers.

    single-label   one of the classes: softmax(logits), a label is the class's number
    multi-label    K labels, each with a chance of its own: sigmoid of K numbers; labels are 0 or 1, [K]
    regression     D numbers, each as a Gaussian: a mean and the logarithm of a variance; labels are real, [D]

Beside single labels, an example has an answer of two numbers at each of its places, as a text has one at each
word: of label k the logits (-z/2, z/2), whose softmax is (1 - sigmoid(z), sigmoid(z)); of number d (mean,
log variance). So a multi-label student is one of two classes at K places, and is trained, sent, summed and
counted by the same code.

A network learns numbers in standard units, (y - offset) / scale, computed of public labels once.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fedstill_proto.arrays import FloatArray, IntArray
from fedstill_proto.checks import check_integer
from fedstill_proto.errors import InvalidValue

MOST_PLACES = 1 << 16
LARGEST_LOG_VARIANCE = 5.0
"""A Gaussian's log variance is 5 tanh(z / 5): a standard deviation is 0.08 to 12 of those of public
labels.
"""
NEAR = 0.5
"""A number counts as right where it is off by half a standard deviation of the public labels, at most."""


class TargetKind(enum.Enum):
    """What a student says of an example."""

    SINGLE_LABEL = "single-label"
    MULTI_LABEL = "multi-label"
    REGRESSION = "regression"

    @property
    def is_class(self) -> bool:
        """Whether it is one class."""
        return self is TargetKind.SINGLE_LABEL


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a student says of an example.

    Attributes:
        kind: One class, several labels, or numbers.
        size: How many labels or numbers; 0 for one class.
        offset: Of a number in the user's units, where a network's is 0 [size]; of regression only.
        scale: How much of the user's units a network's unit is [size].
    """

    kind: TargetKind = TargetKind.SINGLE_LABEL
    size: int = 0
    offset: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.kind, TargetKind):
            raise InvalidValue("target.kind", f"{self.kind!r} is not a TargetKind")
        least, most = (0, 0) if self.is_single else (1, MOST_PLACES)
        check_integer("target.size", self.size, least, most)
        units = self.size if self.is_regression else 0
        for name in ("offset", "scale"):
            values = getattr(self, name)
            if len(values) != units or not all(math.isfinite(value) for value in values):
                raise InvalidValue(f"target.{name}", f"{values!r:.80} are not {units} finite numbers")
        if any(value <= 0 for value in self.scale):
            raise InvalidValue("target.scale", f"{min(self.scale)} is not above 0")

    @classmethod
    def of_numbers(cls, public_y: npt.NDArray[np.floating]) -> Target:
        """Regression whose units are those of public labels [n, D]: mean 0, standard deviation 1."""
        y = np.asarray(public_y, np.float64)
        deviation = y.std(axis=0)
        scale = np.where(deviation > 0, deviation, 1.0)
        return cls(
            kind=TargetKind.REGRESSION,
            size=y.shape[1],
            offset=tuple(map(float, y.mean(axis=0))),
            scale=tuple(map(float, scale)),
        )

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Target:
        """What `document` made; {} is one class."""
        return cls(
            kind=TargetKind(document.get("kind", TargetKind.SINGLE_LABEL.value)),
            size=document.get("size", 0),
            offset=tuple(document.get("offset", ())),
            scale=tuple(document.get("scale", ())),
        )

    def document(self) -> dict[str, Any]:
        """In JSON's types."""
        return {"kind": self.kind.value, "size": self.size, "offset": [*self.offset], "scale": [*self.scale]}

    @property
    def is_single(self) -> bool:
        return self.kind is TargetKind.SINGLE_LABEL

    @property
    def is_regression(self) -> bool:
        return self.kind is TargetKind.REGRESSION

    @property
    def label_shape(self) -> tuple[int, ...]:
        """The shape of one example's labels."""
        return () if self.is_single else (self.size,)

    @property
    def label_type(self) -> str:
        """Of labels, as numpy names it."""
        return "float32" if self.is_regression else "int64"

    @property
    def pace(self) -> float:
        """What learning rates that suit classes are multiplied by.

        A small variance multiplies the gradients of a mean, up to e^5 times: a quarter was better than a half
        or the whole in benchmarks/targets.py, with seeds 0 and 1.
        """
        return 0.25 if self.is_regression else 1.0

    def outputs(self, classes: int) -> int:
        """How many numbers a network has to make of an example; classes: of an answer, 2 unless single."""
        if self.is_single:
            return classes
        return self.size * (2 if self.is_regression else 1)

    def standardized(self, y: npt.NDArray[np.floating]) -> FloatArray:
        """Numbers [n, D] in the user's units as a network learns them."""
        units = (np.asarray(y, np.float64) - self.offset) / np.asarray(self.scale)
        return np.asarray(units, np.float32)

    def stored(self, labels: npt.NDArray[Any]) -> IntArray:
        """Labels in the user's units as a private store keeps them: whole numbers, or the bits of real
        ones.
        """
        if self.is_regression:
            return np.ascontiguousarray(labels, np.float64).view(np.int64)
        return np.ascontiguousarray(labels, np.int64)

    def learned(self, stored: IntArray) -> npt.NDArray[Any]:
        """Labels [n, *label_shape] that `stored` made, as a network learns them."""
        return self.standardized(stored.view(np.float64)) if self.is_regression else stored

    def in_units(self, answers: FloatArray) -> FloatArray:
        """Mean and standard deviation [n, D, 2] in the user's units, of (mean, log variance) [n, D, 2]."""
        scale = np.asarray(self.scale)
        mean = answers[..., 0] * scale + self.offset
        deviation = np.exp(0.5 * answers[..., 1].astype(np.float64)) * scale
        return np.stack([mean, deviation], axis=-1).astype(np.float32)


SINGLE_LABEL = Target()

"""A student's soft labels, and their mean over the private examples of each class.

Class means (Jeong et al. 2018, arXiv 1811.11479): for each class y that the device has examples of, the mean
over them of softmax(logits / temperature), and their number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from fedstill_proto.arrays import FloatArray, IntArray, largest_of_rows


@dataclass(frozen=True)
class ClassMeans:
    """The class means of a stack: one row for each class that a device has, device after device."""

    device: IntArray  # [rows], increasing
    present_class: IntArray  # [rows], increasing within a device
    examples: IntArray  # [rows]
    soft_labels: FloatArray  # [rows, K]

    def of(self, device: int) -> slice:
        """The rows of one device."""
        start, stop = np.searchsorted(self.device, (device, device + 1))
        return slice(int(start), int(stop))


def softened(logits: FloatArray, temperature: float) -> FloatArray:
    """softmax(logits / temperature) over the last dimension."""
    scaled = logits / np.float32(temperature)
    scaled -= largest_of_rows(scaled)
    np.exp(scaled, out=scaled)
    scaled /= scaled.sum(axis=-1, keepdims=True)
    return scaled


def class_means(logits: FloatArray, labels: IntArray, counts: IntArray, *, temperature: float) -> ClassMeans:
    """Means of the first `counts` [C] rows of `logits` [C, n, K] with `labels` [C, n or more]."""
    devices, rows, classes = logits.shape
    own = np.arange(rows) < counts[:, None]
    groups = (np.arange(devices)[:, None] * classes + labels[:, :rows])[own]
    order = np.argsort(groups, kind="stable")
    groups = groups[order]
    starts = np.flatnonzero(np.diff(groups, prepend=-1))
    # Each group is added up on its own and in float64: a device's means do not depend on the devices beside
    # it.
    sums = np.add.reduceat(softened(logits, temperature)[own][order].astype(np.float64), starts, axis=0)
    examples = np.diff(starts, append=len(groups))
    return ClassMeans(
        device=groups[starts] // classes,
        present_class=groups[starts] % classes,
        examples=examples,
        soft_labels=(sums / examples[:, None]).astype(np.float32),
    )

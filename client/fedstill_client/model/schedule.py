"""Which rows a stack of devices trains on in each step, and how much each row weighs.

The loss of a step is sum_r hard_weight[r] * CE_r + soft_weight[r] * T^2 * KL_r, so the weights carry the
means and the mixture. With a = soft_weight, n the device's private examples in the batch and m its public
ones:

    no soft targets   hard 1/n
    class means       hard (1-a)/n, soft a/n; a row whose class has no mean: hard 1/n
    public set        a mixed step: private rows hard (1-a)/n, then public rows soft a/m

A device walks its own batches one after another, epoch after epoch, without gaps; once done, it waits with
weights and learning rate 0 while the rest of its stack goes on. So what it learns never depends on the
stack it is in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import FloatArray, IntArray
from fedstill_proto.messages import ClassSoftLabels, PublicSoftLabels, TrainingPlan

from fedstill_client.model.order import KeyArray, draw, epoch_order
from fedstill_client.model.private_stack import PrivateStack

# The epoch that draws of public rows count as: no private epoch comes near it.
_PUBLIC_EPOCH = (1 << 32) - 1
_ALL_DEVICES = np.zeros(1, np.uint64)


# Some of the steps, and some of the devices.
Part = tuple[slice, slice]


@dataclass(frozen=True)
class PrivateSteps:
    """The private rows of all steps: S steps, C devices, B rows a batch."""

    rows: IntArray  # [S, C, B] of the stack's table
    labels: npt.NDArray[Any]  # [S, C, B, *label_shape]
    weight: FloatArray  # [S, C, B] 1/n, and 0 for padding

    def part(self, here: Part) -> PrivateSteps:
        """Some steps of some devices."""
        return PrivateSteps(self.rows[here], self.labels[here], self.weight[here])


@dataclass(frozen=True)
class SoftSteps:
    """The soft labels of all steps, as rows of the one table that the task brings."""

    first_row: int  # 0: the private rows have soft labels; B: public rows follow them
    labels: IntArray  # [S, C, B] rows of the task's soft labels, and of its public examples
    weight: FloatArray  # [S, C, B] a/n or a/m, and 0

    def part(self, here: Part) -> SoftSteps:
        """Some steps of some devices."""
        return SoftSteps(self.first_row, self.labels[here], self.weight[here])


def steps_of_devices(counts: IntArray, training: TrainingPlan, *, public_examples: int) -> IntArray:
    """Steps that each device trains [C]; one without private examples walks the public ones instead."""
    examples = np.where(counts > 0, counts, public_examples)
    return training.epochs * _batches(examples, training.batch_size)


def private_steps(
    private: PrivateStack, devices: KeyArray, training: TrainingPlan, *, round: int, steps: int, shuffle: bool
) -> PrivateSteps:
    """Batches in a new order each epoch (`shuffle`), or as stored."""
    size, capacity = training.batch_size, private.capacity
    batches = _batches(private.counts, size)  # [C] in an epoch
    step = np.arange(steps)[:, None]  # [S, 1]
    epoch = step // np.maximum(batches, 1)  # [S, C]
    start = (step - epoch * batches) * size
    examples = np.where(epoch < training.epochs, np.minimum(private.counts - start, size), 0).clip(
        0
    )  # [S, C] n
    here = np.arange(size) < examples[..., None]  # [S, C, B]
    orders = np.empty((training.epochs, private.devices, capacity), np.int64)  # [E, C, N]
    for number in range(training.epochs):
        orders[number] = epoch_order(
            training.seed,
            devices,
            round=round,
            epoch=number,
            counts=private.counts,
            capacity=capacity,
            shuffle=shuffle,
        )
    first_cell = np.arange(private.devices) * capacity  # [C] of the flattened [C, N]
    position = (epoch * private.devices * capacity + first_cell + start)[..., None] + np.arange(size)
    cells = orders.reshape(-1).take(np.where(here, position, 0)) + first_cell[:, None]
    return PrivateSteps(
        rows=private.table_rows.reshape(-1).take(cells, mode="clip"),
        labels=_labels_of_cells(private.labels, cells),
        weight=_one_over(examples)[..., None] * here,
    )


def class_mean_steps(
    targets: ClassSoftLabels, private: PrivateSteps, *, soft_weight: float, classes: int
) -> tuple[FloatArray, SoftSteps]:
    """The hard weights [S, C, B] and the soft steps that distil from one soft label a class."""
    row_of_class = np.full(classes, -1)
    row_of_class[targets.present_classes] = np.arange(len(targets.present_classes))
    rows = row_of_class.take(private.labels)
    weight = private.weight * np.float32(soft_weight) * (rows >= 0)
    hard = private.weight * np.where(rows >= 0, np.float32(1 - soft_weight), np.float32(1))
    return hard, SoftSteps(first_row=0, labels=rows.clip(0), weight=weight)


def public_steps(
    targets: PublicSoftLabels,
    devices: KeyArray,
    training: TrainingPlan,
    *,
    round: int,
    active: npt.NDArray[np.bool_],
    shuffle: bool,
) -> SoftSteps:
    """The public rows of all steps; `active` [S, C] is true where a device trains.

    A round has one order of the public rows; each device enters it at a place of its own and walks on from
    there.
    """
    public = len(targets.public_rows)
    together = min(public, training.batch_size)  # m
    order = epoch_order(
        training.seed,
        _ALL_DEVICES,
        round=round,
        epoch=_PUBLIC_EPOCH,
        counts=np.array([public]),
        capacity=public,
        shuffle=shuffle,
    )[0]
    entry = draw(training.seed, devices, round=round, epoch=_PUBLIC_EPOCH) % np.uint64(public)  # [C]
    start = np.arange(len(active))[:, None] * together + entry.astype(np.int64)  # [S, C]
    rows = order.take((start[..., None] + np.arange(training.batch_size)) % public)  # [S, C, B]
    here = active[..., None] & (np.arange(training.batch_size) < together)
    weight = here * np.float32(training.soft_weight / together)
    return SoftSteps(first_row=training.batch_size, labels=rows, weight=weight)


def _labels_of_cells(labels: npt.NDArray[Any], cells: IntArray) -> npt.NDArray[Any]:
    """The labels [S, C, B, *label_shape] of cells of the flattened [C, N]."""
    if labels.ndim == 2:
        return labels.reshape(-1).take(cells, mode="clip")
    return labels.reshape(-1, *labels.shape[2:]).take(cells, axis=0, mode="clip")


def _batches(examples: IntArray, batch_size: int) -> IntArray:
    return -(-examples // batch_size)


def _one_over(examples: IntArray) -> FloatArray:
    return np.divide(
        1, examples, out=np.zeros(examples.shape, np.float32), where=examples > 0, dtype=np.float32
    )

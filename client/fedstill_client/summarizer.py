"""What a device says about its student: soft labels of public examples, or the mean soft label of each class.

Class means (Jeong et al. 2018, arXiv 1811.11479): for each class y that the device has examples of, the
mean over them of softmax(logits / temperature), and their number. Public soft labels (FedMD: Li and Wang
2019, arXiv 1910.03581; DS-FL: Itahara et al. 2020, arXiv 2008.06180): softmax(logits / temperature) of the
public rows that the task asks for, or of those among them that the device selects (row_selection.py); with
the number of its examples of each class, if the task asks for that, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from fedstill_proto.bases import offered_base
from fedstill_proto.codec import encode_summary
from fedstill_proto.levels import Levels
from fedstill_proto.messages import PrivateStatistics, RoundTask, SoftLabelSummary, SummaryKind
from fedstill_proto.soft_labels import DenseSoftLabels, FloatArray, IntArray

from fedstill_client.batches import public_examples
from fedstill_client.forward import Forward
from fedstill_client.private_stack import PrivateStack
from fedstill_client.row_selection import selected_rows


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
    scaled -= scaled.max(axis=-1, keepdims=True)
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


def summarize(
    task: RoundTask,
    parameters: Mapping[str, FloatArray],
    private: PrivateStack,
    *,
    forward: Forward,
    devices: int,
    public_x: FloatArray | None = None,
) -> list[bytes]:
    """The encoded answers of the first `devices` of the stack, whose trained parameters are [C, *shape]."""
    kind = task.request.kind
    if kind is SummaryKind.NONE:
        return [_encoded(task, PrivateStatistics())] * devices
    if kind is SummaryKind.PARAMETERS:
        return [
            _encoded(task, _trained_student(parameters, device, int(private.counts[device])))
            for device in range(devices)
        ]
    if kind is SummaryKind.CLASS_MEANS:
        logits = forward.own(parameters, private)
        means = class_means(logits, private.labels, private.counts, temperature=task.training.temperature)
        return [_encoded(task, _means_of(means, device)) for device in range(devices)]
    rows = public_examples(public_x, task.request.public_rows)
    logits = forward.shared(parameters, rows)  # [C, n, K]
    base = offered_base(task.request, task.soft_targets)
    return [
        _encoded(task, _public_answer(task, logits[device], rows, private, device), base)
        for device in range(devices)
    ]


def _encoded(task: RoundTask, statistics: PrivateStatistics, base: Levels | None = None) -> bytes:
    summary = SoftLabelSummary(task.run, task.round, task.family, task.request.kind, statistics)
    return encode_summary(summary, codec=task.request.codec, base=base)


def _public_answer(
    task: RoundTask, logits: FloatArray, rows: FloatArray, private: PrivateStack, device: int
) -> PrivateStatistics:
    """Soft labels of the rows [n, *shape] of which `logits` [n, K] are one device's."""
    request, answered = task.request, None
    if request.selection is not None:
        own = private.table[private.table_rows[device, : private.counts[device]]]
        answered = selected_rows(request.selection, logits, rows, own)
        logits = logits[answered]
    present = class_examples = np.empty(0, np.int64)
    if request.class_counts:
        counts = np.bincount(
            private.labels[device, : private.counts[device]].reshape(-1), minlength=logits.shape[-1]
        )
        present = np.flatnonzero(counts).astype(np.int64)
        class_examples = counts[present].astype(np.int64)
    return PrivateStatistics(
        soft_labels=DenseSoftLabels(softened(logits, task.training.temperature)),
        present_classes=present,
        class_examples=class_examples,
        answered=answered,
    )


def _trained_student(parameters: Mapping[str, FloatArray], device: int, examples: int) -> PrivateStatistics:
    own = {name: array[device] for name, array in parameters.items()}
    return PrivateStatistics(parameters=own, examples=examples)


def _means_of(means: ClassMeans, device: int) -> PrivateStatistics:
    rows = means.of(device)
    return PrivateStatistics(
        soft_labels=DenseSoftLabels(means.soft_labels[rows]),
        present_classes=means.present_class[rows],
        class_examples=means.examples[rows],
    )

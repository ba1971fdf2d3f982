"""What a device tells of its student: soft labels of public examples, or the mean soft label of each class.

Class means (Jeong et al. 2018, arXiv 1811.11479): for each class y that the device has examples of, the
mean over them of softmax(logits / temperature), and their number. Public soft labels (FedMD: Li and Wang
2019, arXiv 1910.03581; DS-FL: Itahara et al. 2020, arXiv 2008.06180): softmax(logits / temperature) of the
public rows that the task asks for, or of those among them that the device selects (row_selection.py); with
the number of its examples of each class, if the task asks for that, too. Relative features
(relative_features.py): of each class, alone or beside its mean soft label, or of the public rows. Or, for
differential privacy, one noised vector and nothing else (noised_answer.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from fedstill_proto.arrays import BoolArray, FloatArray, IntArray
from fedstill_proto.codec.summary_codec import measured_summaries, summaries_and_tables
from fedstill_proto.codec.task_base import delta_base_of
from fedstill_proto.codec.tensors import Moves
from fedstill_proto.errors import FedstillError
from fedstill_proto.messages import (
    PrivateStatistics,
    RoundTask,
    SoftLabelSummary,
    SummaryKind,
    SummaryRequest,
)
from fedstill_proto.soft_labels.base_table import BaseTable
from fedstill_proto.soft_labels.codec import SoftLabelCodec
from fedstill_proto.soft_labels.delta_base import DeltaBase
from fedstill_proto.soft_labels.drawn.tails import with_drawn_tails
from fedstill_proto.soft_labels.label_arrays import (
    DenseSoftLabels,
    TopKSoftLabels,
    keep_top_k,
    split_labels,
)

from fedstill_client.model.label_means import ClassMeans, class_means, softened
from fedstill_client.model.private_stack import PrivateStack
from fedstill_client.model.targets import soft_labels
from fedstill_client.rounds.logit_shift import moved_answers
from fedstill_client.rounds.noised_answer import NoiseOf, noised_answers, system_noise
from fedstill_client.rounds.relative_features import class_prototypes, relative_features
from fedstill_client.rounds.row_selection import selected_rows
from fedstill_client.rounds.trained_stack import TrainedStack

_VALUES_AT_ONCE = 1 << 21  # soft labels of text: 8 MB


class Encoded(NamedTuple):
    """An answer, and what the device is to keep for its next one to be coded against."""

    summary: bytes
    table: BaseTable | None


@dataclass(frozen=True, eq=False)
class StackAnswers:
    """The answers of a stack as a server sees them, without their bytes being made.

    Attributes:
        statistics: What is decoded of each device's summary.
        bytes: How many bytes each summary takes [devices].
        tables: What each device is to keep for its next answer to be coded against.
    """

    statistics: Sequence[PrivateStatistics]
    bytes: IntArray
    tables: Sequence[BaseTable | None]


def summarize(
    task: RoundTask,
    trained: TrainedStack,
    *,
    devices: int,
    tables: Sequence[BaseTable | None] | None = None,
    names: Sequence[str] = (),
    noise: NoiseOf = system_noise,
) -> list[Encoded]:
    """Encode the answers of a stack to a task.

    Args:
        task: What is asked for.
        trained: The stack after its training.
        devices: How many devices of the stack answer; those behind them are padding.
        tables: What each device sent up to the round that the task names (`base_round`).
        names: The devices' names, where noise is asked for.
        noise: Where the noise of each device comes from.

    Returns:
        An answer for each of the devices.

    Raises:
        FedstillError: The task asks for what these students or this public set cannot give.
    """
    encoded = summaries_and_tables(
        _summaries(task, trained, devices=devices, names=names, noise=noise),
        codec=task.request.codec,
        delta_bases=_delta_bases(task, tables, devices=devices),
        moves=Moves.of(task),
    )
    return [Encoded(*one) for one in encoded]


def stack_answers(
    task: RoundTask,
    trained: TrainedStack,
    *,
    devices: int,
    tables: Sequence[BaseTable | None] | None = None,
    names: Sequence[str] = (),
    noise: NoiseOf = system_noise,
) -> StackAnswers:
    """What the server decodes of the answers that `summarize` encodes, and how many bytes those take.

    A simulator folds answers where they are made; it takes the same arguments, and raises the same errors.
    """
    measured = measured_summaries(
        _summaries(task, trained, devices=devices, names=names, noise=noise),
        codec=task.request.codec,
        delta_bases=_delta_bases(task, tables, devices=devices),
        moves=Moves.of(task),
    )
    return StackAnswers(
        [one.statistics for one in measured],
        np.array([one.bytes for one in measured], np.int64),
        [one.table for one in measured],
    )


def _summaries(
    task: RoundTask, trained: TrainedStack, *, devices: int, names: Sequence[str], noise: NoiseOf
) -> list[SoftLabelSummary]:
    """The summaries of the first devices of the stack."""
    header = task.run, task.round, task.family, task.request.kind
    return [
        SoftLabelSummary(*header, statistics)
        for statistics in _statistics(task, trained, devices=devices, names=names, noise=noise)
    ]


def _delta_bases(
    task: RoundTask, tables: Sequence[BaseTable | None] | None, *, devices: int
) -> list[DeltaBase | None]:
    """What each device's answer may be coded against."""
    delta_base = delta_base_of(task)
    if delta_base is None or tables is None:
        return [delta_base] * devices
    return [replace(delta_base, table=table) for table in tables[:devices]]


def _statistics(
    task: RoundTask, trained: TrainedStack, *, devices: int, names: Sequence[str], noise: NoiseOf
) -> list[PrivateStatistics]:
    """What the first devices of the stack answer, before it is coded."""
    kind, private, manifest = task.request.kind, trained.private, trained.forward.manifest
    if task.request.noising is not None:
        return noised_answers(task, trained, names=names, noise=noise)
    if kind is SummaryKind.NONE:
        return [PrivateStatistics()] * devices
    if kind is SummaryKind.PARAMETERS:
        return [_trained_student(task, trained, device) for device in range(devices)]
    anchors = _anchors(trained, task) if len(task.request.anchor_rows) else None
    if kind is SummaryKind.PUBLIC_SET and manifest.labels_each_place:
        words = next_words(task, trained, devices=devices)
        return [PrivateStatistics(soft_labels=labels) for labels in words]
    if kind is SummaryKind.PUBLIC_SET:
        return _public_answers(task, trained, anchors, devices=devices)
    outputs = trained.forward.own_outputs(trained.parameters, private)
    if kind is SummaryKind.CLASS_PROTOTYPES:
        assert anchors is not None  # a request of this kind has some
        return [
            _prototypes_of(_outputs_of(outputs, device), private, device, anchors)
            for device in range(devices)
        ]
    means = class_means(
        outputs["logits"], private.labels, private.counts, temperature=task.training.temperature
    )
    answers = _means_of(means, devices)
    if anchors is not None:
        for device, statistics in enumerate(answers):
            prototypes = _prototypes_of(_outputs_of(outputs, device), private, device, anchors)
            answers[device] = replace(statistics, features=prototypes.features)
    return answers


def _public_answers(
    task: RoundTask, trained: TrainedStack, anchors: FloatArray | None, *, devices: int
) -> list[PrivateStatistics]:
    """The answers about public rows."""
    request, target = task.request, trained.forward.manifest.target
    if not target.is_single and (
        request.selection is not None or request.class_counts or anchors is not None
    ):
        raise FedstillError(
            f"the round asks for a selection of rows, classes or features, and the student says "
            f"{target.kind.value}: it answers soft labels of public rows, and nothing besides."
        )
    rows = trained.public_rows(request.public_rows)
    outputs = trained.forward.shared_outputs(trained.parameters, rows)
    logits, temperature = outputs["logits"], task.training.temperature
    if request.relative:
        before = trained.start_logits(rows)
        logits = moved_answers(target, before, logits, temperature=temperature)
    answered = [_answered_rows(request, trained, logits[device], rows, device) for device in range(devices)]
    said = [
        own if chosen is None else own[chosen] for own, chosen in zip(logits[:devices], answered, strict=True)
    ]
    together = logits[:devices] if request.selection is None else np.concatenate(said)
    labels = soft_labels(target, together, temperature=temperature)
    each = split_labels(labels, [own.size // own.shape[-1] for own in said])
    answers = []
    for device, (own_labels, chosen) in enumerate(zip(each, answered, strict=True)):
        present, examples = _class_counts(request, trained.private, device, classes=logits.shape[-1])
        features = None
        if anchors is not None:
            features = relative_features(outputs["features"][device], anchors[device])
            features = features if chosen is None else features[chosen]
        answers.append(
            PrivateStatistics(
                soft_labels=own_labels,
                present_classes=present,
                class_examples=examples,
                answered=chosen,
                features=features,
            )
        )
    return answers


def _answered_rows(
    request: SummaryRequest, trained: TrainedStack, logits: FloatArray, rows: FloatArray, device: int
) -> BoolArray | None:
    """Which of the rows [n, *shape] a device answers; None where it is to answer all."""
    if request.selection is None:
        return None
    private = trained.private
    own = private.table[private.table_rows[device, : private.counts[device]]]
    return selected_rows(request.selection, logits, rows, own)


def _class_counts(
    request: SummaryRequest, private: PrivateStack, device: int, *, classes: int
) -> tuple[IntArray, IntArray]:
    """The classes that a device has, and how many examples of each, if that is asked for."""
    if not request.class_counts:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    counts = np.bincount(private.labels[device, : private.counts[device]].reshape(-1), minlength=classes)
    present = np.flatnonzero(counts).astype(np.int64)
    return present, counts[present].astype(np.int64)


def next_words(task: RoundTask, trained: TrainedStack, *, devices: int) -> list[TopKSoftLabels]:
    """The k likeliest words of each device after each place of the rows that are asked for, row by row.

    A few rows at a time: the soft labels of all of them over all words would be hundreds of megabytes.
    """
    request, manifest = task.request, trained.forward.manifest
    codec = request.codec
    if (
        codec is None
        or not codec.kept(manifest.classes)
        or request.selection is not None
        or request.relative
        or request.class_counts
    ):
        raise FedstillError(
            "the round asks a student of text for more than its likeliest next words; ask for top-k soft "
            "labels of public rows, and for nothing besides."
        )
    rows = trained.public_rows(request.public_rows)
    values_per_row = manifest.stack_size * math.prod(manifest.label_shape) * manifest.classes
    at_once = max(1, _VALUES_AT_ONCE // values_per_row)
    parts: list[list[TopKSoftLabels]] = [[] for _ in range(devices)]
    for start in range(0, len(rows), at_once):
        logits = trained.forward.shared(trained.parameters, rows[start : start + at_once])
        for device in range(devices):
            labels = softened(logits[device].reshape(-1, manifest.classes), task.training.temperature)
            parts[device].append(_likeliest(labels, codec))
    return [
        TopKSoftLabels(
            np.concatenate([part.indices for part in own]),
            np.concatenate([part.probabilities for part in own]),
            manifest.classes,
        )
        for own in parts
    ]


def _likeliest(probabilities: FloatArray, codec: SoftLabelCodec) -> TopKSoftLabels:
    """The words of each row [n, words] that the codec has place for."""
    labels = DenseSoftLabels(probabilities)
    if codec.drawn:
        return with_drawn_tails(labels, k=codec.k, drawn=codec.drawn).named()
    return keep_top_k(labels, codec.k)


def _outputs_of(outputs: Mapping[str, FloatArray], device: int) -> dict[str, FloatArray]:
    """One device's part of what the forward graph gave."""
    return {name: array[device] for name, array in outputs.items()}


def _anchors(trained: TrainedStack, task: RoundTask) -> FloatArray:
    """Features [C, W, width] of the public rows that are the task's anchors."""
    rows = trained.public_rows(task.request.anchor_rows)
    outputs = trained.forward.shared_outputs(trained.parameters, rows)
    if "features" not in outputs:
        raise FedstillError(
            "the round asks for features, and the training artifact gives none; rebuild it with them."
        )
    return outputs["features"]


def _prototypes_of(
    outputs: Mapping[str, FloatArray], private: PrivateStack, device: int, anchors: FloatArray
) -> PrivateStatistics:
    """The mean relative features of each class that the device has examples of."""
    count = private.counts[device]
    relative = relative_features(outputs["features"][:count], anchors[device])
    present, examples, prototypes = class_prototypes(relative, private.labels[device, :count])
    return PrivateStatistics(present_classes=present, class_examples=examples, features=prototypes)


def _trained_student(task: RoundTask, trained: TrainedStack, device: int) -> PrivateStatistics:
    local = task.training.local_parameters
    student, control_variates = (
        {name: array[device] for name, array in arrays.items() if name not in local}
        for arrays in (trained.parameters, trained.control_variates)
    )
    examples = int(trained.private.counts[device])
    return PrivateStatistics(parameters=student, examples=examples, control_variates=control_variates)


def _means_of(means: ClassMeans, devices: int) -> list[PrivateStatistics]:
    parts = [means.of(device) for device in range(devices)]
    together = DenseSoftLabels(means.soft_labels[: parts[-1].stop if parts else 0])
    labels = split_labels(together, [rows.stop - rows.start for rows in parts])
    return [
        PrivateStatistics(
            soft_labels=own,
            present_classes=means.present_class[rows],
            class_examples=means.examples[rows],
        )
        for own, rows in zip(labels, parts, strict=True)
    ]

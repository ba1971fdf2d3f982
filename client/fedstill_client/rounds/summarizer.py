"""What a device says about its student: soft labels of public examples, or the mean soft label of each class.

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
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from fedstill_proto.arrays import FloatArray
from fedstill_proto.codec.summary_codec import summary_and_table
from fedstill_proto.codec.task_base import delta_base_of
from fedstill_proto.errors import FedstillError
from fedstill_proto.messages import PrivateStatistics, RoundTask, SoftLabelSummary, SummaryKind
from fedstill_proto.soft_labels.base_table import BaseTable
from fedstill_proto.soft_labels.delta_base import DeltaBase
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels, TopKSoftLabels, keep_top_k

from fedstill_client.model.batches import public_examples
from fedstill_client.model.forward import Forward
from fedstill_client.model.label_means import ClassMeans, class_means, softened
from fedstill_client.model.private_stack import PrivateStack
from fedstill_client.rounds.logit_shift import logit_shift, start_logits
from fedstill_client.rounds.noised_answer import NoiseOf, noised_answers, system_noise
from fedstill_client.rounds.relative_features import class_prototypes, relative_features
from fedstill_client.rounds.row_selection import selected_rows

_VALUES_AT_ONCE = 1 << 21  # soft labels of text: 8 MB


class Encoded(NamedTuple):
    """An answer, and what the device is to keep for its next one to be coded against."""

    summary: bytes
    table: BaseTable | None


def summarize(
    task: RoundTask,
    parameters: Mapping[str, FloatArray],
    private: PrivateStack,
    *,
    forward: Forward,
    devices: int,
    public_x: FloatArray | None = None,
    tables: Sequence[BaseTable | None] | None = None,
    start: Mapping[str, FloatArray] | None = None,
    names: Sequence[str] = (),
    noise: NoiseOf = system_noise,
) -> list[Encoded]:
    """The encoded answers of the first `devices` of the stack, whose trained parameters are [C, *shape].

    start: the students before training, [C, *shape] or [*shape] for all devices: for relative answers.
    names: of the devices, whose `noise` it is, where noise is asked for.
    tables: what each device sent up to the round that the task names (`base_round`).
    """
    kind = task.request.kind
    if task.request.noising is not None:
        assert start is not None  # a round always has one
        return [
            _encoded(task, noised)
            for noised in noised_answers(
                task,
                parameters,
                private,
                forward=forward,
                names=names,
                public_x=public_x,
                start=start,
                noise=noise,
            )
        ]
    if kind is SummaryKind.NONE:
        return [_encoded(task, PrivateStatistics())] * devices
    if kind is SummaryKind.PARAMETERS:
        return [
            _encoded(task, _trained_student(parameters, device, int(private.counts[device])))
            for device in range(devices)
        ]
    anchors = None
    if len(task.request.anchor_rows):
        anchors = _anchors(forward, parameters, public_examples(public_x, task.request.anchor_rows))
    if kind is SummaryKind.PUBLIC_SET and forward.manifest.label_shape:
        return [
            _encoded(task, PrivateStatistics(soft_labels=labels))
            for labels in next_words(task, parameters, forward, devices=devices, public_x=public_x)
        ]
    if kind is SummaryKind.PUBLIC_SET:
        rows = public_examples(public_x, task.request.public_rows)
        answers = forward.shared_outputs(parameters, rows)
        if task.request.relative:
            before = start_logits(forward, start, rows)
            moved = logit_shift(before, answers["logits"], temperature=task.training.temperature)
            answers = {**answers, "logits": moved}
        delta_base, encoded = delta_base_of(task), []
        for device in range(devices):
            if delta_base is not None and tables is not None:
                delta_base = replace(delta_base, table=tables[device])
            said = _public_answer(task, _of(answers, device), rows, private, device, anchors)
            encoded.append(_encoded(task, said, delta_base))
        return encoded
    answers = forward.own_outputs(parameters, private)
    if kind is SummaryKind.CLASS_PROTOTYPES:
        assert anchors is not None  # a request of this kind has some
        return [
            _encoded(task, _prototypes_of(_of(answers, device), private, device, anchors))
            for device in range(devices)
        ]
    means = class_means(
        answers["logits"], private.labels, private.counts, temperature=task.training.temperature
    )
    statistics = [_means_of(means, device) for device in range(devices)]
    if anchors is not None:
        for device, known in enumerate(statistics):
            prototypes = _prototypes_of(_of(answers, device), private, device, anchors)
            statistics[device] = replace(known, features=prototypes.features)
    return [_encoded(task, known) for known in statistics]


def next_words(
    task: RoundTask,
    parameters: Mapping[str, FloatArray],
    forward: Forward,
    *,
    devices: int,
    public_x: FloatArray | None,
) -> list[TopKSoftLabels]:
    """Of each device, the k likeliest words after each place of the asked rows, row by row.

    A few rows at a time: the soft labels of all of them over all words would be hundreds of megabytes.
    """
    request, manifest = task.request, forward.manifest
    kept = 0 if request.codec is None else request.codec.kept(manifest.classes)
    if not kept or request.selection is not None or request.relative or request.class_counts:
        raise FedstillError(
            "the round asks a student of text for more than its likeliest next words; ask for top-k soft "
            "labels of public rows, and for nothing besides."
        )
    rows = public_examples(public_x, request.public_rows)
    a_row = manifest.stack_size * math.prod(manifest.label_shape) * manifest.classes
    at_once = max(1, _VALUES_AT_ONCE // a_row)
    parts: list[list[TopKSoftLabels]] = [[] for _ in range(devices)]
    for start in range(0, len(rows), at_once):
        logits = forward.shared(parameters, rows[start : start + at_once])
        for device in range(devices):
            chances = softened(logits[device].reshape(-1, manifest.classes), task.training.temperature)
            parts[device].append(keep_top_k(DenseSoftLabels(chances), kept))
    return [
        TopKSoftLabels(
            np.concatenate([part.indices for part in own]),
            np.concatenate([part.probabilities for part in own]),
            manifest.classes,
        )
        for own in parts
    ]


def _of(answers: Mapping[str, FloatArray], device: int) -> dict[str, FloatArray]:
    """One device's part of what the forward graph gave."""
    return {name: array[device] for name, array in answers.items()}


def _anchors(forward: Forward, parameters: Mapping[str, FloatArray], x: FloatArray) -> FloatArray:
    """Features [C, W, width] of the anchors x [W, *shape]."""
    outputs = forward.shared_outputs(parameters, x)
    if "features" not in outputs:
        raise FedstillError(
            "the round asks for features, and the training artifact gives none; rebuild it with them."
        )
    return outputs["features"]


def _prototypes_of(
    answers: Mapping[str, FloatArray], private: PrivateStack, device: int, anchors: FloatArray
) -> PrivateStatistics:
    """The mean relative features of each class that the device has examples of."""
    count = private.counts[device]
    relative = relative_features(answers["features"][:count], anchors[device])
    present, examples, prototypes = class_prototypes(relative, private.labels[device, :count])
    return PrivateStatistics(present_classes=present, class_examples=examples, features=prototypes)


def _encoded(task: RoundTask, statistics: PrivateStatistics, delta_base: DeltaBase | None = None) -> Encoded:
    summary = SoftLabelSummary(task.run, task.round, task.family, task.request.kind, statistics)
    return Encoded(*summary_and_table(summary, codec=task.request.codec, delta_base=delta_base))


def _public_answer(
    task: RoundTask,
    answers: Mapping[str, FloatArray],
    rows: FloatArray,
    private: PrivateStack,
    device: int,
    anchors: FloatArray | None,
) -> PrivateStatistics:
    """Soft labels, and features if asked, of `rows` [n, *shape], of which `answers` are the student's."""
    request, answered, logits = task.request, None, answers["logits"]
    features = None if anchors is None else relative_features(answers["features"], anchors[device])
    if request.selection is not None:
        own = private.table[private.table_rows[device, : private.counts[device]]]
        answered = selected_rows(request.selection, logits, rows, own)
        logits = logits[answered]
        features = None if features is None else features[answered]
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
        features=features,
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

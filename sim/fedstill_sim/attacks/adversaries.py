"""The devices of a fleet that lie: their honest answers are taken from them, and others put in their place.

They work like all others first, on whatever they train on. Then their attack sees the round as somebody who
knows everything, and what it has them say is encoded with the round's codec, as theirs. The server's gate is
the first that checks it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from fedstill_client.rounds.base_table_store import BaseTableStore
from fedstill_proto.arrays import Float64Array, IntArray, Parameters
from fedstill_proto.codec.api import TASK_LIMIT_BYTES, Expected, decode_summary, decode_task, encode_summary
from fedstill_proto.codec.task_base import delta_base_of
from fedstill_proto.codec.tensors import Moves
from fedstill_proto.errors import FedstillError
from fedstill_proto.flower_records import RECORD, pack, unpack
from fedstill_proto.messages import (
    ClassSoftLabels,
    PrivateStatistics,
    PublicSoftLabels,
    RoundTask,
    SoftLabelSummary,
    SummaryKind,
)
from fedstill_proto.mixed_rows import rows_with_mixed
from fedstill_proto.readers.classes import UNLABELLED
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels
from fedstill_server.config.fleet import FleetConfig
from fedstill_server.methods import method_of
from fedstill_server.plugins import called
from fedstill_server.randomness import generator
from flwr.app import Error, MetricRecord, RecordDict

from fedstill_sim.attacks.answers import LabelAnswers, ParameterAnswers
from fedstill_sim.attacks.interface import LabelView, ParameterView
from fedstill_sim.attacks.registry import AttackPlan
from fedstill_sim.data.fleet import FleetData
from fedstill_sim.engine.cohort import Reply
from fedstill_sim.engine.grid import Handler
from fedstill_sim.engine.shards import EvaluationCounts
from fedstill_sim.folder import DEVICES_FOLDER

_LARGEST = float(np.finfo(np.float32).max)


class AttackError(FedstillError):
    """An attack returned something that its devices cannot say."""


@dataclass(frozen=True, eq=False)
class _Heard:
    """A device's honest answer: its place in the push, its number, its task and what it says."""

    place: int
    device: int
    task: RoundTask
    statistics: PrivateStatistics


class Adversaries:
    """Those devices of a run that lie, as handlers between the engine and the Grid."""

    def __init__(self, plan: AttackPlan, fleet: FleetConfig, data: FleetData, run_folder: Path) -> None:
        """Draw the devices.

        Args:
            plan: Their share, and how they lie.
            fleet: What the server is configured to do.
            data: The fleet's data.
            run_folder: The run.
        """
        self._attack, self._name = plan.made, plan.attack.name
        self._devices = frozenset(plan.adversaries(data.devices, seed=fleet.seed).tolist())
        self._fleet, self._data = fleet, data
        self._method = method_of(fleet.method)
        self._tables = BaseTableStore(run_folder / DEVICES_FOLDER / "answers")

    def among(self, handlers: Mapping[str, Handler]) -> dict[str, Handler]:
        """The handlers of a fleet in which these devices lie, and are not measured."""

        def train(devices: Sequence[int], contents: Sequence[RecordDict]) -> Sequence[Reply]:
            return self._lied(devices, contents, list(handlers["train"](devices, contents)))

        def evaluate(devices: Sequence[int], contents: Sequence[RecordDict]) -> Sequence[Reply]:
            replies = handlers["evaluate"](devices, contents)
            return [
                _unmeasured(reply) if device in self._devices else reply
                for device, reply in zip(devices, replies, strict=True)
            ]

        return {**handlers, "train": train, "evaluate": evaluate}

    def _lied(
        self, devices: Sequence[int], contents: Sequence[RecordDict], replies: list[Reply]
    ) -> list[Reply]:
        groups: dict[tuple[object, ...], list[_Heard]] = defaultdict(list)
        for heard in self._hear(devices, contents, replies):
            request = heard.task.request
            of = (
                heard.task.family if request.kind is SummaryKind.PARAMETERS else request.public_rows.tobytes()
            )
            groups[heard.task.round, request.kind, of].append(heard)
        for answers in groups.values():
            liars = [one for one in answers if one.device in self._devices]
            if liars:
                honest = [one for one in answers if one.device not in self._devices] or liars
                for liar, statistics in zip(liars, self._lies(honest, liars), strict=True):
                    replies[liar.place] = pack("SoftLabelSummary", _encoded(liar.task, statistics))
        return replies

    def _hear(
        self, devices: Sequence[int], contents: Sequence[RecordDict], replies: Sequence[Reply]
    ) -> list[_Heard]:
        """What the devices answer honestly, read as the server reads it; who failed says nothing."""
        tasks: dict[bytes, RoundTask] = {}
        heard = []
        for place, (device, content, reply) in enumerate(zip(devices, contents, replies, strict=True)):
            if isinstance(reply, Error):
                continue
            blob = unpack(content, "RoundTask", size_limit_bytes=TASK_LIMIT_BYTES)
            task = tasks[blob] if blob in tasks else tasks.setdefault(blob, decode_task(blob))
            if task.request.kind in (SummaryKind.NONE, SummaryKind.CLASS_PROTOTYPES):
                continue
            expected = Expected.of(task, self._fleet.classes, task.parameters).with_table(
                self._tables.table(
                    self._data.device_names[device], run=task.run, round=task.request.base_round
                )
            )
            answer = unpack(reply, "SoftLabelSummary", size_limit_bytes=expected.size_limit_bytes)
            heard.append(_Heard(place, device, task, decode_summary(answer, expected=expected).statistics))
        return heard

    def _lies(self, honest: Sequence[_Heard], liars: Sequence[_Heard]) -> list[PrivateStatistics]:
        task = liars[0].task
        by_family = task.family if task.request.kind is SummaryKind.PARAMETERS else "all"
        known: dict[str, Any] = {
            "round": task.round,
            "rounds": self._fleet.rounds,
            "method": self._method,
            "request": task.request,
            "generator": generator(self._fleet.seed, task.round, f"attack/{self._name}/{by_family}"),
        }
        where = f"attack {self._name}"
        if task.request.kind is SummaryKind.PARAMETERS:
            own = _parameter_answers(liars)
            start = _flat({name: task.parameters[name] for name in liars[0].statistics.parameters})
            students = ParameterView(honest=_parameter_answers(honest), own=own, start=start, **known)
            said = called(where, lambda: self._attack.parameters(students))
            _check_like(where, said, own)
            return [_with_parameters(one, said, number) for number, one in enumerate(liars)]
        own_labels = self._label_answers(liars)
        labels = LabelView(
            honest=self._label_answers(honest),
            own=own_labels,
            told=_told(task, self._fleet.classes),
            labels=self._labels(task),
            x=rows_with_mixed(np.asarray(self._data.public_x), task.request.public_rows),
            **known,
        )
        words = called(where, lambda: self._attack.soft_labels(labels))
        _check_like(where, words, own_labels)
        return [_with_labels(one, words, number) for number, one in enumerate(liars)]

    def _labels(self, task: RoundTask) -> IntArray | None:
        if self._data.public_y is None or not self._fleet.use_public_labels:
            return None
        if task.request.kind is SummaryKind.CLASS_MEANS:
            return np.arange(self._fleet.classes)
        rows = task.request.public_rows
        if rows.size and rows.max() >= len(self._data.public_y):
            return None  # nobody has labelled mixed rows
        labels = np.asarray(self._data.public_y)[rows]
        return None if UNLABELLED in labels else labels

    def _label_answers(self, heard: Sequence[_Heard]) -> LabelAnswers:
        return LabelAnswers.joined([_label_answer(one, self._fleet.classes) for one in heard])


def _unmeasured(reply: Reply) -> Reply:
    """An adversary's accuracy is nobody's concern: it counts no examples."""
    if isinstance(reply, Error):
        return reply
    return RecordDict({RECORD: MetricRecord(dict.fromkeys(EvaluationCounts._fields, 0))})


def _label_answer(heard: _Heard, classes: int) -> LabelAnswers:
    """One device's soft labels as arrays of every row that was asked."""
    statistics, request = heard.statistics, heard.task.request
    assert statistics.soft_labels is not None  # these kinds of answers hold them
    counts = np.zeros(classes, np.int64)
    counts[statistics.present_classes] = statistics.class_examples
    if request.kind is SummaryKind.CLASS_MEANS:
        said = np.zeros(classes, np.bool_)
        said[statistics.present_classes] = True
    else:
        said = np.ones(len(request.public_rows), np.bool_)
        said = said if statistics.answered is None else statistics.answered
    probabilities = np.full((len(said), classes), 1 / classes)
    probabilities[said] = statistics.soft_labels.dense()
    return LabelAnswers(probabilities=probabilities[None], said=said[None], counts=counts[None])


def _parameter_answers(heard: Sequence[_Heard]) -> ParameterAnswers:
    students = [_flat(one.statistics.parameters) for one in heard]
    examples = np.array([one.statistics.examples for one in heard], np.int64)
    return ParameterAnswers(parameters=np.stack(students), examples=examples)


def _flat(parameters: Parameters) -> Float64Array:
    flat: Float64Array = np.concatenate([array.ravel() for array in parameters.values()]).astype(np.float64)
    return flat


def _told(task: RoundTask, classes: int) -> Float64Array:
    """The soft labels [rows, classes] that the task carries of the rows it asks for."""
    targets, request = task.soft_targets, task.request
    if request.kind is SummaryKind.CLASS_MEANS:
        asked = np.arange(classes)
        of = targets.present_classes if isinstance(targets, ClassSoftLabels) else asked[:0]
    else:
        asked = request.public_rows
        of = targets.public_rows if isinstance(targets, PublicSoftLabels) else asked[:0]
    told = np.full((len(asked), classes), 1 / classes)
    if targets is not None and len(of):
        _, here, there = np.intersect1d(asked, of, return_indices=True)
        told[here] = targets.soft_labels.dense()[there]
    return told


def _check_like(
    where: str, said: LabelAnswers | ParameterAnswers, own: LabelAnswers | ParameterAnswers
) -> None:
    """Refuse what has another shape than the adversaries' own answers, or is no number."""
    if type(said) is not type(own):
        raise AttackError(f"{where}: it returned {type(said).__name__}, and {type(own).__name__} is wanted")
    for name, wanted in vars(own).items():
        got = np.asarray(getattr(said, name))
        if got.shape != wanted.shape or not np.isfinite(got).all():
            raise AttackError(
                f"{where}: {name} {list(got.shape)} with {np.isfinite(got).sum()} finite numbers; it must be "
                f"{list(wanted.shape)}, all finite"
            )


def _with_labels(liar: _Heard, said: LabelAnswers, number: int) -> PrivateStatistics:
    """What one adversary says, as an answer to its task; features that were asked for stay its own."""
    rows, statistics = said.said[number], liar.statistics
    chosen = np.maximum(said.probabilities[number][rows], 0)
    sums = chosen.sum(axis=1, keepdims=True)
    if (sums <= 0).any():
        raise AttackError("attack: probabilities of a row add up to 0")
    labels = DenseSoftLabels((chosen / sums).astype(np.float32))
    features = statistics.features
    if features is not None:
        everywhere = np.zeros((len(rows), features.shape[1]), np.float32)
        everywhere[_label_answer(liar, labels.classes).said[0]] = features
        features = everywhere[rows]
    if liar.task.request.kind is SummaryKind.CLASS_MEANS:
        present = np.flatnonzero(rows).astype(np.int64)
        counts = np.maximum(said.counts[number][present], 1).astype(np.int64)
        return replace(
            statistics, soft_labels=labels, present_classes=present, class_examples=counts, features=features
        )
    counted = said.counts[number]
    if liar.task.request.class_counts:
        present = np.flatnonzero(counted > 0).astype(np.int64)
        statistics = replace(
            statistics, present_classes=present, class_examples=counted[present].astype(np.int64)
        )
    answered = rows if liar.task.request.selection is not None else None
    return replace(statistics, soft_labels=labels, answered=answered, features=features)


def _with_parameters(liar: _Heard, said: ParameterAnswers, number: int) -> PrivateStatistics:
    """What one adversary sends: the numbers [width] cut into arrays like its own; control variates stay."""
    numbers = np.clip(said.parameters[number], -_LARGEST, _LARGEST).astype(np.float32)
    named, start = {}, 0
    for name, array in liar.statistics.parameters.items():
        named[name] = numbers[start : start + array.size].reshape(array.shape)
        start += array.size
    return replace(liar.statistics, parameters=named, examples=int(said.examples[number]))


def _encoded(task: RoundTask, statistics: PrivateStatistics) -> bytes:
    summary = SoftLabelSummary(task.run, task.round, task.family, task.request.kind, statistics)
    # Without a table: what the server holds of an adversary is what it said, which no file of its keeps.
    base, moves = delta_base_of(task), Moves.of(task)
    return encode_summary(summary, codec=task.request.codec, delta_base=base, moves=moves)

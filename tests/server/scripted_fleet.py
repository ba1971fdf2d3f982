"""Devices for the server's tests: real Flower messages, answered by script, with nothing trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from fedstill_proto.codec.api import TASK_LIMIT_BYTES, decode_task, encode_summary
from fedstill_proto.codec.tensors import Moves
from fedstill_proto.flower_records import RECORD, hello_reply, pack, read_hello, unpack
from fedstill_proto.messages import (
    Optimizer,
    PrivateStatistics,
    RoundTask,
    SoftLabelSummary,
    SummaryKind,
    TrainingPlan,
)
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels
from fedstill_proto.system.sealed import write_sealed_json
from fedstill_server.config.fleet import CohortRule, FleetConfig, TeacherConfig
from fedstill_server.data.examples import Examples
from fedstill_server.data.forms import Labels
from fedstill_server.methods import completed, methods_for
from fedstill_server.methods.checks import checked_fleet
from fedstill_sim.engine.grid import FIRST_DEVICE_NODE_ID, InProcessGrid
from flwr.app import Error, Message, MetricRecord, RecordDict

SHAPE, CLASSES, PUBLIC = (4,), 3, 12
METHODS_OF_ANY_FAMILY = tuple(name for name in methods_for(Labels.ONE) if name != "fedbn")
Reply = RecordDict | Error
# What a device says to a task instead of the truth; None says nothing at all.
Script = Callable[[RoundTask], Reply | None]
_SILENT = Error(code=99, reason="never delivered")


def public_examples(seed: int = 0) -> Examples:
    """Three clusters that anyone can tell apart."""
    rng = np.random.default_rng(seed)
    y = np.arange(PUBLIC) % CLASSES
    x = np.eye(CLASSES, 4)[y] * 2 + rng.normal(0, 0.1, (PUBLIC, 4))
    return Examples(x.astype(np.float32), y)


def fleet_config(
    method: str = "public-logits", options: Mapping[str, Any] | None = None, **changes: Any
) -> FleetConfig:
    """options: of the method; unless they say so, no public rows are mixed, and students come whole."""
    settings: dict[str, Any] = {
        "run": "0123abcd",
        "method": completed(method, options or {}, usual={"fewest_rows": 0, "weights": "float32"}),
        "rounds": 3,
        "seed": 5,
        "families": ("mlp-small",),
        "classes": CLASSES,
        "input_shape": SHAPE,
        "public_set": "public.npz",
        "training": TrainingPlan(
            epochs=1,
            batch_size=4,
            learning_rate=0.125,  # a float32, as on the wire
            optimizer=Optimizer.SGD,
            temperature=2.0,
            soft_weight=0.5,
            seed=5,
        ),
        "teacher": TeacherConfig(hidden=(8,), epochs=2, student_epochs=2, round_epochs=1),
        "public_batch": 5,
        "cohort": CohortRule(deadline_s=0.2),
    }
    return checked_fleet(FleetConfig(**{**settings, **changes}))


def write_run(folder: Path, config: FleetConfig) -> None:
    """A run's folder as the server finds it."""
    public = public_examples()
    assert public.y is not None
    np.savez(folder / "public.npz", x=public.x, y=public.y)
    write_sealed_json(folder / "config.json", {"fleet": config.to_json()})


def honest_statistics(task: RoundTask, device: int) -> PrivateStatistics:
    """Something valid that depends on the device, the round and the task, and on nothing else."""
    rng = np.random.default_rng([device, task.round])
    kind = task.request.kind
    if kind is SummaryKind.PUBLIC_SET:
        answered, rows = None, len(task.request.public_rows)
        if task.request.selection is not None:
            answered = rng.random(rows) < 0.7
            rows = int(answered.sum())
        labels = rng.dirichlet(np.ones(CLASSES), rows)
        present = np.flatnonzero(np.arange(CLASSES) != device % CLASSES)[: 9 * task.request.class_counts]
        return PrivateStatistics(
            soft_labels=DenseSoftLabels(labels.reshape(rows, CLASSES).astype(np.float32)),
            present_classes=present,
            class_examples=rng.integers(1, 9, len(present)),
            answered=answered,
            features=cosines(rng, task, rows),
        )
    if kind is SummaryKind.CLASS_MEANS:
        present = np.flatnonzero(np.arange(CLASSES) != device % CLASSES)
        labels = rng.dirichlet(np.ones(CLASSES), len(present))
        return PrivateStatistics(
            soft_labels=DenseSoftLabels(labels.astype(np.float32)),
            present_classes=present,
            class_examples=rng.integers(1, 9, len(present)),
            features=cosines(rng, task, len(present)),
        )
    if kind is SummaryKind.CLASS_PROTOTYPES:
        present = np.flatnonzero(np.arange(CLASSES) != device % CLASSES)
        return PrivateStatistics(
            present_classes=present,
            class_examples=rng.integers(1, 9, len(present)),
            features=cosines(rng, task, len(present)),
        )
    if kind is SummaryKind.PARAMETERS:
        local = task.training.local_parameters
        moved = {n: v + np.float32(device) for n, v in task.parameters.items() if n not in local}
        control_variates = {name: array + 0.5 for name, array in task.control_variates.items()}
        return PrivateStatistics(parameters=moved, examples=device + 1, control_variates=control_variates)
    return PrivateStatistics()


def cosines(rng: np.random.Generator, task: RoundTask, rows: int) -> np.ndarray | None:
    """Relative features in whole 127ths, if the task asks for any."""
    anchors = len(task.request.anchor_rows)
    if not anchors:
        return None
    return rng.integers(-127, 128, (rows, anchors)).astype(np.float32) / np.float32(127)


def honest_summary(task: RoundTask, device: int) -> bytes:
    statistics = honest_statistics(task, device)
    summary = SoftLabelSummary(task.run, task.round, task.family, task.request.kind, statistics)
    return encode_summary(summary, codec=task.request.codec, moves=Moves.of(task))


def read_task(content: RecordDict) -> RoundTask:
    return decode_task(unpack(content, "RoundTask", size_limit_bytes=TASK_LIMIT_BYTES))


@dataclass
class ScriptedGrid(InProcessGrid):
    """`devices` honest devices, but for those with a script; some answer only after `delays` looks."""

    devices: int = 4
    families: Sequence[str] = ("mlp-small",)
    generation: int = 1
    scripts: dict[int, Script] = field(default_factory=dict)
    delays: dict[int, int] = field(default_factory=dict)  # device -> looks for its summary without one
    greet: Callable[[int, RecordDict], Reply] | None = None
    absent: set[int] = field(default_factory=set)
    again: set[int] = field(default_factory=set)  # devices whose summaries are delivered twice
    tasks: list[tuple[int, RoundTask]] = field(default_factory=list)  # all train tasks, as received
    evaluated: list[tuple[int, RoundTask]] = field(default_factory=list)

    def __post_init__(self) -> None:
        handlers = {"query.hello": self._hello, "train": self._train, "evaluate": self._evaluate}
        self._held: dict[str, tuple[int, Message]] = {}
        super().__init__(devices=self.devices, handlers=handlers)

    def get_node_ids(self) -> list[int]:
        return [node for node in super().get_node_ids() if node - FIRST_DEVICE_NODE_ID not in self.absent]

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """What is there; summaries of slow devices after some looks, of silent ones never."""
        wanted = list(message_ids)
        delivered = []
        for reply in super().pull_messages(wanted):
            device = reply.metadata.src_node_id - FIRST_DEVICE_NODE_ID
            training = reply.metadata.message_type == "train"
            if reply.has_error() and reply.error.code == _SILENT.code:
                continue
            if training and self.delays.get(device, 0) > 0:
                self._held[reply.metadata.reply_to_message_id] = (self.delays[device], reply)
                continue
            delivered += [reply, reply] if training and device in self.again else [reply]
        for message_id in wanted:
            if message_id in self._held:
                looks, reply = self._held.pop(message_id)
                if looks > 1:
                    self._held[message_id] = (looks - 1, reply)
                else:
                    delivered.append(reply)
        return delivered

    def _hello(self, devices: Sequence[int], contents: Sequence[RecordDict]) -> list[Reply]:
        return [self._greet_one(device, content) for device, content in zip(devices, contents, strict=True)]

    def _greet_one(self, device: int, content: RecordDict) -> Reply:
        read_hello(content)
        if self.greet is not None:
            return self.greet(device, content)
        family = self.families[device % len(self.families)]
        return hello_reply(f"device-{device}", family, generation=self.generation)

    def _train(self, devices: Sequence[int], contents: Sequence[RecordDict]) -> list[Reply]:
        answers: list[Reply] = []
        for device, content in zip(devices, contents, strict=True):
            task = read_task(content)
            self.tasks.append((device, task))
            if device in self.scripts:
                answers.append(self.scripts[device](task) or _SILENT)
            else:
                answers.append(pack("SoftLabelSummary", honest_summary(task, device)))
        return answers

    def _evaluate(self, devices: Sequence[int], contents: Sequence[RecordDict]) -> list[Reply]:
        answers: list[Reply] = []
        for device, content in zip(devices, contents, strict=True):
            self.evaluated.append((device, read_task(content)))
            counts = {"personal_correct": device, "personal_examples": 10}
            counts |= {"global_correct": 2 * device, "global_examples": 20}
            counts |= {"fleet_personal_correct": device, "fleet_global_correct": 2 * device}
            answers.append(RecordDict({RECORD: MetricRecord(counts)}))
        return answers

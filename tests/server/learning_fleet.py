"""Devices that really learn: the client's own round work behind Flower messages, in this process."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from fedstill_client.model.forward import Forward
from fedstill_client.model.private_stack import PrivateStack
from fedstill_client.model.trainer import Personalizer
from fedstill_client.rounds.round import DeviceStack, evaluate, perform_round
from fedstill_proto.arrays import FloatArray, IntArray, Parameters
from fedstill_proto.flower_records import RECORD, hello_reply, pack, read_hello
from fedstill_proto.messages import Optimizer, RoundTask
from fedstill_proto.package.artifact import TrainingArtifact
from fedstill_server.export import ArtifactOptions, build_artifact
from fedstill_server.rounds.events import Event, RunPrepared
from fedstill_sim.engine.grid import InProcessGrid
from flwr.app import Error, MetricRecord, RecordDict

from tests.server.scripted_fleet import CLASSES, SHAPE, read_task

FAMILIES = ("mlp-small", "mlp-12-6")
Reply = RecordDict | Error


def examples(classes: Sequence[int], each: int, *, seed: int) -> tuple[FloatArray, IntArray]:
    """Clusters that overlap a little: a linear student gets most of them right."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.array(classes), each)
    x = np.eye(CLASSES, *SHAPE)[y] * 2 + rng.normal(0, 0.6, (len(y), *SHAPE))
    return x.astype(np.float32), y.astype(np.int64)


@functools.cache
def artifact(family: str) -> TrainingArtifact:
    """One graph for all methods: it reads soft labels, and gives features."""
    return build_artifact(
        ArtifactOptions(
            family=family,
            input_shape=SHAPE,
            classes=CLASSES,
            optimizer=Optimizer.SGD,
            soft_labels="dense",
            stack_size=1,
            step_rows=8,
            features=True,
        ),
        verify=False,
    )


@functools.cache
def work(family: str) -> tuple[Personalizer, Forward]:
    return Personalizer(artifact(family)), Forward(artifact(family))


@dataclass
class LearningGrid(InProcessGrid):
    """A device for each of `known`: with examples of these classes, and a student of a family in turn."""

    public_x: FloatArray
    known: Sequence[Sequence[int]] = ((0, 1), (1, 2), (2, 0))
    students: dict[int, Parameters] = field(default_factory=dict)  # [1, *shape]
    packages: dict[str, Parameters] = field(default_factory=dict)  # of each family, before the first round

    def __post_init__(self) -> None:
        handlers = {"query.hello": self._hello, "train": self._train, "evaluate": self._evaluate}
        super().__init__(devices=len(self.known), handlers=handlers)

    def install(self, event: Event) -> None:
        """Give devices their packages when the server has made them."""
        if isinstance(event, RunPrepared):
            self.packages = dict(event.students)

    def family(self, device: int) -> str:
        return FAMILIES[device % len(FAMILIES)]

    def _hello(self, devices: Sequence[int], contents: Sequence[RecordDict]) -> list[Reply]:
        for content in contents:
            read_hello(content)
        return [hello_reply(f"device-{device}", self.family(device)) for device in devices]

    def _train(self, devices: Sequence[int], contents: Sequence[RecordDict]) -> list[Reply]:
        return [
            self._round(device, read_task(content)) for device, content in zip(devices, contents, strict=True)
        ]

    def _round(self, device: int, task: RoundTask) -> RecordDict:
        personalizer, forward = work(self.family(device))
        done = perform_round(self._stack(device), task, personalizer, forward, self.public_x)
        self.students[device] = done.parameters
        (summary,) = done.summaries
        assert summary is not None
        return pack("SoftLabelSummary", summary)

    def _evaluate(self, devices: Sequence[int], contents: Sequence[RecordDict]) -> list[Reply]:
        return [
            self._count(device, read_task(content)) for device, content in zip(devices, contents, strict=True)
        ]

    def _count(self, device: int, task: RoundTask) -> RecordDict:
        found = evaluate(
            self._stack(device),
            task,
            work(self.family(device))[1],
            personal_test=PrivateStack.of_one(*examples(self.known[device], 40, seed=100 + device)),
            global_test=examples(range(CLASSES), 60, seed=99),
        )
        return RecordDict(
            {RECORD: MetricRecord({name: int(value[0]) for name, value in vars(found).items()})}
        )

    def _stack(self, device: int) -> DeviceStack:
        own = PrivateStack.of_one(*examples(self.known[device], 12, seed=device))
        installed = self.packages[self.family(device)]
        return DeviceStack([f"device-{device}"], own, self.students.get(device), installed=installed)

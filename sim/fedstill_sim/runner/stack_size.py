"""How many devices to train in one run of a graph: measured, once for each kind of graph on a machine.

It depends on the student and on the processor's caches. No result depends on it: a device's step has the same
bits in any stack.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import platform
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort
from fedstill_client.model.batches import StackPlan, plan_batches
from fedstill_client.model.private_stack import PrivateStack
from fedstill_client.model.trainer import Personalizer
from fedstill_proto.messages import RoundTask, SummaryKind, SummaryRequest, TrainingPlan
from fedstill_proto.package.artifact import StudentManifest, TrainingArtifact
from fedstill_server.export import build_artifact
from fedstill_server.export.build import ArtifactOptions

from fedstill_sim.folder import cache_folder

CANDIDATES = (1, 8, 16, 32, 64)
_STEPS = 4  # of a measured round: as many as 64 examples in batches of 16 take
_LEAST_SECONDS = 0.06  # of measuring a candidate
_REPEATS = 5
_NEARLY = 1.08


def best_stack_size(options: ArtifactOptions, *, devices: int) -> int:
    """Return the stack size that trains this many devices of a family fastest.

    Args:
        options: The family's training graph; the stack size in it is ignored.
        devices: How many devices there are to train.
    """
    seconds = {
        size: math.ceil(devices / size) * step for size, step in step_seconds(options).items()
    }  # of a step of all devices
    # A smaller stack that is nearly as fast leaves more of the caches to other processes.
    return min(size for size in seconds if seconds[size] <= _NEARLY * min(seconds.values()))


def step_seconds(options: ArtifactOptions) -> dict[int, float]:
    """Return a stack's seconds for a training step by stack size, measured once on this machine."""
    file = cache_folder() / "stack-sizes" / f"{_measurement_name(options)}.json"
    try:
        remembered = {int(size): float(seconds) for size, seconds in json.loads(file.read_text()).items()}
        if sorted(remembered) == list(CANDIDATES):
            return remembered
    except (OSError, ValueError, AttributeError):
        pass  # never measured, or not by this version
    measured = _measured(options)
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(f".{os.getpid()}")
    new.write_text(json.dumps(measured))
    new.replace(file)
    return measured


def built(options: ArtifactOptions, stack_size: int, *, verify: bool = True) -> TrainingArtifact:
    """Build the training artifact of these options for another stack size; verified ones are cached."""
    chosen = dataclasses.replace(options, stack_size=stack_size)
    named = {field.name: getattr(chosen, field.name) for field in dataclasses.fields(chosen)}
    return build_artifact(ArtifactOptions(**named), cache=cache_folder() / "artifacts", verify=verify)


def _measurement_name(options: ArtifactOptions) -> str:
    """Name this kind of graph on this kind of machine."""
    graph = dataclasses.replace(options, stack_size=1).folder_name
    described = repr((graph, ort.__version__, np.__version__, platform.machine(), _processor()))
    return hashlib.sha256(described.encode()).hexdigest()[:16]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith("model name")), platform.processor())


def _measured(options: ArtifactOptions) -> dict[int, float]:
    """Measure a few times in turn and keep the fastest, which the machine's other work disturbs least."""
    trainers = {size: _Trainer(built(options, size, verify=False)) for size in CANDIDATES}
    seconds = dict.fromkeys(trainers, math.inf)
    for _ in range(_REPEATS):
        for size, trainer in trainers.items():
            seconds[size] = min(seconds[size], trainer.step_seconds())
    return seconds


class _Trainer:
    """A stack of devices with made-up examples, whose training is timed."""

    def __init__(self, artifact: TrainingArtifact) -> None:
        manifest = artifact.manifest
        generator = np.random.default_rng(0)
        self._personalizer = Personalizer(artifact)
        self._student = {
            spec.name: generator.normal(0, 0.1, spec.shape).astype(np.float32) for spec in manifest.parameters
        }
        self._plan = _plan(manifest, generator)
        self.step_seconds()  # the first run allocates

    def step_seconds(self) -> float:
        """Return the mean seconds of a step in this thread's own time, over long enough a time."""
        start, rounds = time.thread_time(), 0
        while time.thread_time() - start < _LEAST_SECONDS / _REPEATS:
            self._personalizer.train(self._student, self._plan, copy=False)
            rounds += 1
        return (time.thread_time() - start) / (rounds * self._plan.steps)


def _plan(manifest: StudentManifest, generator: np.random.Generator) -> StackPlan:
    devices, rows = manifest.stack_size, _STEPS * manifest.step_rows
    private = PrivateStack(
        generator.normal(size=(devices, rows, *manifest.input_shape)).astype(np.float32),
        generator.integers(0, manifest.classes, (devices, rows)),
        np.full(devices, rows),
    )
    training = TrainingPlan(
        epochs=1,
        batch_size=manifest.step_rows,
        learning_rate=0.01,
        optimizer=manifest.optimizer,
        temperature=1.0,
        soft_weight=0.0,
        seed=0,
    )
    task = RoundTask("measure", 0, manifest.family, training, SummaryRequest(SummaryKind.NONE))
    return plan_batches(private, np.arange(devices, dtype=np.uint64), task, manifest=manifest)

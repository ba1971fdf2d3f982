"""How many devices to train in one run of a graph: measured, once for each kind of graph on a machine.

It depends on the student and on the processor's caches. No result depends on it: a device's step has the same
bits in any stack.

Stacks save what a run of the graph costs besides its arithmetic. So larger ones are tried in turn, one at a
time, until one is no faster for a device than the one before, or too large for this machine or for the fleet.
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
import psutil
from fedstill_client.model.batches import StackPlan, plan_batches
from fedstill_client.model.placed import CPU, compute_device
from fedstill_client.model.private_stack import PrivateStack
from fedstill_client.model.trainer import Personalizer
from fedstill_proto.messages import RoundTask, SummaryKind, SummaryRequest, TrainingPlan
from fedstill_proto.package.artifact import StudentManifest, TrainingArtifact
from fedstill_server.export import build_artifact
from fedstill_server.export.build import ArtifactOptions
from fedstill_server.export.stacks import stack_bytes
from fedstill_server.export.without_loss import without_loss

from fedstill_sim.folder import cache_folder

CANDIDATES = (1, 8, 16, 32, 64)
_OF_A_GPU = (1, 64, 256, 1024)
_STEPS = 4  # of a measured round: as many as 64 examples in batches of 16 take
_LEAST_SECONDS = 0.06  # of measuring a candidate
_REPEATS = 5
_NEARLY = 1.08
_GAIN = 0.97  # a device's seconds in a stack worth trying a larger one, as a share of those in a smaller one
_LONG_STEP = 0.05  # seconds; so much arithmetic leaves nothing for a stack to save
_MOST_BYTES = 1 << 29  # of a stack; what caches hold is long exceeded
_OVER = 1.25  # times what may be taken: a stack foreseen to need more, from one device, is not built
_FREE_SHARE = 0.25  # of the free memory, that the stacks of all worker processes may take


def best_stack_size(options: ArtifactOptions, *, devices: int) -> int:
    """Return the stack size that trains this many devices of a family fastest.

    Args:
        options: The family's training graph; the stack size in it is ignored.
        devices: How many devices there are to train.
    """
    seconds = {
        size: math.ceil(devices / size) * step for size, step in step_seconds(options, devices).items()
    }  # of a step of all devices
    # A smaller stack that is nearly as fast leaves more of the caches to other processes.
    return min(size for size in seconds if seconds[size] <= _NEARLY * min(seconds.values()))


def step_seconds(options: ArtifactOptions, devices: int) -> dict[int, float]:
    """Return a stack's seconds for a training step by stack size, each measured once on this machine.

    Args:
        options: The family's training graph; the stack size in it is ignored.
        devices: How many devices there are to train: no stack is tried that they would not fill.
    """
    candidates = CANDIDATES if compute_device() == CPU else _OF_A_GPU
    needed = [size for size in candidates if size < devices]
    needed += [min(size, devices) for size in candidates if size >= devices][:1]
    file = cache_folder() / "stack-sizes" / f"{_measurement_name(options)}.json"
    known = _remembered(file)
    measured: dict[int, float] = {}
    for size in needed:
        if not _is_worth_trying(size, measured):
            break
        if size not in known:
            seconds = _measured(options, size)
            if seconds is None:
                break
            known[size] = seconds
            _remember(known, file)
        measured[size] = known[size]
    return measured


def _is_worth_trying(size: int, measured: dict[int, float]) -> bool:
    """Whether the sizes below `size` were each faster for a device than the one before."""
    each = [seconds / of for of, seconds in measured.items()]
    if not each:
        return True
    return each[0] < _LONG_STEP and (len(each) < 2 or each[-1] <= _GAIN * each[-2])


def _remembered(file: Path) -> dict[int, float]:
    """The seconds that a file holds, by stack size; none where it is missing or spoilt."""
    try:
        return {int(size): float(seconds) for size, seconds in json.loads(file.read_text()).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _remember(seconds: dict[int, float], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(f".{os.getpid()}")
    new.write_text(json.dumps(seconds))
    new.replace(file)


def built(options: ArtifactOptions, stack_size: int, *, verify: bool = True) -> TrainingArtifact:
    """Build the training artifact of these options for another stack size; verified ones are cached.

    That of one device is what a real device trains with, and says the loss of each step. Nobody reads that of
    a stack: its graph is the same but for the loss.
    """
    chosen = dataclasses.replace(options, stack_size=stack_size)
    named = {field.name: getattr(chosen, field.name) for field in dataclasses.fields(chosen)}
    artifact = build_artifact(ArtifactOptions(**named), cache=cache_folder() / "artifacts", verify=verify)
    return artifact if stack_size == 1 else without_loss(artifact)


def _measurement_name(options: ArtifactOptions) -> str:
    """Name this kind of graph on this kind of machine."""
    graph = dataclasses.replace(options, stack_size=1).folder_name
    on = [] if compute_device() == CPU else [compute_device()]
    described = repr((graph, ort.__version__, np.__version__, platform.machine(), _processor(), *on))
    return hashlib.sha256(described.encode()).hexdigest()[:16]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith("model name")), platform.processor())


def _measured(options: ArtifactOptions, size: int) -> float | None:
    """A stack's seconds for a step: the fastest of a few times, which the machine's other work disturbs
    least; None for a stack that is too large for this machine, or of devices that are not stacked.
    """
    if size > 1:
        alone = built(options, 1, verify=False)
        if alone.manifest.one_at_a_time or size * stack_bytes(alone) > _OVER * _affordable_bytes():
            return None
    artifact = built(options, size, verify=False)
    if size > 1 and stack_bytes(artifact) > _affordable_bytes():
        return None
    trainer = _Trainer(artifact)
    return min(trainer.step_seconds() for _ in range(_REPEATS))


def _affordable_bytes() -> float:
    """What one stack may take: each worker process has one, of a share of the free memory."""
    return min(_MOST_BYTES, _FREE_SHARE * psutil.virtual_memory().available / (os.cpu_count() or 1))


class _Trainer:
    """A stack of devices with made-up examples, whose training is timed."""

    def __init__(self, artifact: TrainingArtifact) -> None:
        manifest = artifact.manifest
        generator = np.random.default_rng(0)
        self._personalizer = Personalizer(artifact)
        self._student = {
            spec.name: generator.normal(0, 0.1, spec.shape).astype(np.float32) for spec in manifest.parameters
        }
        self._plan = measured_plan(manifest, generator)
        self.step_seconds()  # the first run allocates

    def step_seconds(self) -> float:
        """Return the mean seconds of a step in this thread's own time, over long enough a time."""
        start, rounds = time.thread_time(), 0
        while time.thread_time() - start < _LEAST_SECONDS / _REPEATS:
            self._personalizer.train(self._student, self._plan, copy=False)
            rounds += 1
        return (time.thread_time() - start) / (rounds * self._plan.steps)


def measured_plan(manifest: StudentManifest, generator: np.random.Generator) -> StackPlan:
    """Return the steps of a round of a stack of devices with made-up examples, as speed is measured with."""
    devices, rows = manifest.stack_size, _STEPS * manifest.step_rows
    # What goes through a frozen first part does so before the steps; few different examples will do.
    table = min(manifest.step_rows, devices * rows) if manifest.prefix_shape else devices * rows
    private = PrivateStack(
        generator.normal(size=(table, *manifest.input_shape)).astype(np.float32),
        generator.integers(0, manifest.classes, (devices, rows, *manifest.target.label_shape)).astype(
            manifest.target.label_type
        ),
        np.full(devices, rows),
        np.arange(devices * rows).reshape(devices, rows) % table,
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

"""Small students, devices and tasks that the tests of the client share."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_client.model.private_stack import PrivateStack
from fedstill_proto.arrays import FloatArray, IntArray, Parameters
from fedstill_proto.messages import (
    Optimizer,
    RoundTask,
    SoftTargets,
    SummaryKind,
    SummaryRequest,
    TrainingPlan,
)
from fedstill_proto.package.artifact import StudentPackage, TrainingArtifact, save_artifact
from fedstill_server.export.build import ArtifactOptions, build_artifact
from fedstill_server.export.student import export_student
from fedstill_server.families import initial_parameters

FAMILY, SHAPE, CLASSES = "mlp-small", (6,), 3


@functools.cache
def artifact(
    *,
    stack_size: int = 1,
    step_rows: int = 8,
    soft_labels: str = "dense",
    k: int = 0,
    optimizer: Optimizer = Optimizer.SGD,
) -> TrainingArtifact:
    return build_artifact(
        ArtifactOptions(
            family=FAMILY,
            input_shape=SHAPE,
            classes=CLASSES,
            optimizer=optimizer,
            soft_labels=soft_labels,
            k=k,
            stack_size=stack_size,
            step_rows=step_rows,
        )
    )


def student(seed: int = 0) -> Parameters:
    return initial_parameters(FAMILY, SHAPE, CLASSES, seed)


@functools.cache
def student_package(seed: int = 0) -> StudentPackage:
    """A deployable student as the server exports it."""
    weights = student(seed)
    manifest, graph = export_student(family=FAMILY, input_shape=SHAPE, classes=CLASSES, parameters=weights)
    return StudentPackage(manifest, graph, weights)


def plan(
    *,
    epochs: int = 1,
    batch_size: int = 4,
    learning_rate: float = 0.1,
    optimizer: Optimizer = Optimizer.SGD,
    temperature: float = 2.0,
    soft_weight: float = 0.0,
    seed: int = 7,
) -> TrainingPlan:
    return TrainingPlan(epochs, batch_size, learning_rate, optimizer, temperature, soft_weight, seed)


def task(
    training: TrainingPlan | None = None,
    *,
    round: int = 1,
    run: str = "abcd1234",
    request: SummaryRequest | None = None,
    parameters: Parameters | None = None,
    replace_student: bool = False,
    soft_targets: SoftTargets | None = None,
    family: str = FAMILY,
) -> RoundTask:
    return RoundTask(
        run=run,
        round=round,
        family=family,
        training=training or plan(),
        request=request or SummaryRequest(SummaryKind.NONE),
        parameters=student() if parameters is None else parameters,
        replace_student=replace_student,
        soft_targets=soft_targets,
    )


def examples(count: int, *, seed: int = 0) -> tuple[FloatArray, IntArray]:
    """Examples whose class is a linear function of them, so that a student can learn it."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, *SHAPE)).astype(np.float32)
    return x, x[:, :CLASSES].argmax(axis=1).astype(np.int64)


def stack_of(*sizes: int, capacity: int | None = None, seed: int = 0) -> PrivateStack:
    """Devices with these many examples; what stands behind them is noise that must not be read."""
    room = max(1, *sizes) if capacity is None else capacity
    noise = np.random.default_rng(seed + 999)
    x = noise.normal(size=(len(sizes), room, *SHAPE)).astype(np.float32) * 100
    labels = noise.integers(0, CLASSES, (len(sizes), room))
    for device, size in enumerate(sizes):
        x[device, :size], labels[device, :size] = examples(size, seed=seed + device)
    return PrivateStack(x, labels, np.array(sizes))


def soft_rows(rows: int, *, classes: int = CLASSES, seed: int = 0) -> FloatArray:
    return np.random.default_rng(seed).dirichlet(np.ones(classes), rows).astype(np.float32)


def softmax(logits: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """In float64, as the tests' own yardstick."""
    exponential = np.exp(np.asarray(logits, np.float64) - np.max(logits, axis=-1, keepdims=True))
    return np.asarray(exponential / exponential.sum(axis=-1, keepdims=True))


def mlp_logits(parameters: Parameters, x: FloatArray) -> FloatArray:
    """The student family's forward pass, written out."""
    hidden = np.maximum(x @ parameters["hidden.weight"].T + parameters["hidden.bias"], 0)
    return np.asarray(hidden @ parameters["output.weight"].T + parameters["output.bias"])


def write_device(
    folder: Path, trained_on: TrainingArtifact, *, private: int = 20, name: str = "kitchen"
) -> Path:
    """A device's folder with everything in it."""
    folder.mkdir(parents=True)
    (folder / "device.json").write_text(json.dumps({"name": name, "family": FAMILY}))
    save_artifact(trained_on, folder / "artifact")
    x, y = examples(private, seed=1)
    x_test, y_test = examples(30, seed=2)
    np.savez(folder / "private.npz", x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    np.savez(folder / "public.npz", x=examples(12, seed=3)[0])
    x, y = examples(40, seed=4)
    np.savez(folder / "global_test.npz", x=x, y=y)
    return folder

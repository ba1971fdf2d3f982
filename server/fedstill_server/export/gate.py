"""The gate: no training artifact leaves before it has been held against torch in float64.

First the graphs are read: they must have exactly the ports that their manifest promises and hold nothing
that a device cannot run, or not reproduce (ScatterND that adds races between threads in ONNX Runtime's CPU
provider). Then devices of the stack take 20 steps, with 1 and with 2 threads, beside plain torch in
float64; torch in float32 takes them, too, and says how much of the difference is due to the precision
alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from fedstill_proto.artifact import StudentManifest, TrainingArtifact
from fedstill_proto.messages import Parameters

from fedstill_server.export.errors import GateError
from fedstill_server.export.graph_checks import check_graphs
from fedstill_server.export.reference import Arrays, ReferenceStudent
from fedstill_server.export.trial import LEARNING_RATES, StudentStack, random_batch, share
from fedstill_server.families import initial_parameters

STEPS = 20


@dataclass(frozen=True)
class GateReport:
    """Largest differences from float64, over devices and thread counts.

    gradient_error: of a gradient, relative to its norm. loss_error: relative. logit_error: absolute.
    parameter_error: of the parameters after the last step, relative to how far they have moved;
    float32_error is the same for torch in float32.
    """

    gradient_error: float
    loss_error: float
    parameter_error: float
    float32_error: float
    logit_error: float


@dataclass(frozen=True)
class Tolerance:
    """What an artifact may differ from float64."""

    gradient: float = 1e-6
    loss: float = 1e-5
    logits: float = 1e-5
    parameters: float = 1e-6
    times_float32: float = 4.0
    """Parameters may differ by so many times what torch's own float32 does, if that is more."""


def verify_artifact(
    artifact: TrainingArtifact,
    *,
    devices: int = 2,
    threads: Iterable[int] = (1, 2),
    tolerance: Tolerance | None = None,
    seed: int = 0,
) -> GateReport:
    """Raises GateError unless the artifact is sound and computes what it should.

    devices: how many of the stack (its first and those that follow) are held against torch.
    """
    check_graphs(artifact)
    manifest = artifact.manifest
    compared = range(min(devices, manifest.stack_size))
    batches = [random_batch(manifest, seed + step) for step in range(STEPS)]
    students = [
        initial_parameters(manifest.family, manifest.input_shape, manifest.classes, seed + device)
        for device in compared
    ]
    expected = [
        _expectation(manifest, student, [share(batch, device) for batch in batches])
        for device, student in enumerate(students)
    ]
    reports = [_compare(artifact, students, batches, expected, count) for count in threads]
    report = GateReport(*(max(values) for values in zip(*map(_fields, reports), strict=True)))
    _judge(manifest, report, tolerance or Tolerance())
    return report


@dataclass(frozen=True)
class _Expectation:
    """What torch makes of one device's batches."""

    gradients: dict[str, np.ndarray]  # of the first batch, float64
    losses: list[float]
    parameters: dict[str, np.ndarray]  # after the last step, float64
    float32_error: float
    student: ReferenceStudent  # as it is after the last step


def _expectation(manifest: StudentManifest, start: Parameters, batches: list[Arrays]) -> _Expectation:
    rate = LEARNING_RATES[manifest.optimizer]
    exact = ReferenceStudent(manifest, start, dtype=torch.float64)
    single = ReferenceStudent(manifest, start, dtype=torch.float32)
    gradients = exact.gradients(batches[0])
    losses = [exact.step(batch, learning_rate=rate) for batch in batches]
    for batch in batches:
        single.step(batch, learning_rate=rate)
    moved = exact.parameters()
    return _Expectation(gradients, losses, moved, _drift(start, moved, single.parameters()), exact)


def _compare(
    artifact: TrainingArtifact,
    students: list[Parameters],
    batches: list[Arrays],
    expected: list[_Expectation],
    threads: int,
) -> GateReport:
    manifest = artifact.manifest
    training = StudentStack(manifest, artifact.training_graph, students, threads=threads)
    gradients = training.gradients(batches[0])
    losses = [training.step(batch, step) for step, batch in enumerate(batches, start=1)]
    forward = StudentStack(manifest, artifact.forward_graph, students, threads=threads)
    x, logits = forward.forward(training.parameters)
    reports = []
    for device, (start, wanted) in enumerate(zip(students, expected, strict=True)):
        after = {name: array[device] for name, array in training.parameters.items()}
        reports.append(
            GateReport(
                gradient_error=max(
                    _relative(gradients[name][device], exact) for name, exact in wanted.gradients.items()
                ),
                loss_error=max(
                    abs(float(found[device]) / loss - 1)
                    for found, loss in zip(losses, wanted.losses, strict=True)
                ),
                parameter_error=_drift(start, wanted.parameters, after),
                float32_error=wanted.float32_error,
                logit_error=float(np.abs(logits[device] - wanted.student.logits(x[device])).max()),
            )
        )
    return GateReport(*(max(values) for values in zip(*map(_fields, reports), strict=True)))


def _drift(start: Arrays, exact: Arrays, found: Arrays) -> float:
    """Largest error of a parameter, relative to the distance that it has moved."""
    return max(_relative(found[name] - start[name], exact[name] - start[name]) for name in exact)


def _relative(found: np.ndarray, exact: np.ndarray) -> float:
    return float(np.linalg.norm(found - exact) / max(float(np.linalg.norm(exact)), 1e-12))


def _fields(report: GateReport) -> tuple[float, ...]:
    return (
        report.gradient_error,
        report.loss_error,
        report.parameter_error,
        report.float32_error,
        report.logit_error,
    )


def _judge(manifest: StudentManifest, report: GateReport, tolerance: Tolerance) -> None:
    limits = {
        "gradient_error": tolerance.gradient,
        "loss_error": tolerance.loss,
        "parameter_error": max(tolerance.parameters, tolerance.times_float32 * report.float32_error),
        "logit_error": tolerance.logits,
    }
    for name, limit in limits.items():
        value = getattr(report, name)
        if not value <= limit:  # also refuses NaN
            raise GateError(
                f"{manifest.family} ({manifest.optimizer.value}, {manifest.soft_labels} soft labels): "
                f"{name} {value:.2e} against torch in float64 is above {limit:.2e}; "
                "the artifact must not ship"
            )

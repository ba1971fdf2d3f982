"""The gate: no training artifact leaves before it has been held against torch in float64.

First the graphs are read: they must have exactly the ports that their manifest promises and hold nothing
that a device cannot run, or not reproduce (ScatterND that adds races between threads in ONNX Runtime's CPU
provider). Then devices of the stack take 20 steps, with 1 and with 2 threads, beside plain torch in
float64; torch in float32 takes them, too, and says how much of the difference is due to the precision
alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass

import numpy as np
import torch
from fedstill_proto.artifact import StudentManifest, TrainingArtifact
from fedstill_proto.messages import Parameters

from fedstill_server.export.errors import GateError
from fedstill_server.export.graph_checks import check_graphs
from fedstill_server.export.reference import Arrays, ReferenceStudent, one_torch_thread
from fedstill_server.export.trial import LEARNING_RATES, StudentStack, random_batch, share
from fedstill_server.families import initial_parameters

STEPS = 20


@dataclass(frozen=True)
class GateReport:
    """Largest differences from float64, over devices and thread counts.

    gradient_error and logit_error are relative to the norm, loss_error to the loss, or to 1 for smaller ones;
    parameter_error, of the parameters after the last step, is relative to how far they have moved.
    The last two are those of torch in float32.
    """

    gradient_error: float
    loss_error: float
    parameter_error: float
    logit_error: float
    float32_loss_error: float
    float32_parameter_error: float

    @classmethod
    def worst(cls, reports: Iterable[GateReport]) -> GateReport:
        return cls(*(max(values) for values in zip(*map(astuple, reports), strict=True)))


@dataclass(frozen=True)
class Tolerance:
    """How far an artifact may be from float64."""

    gradient: float = 1e-6
    logits: float = 1e-6
    loss: float = 1e-6
    parameters: float = 1e-6
    times_float32: float = 4.0
    """Losses and parameters may be so many times as far as torch's own float32 is, if that is more."""


def verify_artifact(
    artifact: TrainingArtifact,
    *,
    devices: int = 2,
    threads: Sequence[int] = (1, 2),
    tolerance: Tolerance | None = None,
    trials: int = 3,
) -> GateReport:
    """Raises GateError unless the artifact is sound and computes what it should.

    devices: how many of the stack are held against torch; the first and the last are among them. trials: so
    many sets of batches at most. In one of some twenty, an activation comes so close to a kink (a ReLU at
    0, two pooled values alike) that float32 and float64 go different ways there, and are both right; a
    wrong graph is wrong on any set.
    """
    check_graphs(artifact)
    for seed in range(trials):
        report = _trial(artifact, devices, threads, seed=1000 * seed)
        failure = _failure(report, tolerance or Tolerance())
        if failure is None:
            return report
    manifest = artifact.manifest
    raise GateError(
        f"{manifest.family} ({manifest.optimizer.value}, {manifest.soft_labels} soft labels): {failure}; "
        "the artifact must not ship"
    )


def _trial(artifact: TrainingArtifact, devices: int, threads: Sequence[int], *, seed: int) -> GateReport:
    manifest = artifact.manifest
    batches = [random_batch(manifest, seed + step) for step in range(STEPS)]
    with one_torch_thread():
        expected = {
            device: _expectation(manifest, seed + device, [share(batch, device) for batch in batches])
            for device in {round(at) for at in np.linspace(0, manifest.stack_size - 1, devices)}
        }
    return GateReport.worst(_compare(artifact, batches, expected, count) for count in threads)


@dataclass(frozen=True)
class _Expectation:
    """A device's student, and what torch makes of it and the device's batches."""

    start: Parameters
    untrained: ReferenceStudent  # float64, as are all that follow
    gradients: dict[str, np.ndarray]  # of the first batch
    losses: np.ndarray  # [steps]
    parameters: dict[str, np.ndarray]  # after the last step
    float32_loss_error: float
    float32_parameter_error: float


def _expectation(manifest: StudentManifest, seed: int, batches: list[Arrays]) -> _Expectation:
    start = initial_parameters(manifest.family, manifest.input_shape, manifest.classes, seed)
    rate = LEARNING_RATES[manifest.optimizer]
    untrained, exact = (ReferenceStudent(manifest, start, dtype=torch.float64) for _ in range(2))
    single = ReferenceStudent(manifest, start, dtype=torch.float32)
    losses, single_losses = (
        np.array([student.step(batch, learning_rate=rate) for batch in batches])
        for student in (exact, single)
    )
    moved = exact.parameters()
    return _Expectation(
        start=start,
        untrained=untrained,
        gradients=untrained.gradients(batches[0]),
        losses=losses,
        parameters=moved,
        float32_loss_error=_loss_error(single_losses, losses),
        float32_parameter_error=_drift(start, moved, single.parameters()),
    )


def _compare(
    artifact: TrainingArtifact, batches: list[Arrays], expected: Mapping[int, _Expectation], threads: int
) -> GateReport:
    """Runs the stack on all batches and holds the chosen devices against their expectations."""
    manifest = artifact.manifest
    students = {device: wanted.start for device, wanted in expected.items()}
    forward = StudentStack(manifest, artifact.forward_graph, students, threads=threads)
    x, logits = forward.forward()
    training = StudentStack(manifest, artifact.training_graph, students, threads=threads)
    gradients = training.gradients(batches[0])
    losses = np.stack([training.step(batch, step) for step, batch in enumerate(batches, start=1)])
    return GateReport.worst(
        GateReport(
            gradient_error=_worst(wanted.gradients, share(gradients, device)),
            loss_error=_loss_error(losses[:, device], wanted.losses),
            parameter_error=_drift(wanted.start, wanted.parameters, share(training.parameters, device)),
            logit_error=_relative(logits[device], wanted.untrained.logits(x[device])),
            float32_loss_error=wanted.float32_loss_error,
            float32_parameter_error=wanted.float32_parameter_error,
        )
        for device, wanted in expected.items()
    )


def _drift(start: Arrays, exact: Arrays, found: Arrays) -> float:
    """Largest error of a parameter, relative to the distance that it has moved."""
    moves = [{name: array[name] - start[name] for name in start} for array in (exact, found)]
    return _worst(*moves)


def _loss_error(found: np.ndarray, exact: np.ndarray) -> float:
    return float((np.abs(found - exact) / np.maximum(exact, 1)).max())


def _worst(exact: Arrays, found: Arrays) -> float:
    return max(_relative(found[name], exact[name]) for name in exact)


def _relative(found: np.ndarray, exact: np.ndarray) -> float:
    return float(np.linalg.norm(found - exact) / max(float(np.linalg.norm(exact)), 1e-12))


def _failure(report: GateReport, tolerance: Tolerance) -> str | None:
    """What is wrong with the numbers, if anything."""
    times = tolerance.times_float32
    limits = {
        "gradient_error": tolerance.gradient,
        "logit_error": tolerance.logits,
        "loss_error": max(tolerance.loss, times * report.float32_loss_error),
        "parameter_error": max(tolerance.parameters, times * report.float32_parameter_error),
    }
    for name, limit in limits.items():
        value = getattr(report, name)
        if not value <= limit:  # also refuses NaN
            return f"{name} {value:.2e} against torch in float64 is above {limit:.2e}"
    return None

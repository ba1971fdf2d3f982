"""The gate: no training artifact leaves before it has been held against torch in float64.

First the graphs are read: they must have exactly the ports that their manifest promises and hold nothing
that a device cannot run, or not reproduce (ScatterND that adds races between threads in ONNX Runtime's CPU
provider). Then devices of the stack take steps (20, if not told otherwise), with 1 and with 2 threads,
beside plain torch in float64; torch in float32 takes them, too, and says how much of the difference is due
to the precision alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from fedstill_proto.arrays import Parameters
from fedstill_proto.package.artifact import StudentManifest, TrainingArtifact

from fedstill_server.export.errors import GateError
from fedstill_server.export.graph_checks import check_graphs, step_manifest
from fedstill_server.export.reference import Arrays, ReferenceStudent, one_torch_thread
from fedstill_server.export.trial import LEARNING_RATES, SOFT_WEIGHT, StudentStack, random_batch, share
from fedstill_server.families import initial_parameters

STEPS = 20


@dataclass(frozen=True)
class Difference:
    """The largest relative difference from torch in float64: the artifact's, and that of torch in float32."""

    artifact: float
    float32: float


@dataclass(frozen=True)
class GateReport:
    """Differences over all compared devices, steps and thread counts."""

    gradients: Difference  # of the first step, relative to the norm of each
    logits: Difference  # and of features, where the forward graph gives any; relative to the norm
    losses: Difference  # relative to the loss, or to 1 for smaller ones
    parameters: Difference  # after the last step, relative to how far each has moved

    @classmethod
    def worst(cls, reports: Sequence[GateReport]) -> GateReport:
        def largest(name: str) -> Difference:
            found: list[Difference] = [getattr(report, name) for report in reports]
            return Difference(max(d.artifact for d in found), max(d.float32 for d in found))

        return cls(*(largest(field.name) for field in fields(cls)))


@dataclass(frozen=True)
class Tolerance:
    """How far an artifact may be from float64: so many times as far as float32 itself is, within limits."""

    times_float32: float = 4.0
    always: float = 1e-6
    never: float = 2e-4

    def __call__(self, difference: Difference) -> float:
        return min(max(self.always, self.times_float32 * difference.float32), self.never)


def verify_artifact(
    artifact: TrainingArtifact,
    *,
    devices: int = 2,
    threads: Sequence[int] = (1, 2),
    tolerance: Tolerance | None = None,
    trials: int = 5,
    steps: int = STEPS,
    soft_weight: float = SOFT_WEIGHT,
) -> GateReport:
    """Raises GateError unless the artifact is sound and computes what it should.

    devices: how many of the stack are held against torch; the first and the last are among them. trials: so
    many sets of batches at most. Sometimes an activation comes so close to a kink (a ReLU at 0, two pooled
    values alike) that float32 and float64 go different ways there, and both are right; a graph that is
    wrong is wrong on any set. soft_weight: of the soft labels in each step, from 0 to 1.
    """
    check_graphs(artifact)
    for seed in range(trials):
        report = _trial(artifact, devices, threads, steps=steps, seed=1000 * seed, soft_weight=soft_weight)
        failure = _failure(report, tolerance or Tolerance())
        if failure is None:
            return report
    manifest = artifact.manifest
    raise GateError(
        f"{manifest.family} ({manifest.optimizer.value}, {manifest.soft_labels} soft labels): {failure}; "
        "the artifact must not ship"
    )


def _trial(
    artifact: TrainingArtifact,
    devices: int,
    threads: Sequence[int],
    *,
    steps: int,
    seed: int,
    soft_weight: float,
) -> GateReport:
    manifest = artifact.manifest
    step_form = step_manifest(manifest)
    batches = [random_batch(step_form, seed + step, soft_weight=soft_weight) for step in range(steps)]
    with one_torch_thread():
        expected = {
            device: _expectation(manifest, seed + device, [share(batch, device) for batch in batches])
            for device in {round(at) for at in np.linspace(0, manifest.stack_size - 1, devices)}
        }
        return GateReport.worst([_compare(artifact, batches, expected, count) for count in threads])


@dataclass(frozen=True)
class _Course:
    """What a student makes of its batches."""

    gradients: Arrays  # of the first batch
    losses: np.ndarray  # [steps]
    moves: Arrays  # of the parameters, from the first step to the last


@dataclass(frozen=True)
class _Expectation:
    """A device's student, and its course in torch."""

    start: Parameters
    whole: Parameters  # with the rows of all words, where it is a student of text
    exact: _Course  # float64
    single: _Course  # float32


def _expectation(manifest: StudentManifest, seed: int, batches: list[Arrays]) -> _Expectation:
    step = step_manifest(manifest)
    start, whole = (
        initial_parameters(form.family, form.input_shape, form.classes, seed) for form in (step, manifest)
    )

    def course(dtype: torch.dtype) -> _Course:
        student = ReferenceStudent(step, start, dtype=dtype)
        gradients = student.gradients(batches[0])
        rate = LEARNING_RATES[manifest.optimizer]
        losses = np.array([student.step(batch, learning_rate=rate) for batch in batches])
        return _Course(gradients, losses, _moves(start, student.parameters()))

    return _Expectation(start, whole, course(torch.float64), course(torch.float32))


def _compare(
    artifact: TrainingArtifact, batches: list[Arrays], expected: Mapping[int, _Expectation], threads: int
) -> GateReport:
    """Runs the stack on all batches and holds the chosen devices against their expectations."""
    manifest = artifact.manifest
    whole = {device: wanted.whole for device, wanted in expected.items()}
    x, answers = StudentStack(manifest, artifact.forward_graph, whole, threads=threads).forward()
    students = {device: wanted.start for device, wanted in expected.items()}
    training = StudentStack(step_manifest(manifest), artifact.training_graph, students, threads=threads)
    gradients = training.gradients(batches[0])
    losses = np.stack([training.step(batch, step) for step, batch in enumerate(batches, start=1)])

    def report(device: int, wanted: _Expectation) -> GateReport:
        moves = _moves(wanted.start, share(training.parameters, device))
        found = _Course(share(gradients, device), losses[:, device], moves)
        exact, single = (
            ReferenceStudent(manifest, wanted.whole, dtype=dtype).answers(x[device])
            for dtype in (torch.float64, torch.float32)
        )
        found_answers = [each[device] for each in answers]
        by_artifact, by_float32 = (_differences(course, wanted.exact) for course in (found, wanted.single))
        return GateReport(
            gradients=Difference(by_artifact[0], by_float32[0]),
            logits=Difference(max(map(_relative, found_answers, exact)), max(map(_relative, single, exact))),
            losses=Difference(by_artifact[1], by_float32[1]),
            parameters=Difference(by_artifact[2], by_float32[2]),
        )

    return GateReport.worst([report(device, wanted) for device, wanted in expected.items()])


def _differences(found: _Course, exact: _Course) -> tuple[float, float, float]:
    """Of gradients, losses and parameters."""
    losses = (np.abs(found.losses - exact.losses) / np.maximum(exact.losses, 1)).max()
    return _worst(found.gradients, exact.gradients), float(losses), _worst(found.moves, exact.moves)


def _moves(start: Arrays, end: Arrays) -> Arrays:
    return {name: end[name] - start[name] for name in start}


def _worst(found: Arrays, exact: Arrays) -> float:
    return max(_relative(found[name], exact[name]) for name in exact)


def _relative(found: np.ndarray, exact: np.ndarray) -> float:
    return float(np.linalg.norm(found - exact) / max(float(np.linalg.norm(exact)), 1e-12))


def _failure(report: GateReport, tolerance: Tolerance) -> str | None:
    """What is wrong with the numbers, if anything."""
    for field in fields(report):
        difference: Difference = getattr(report, field.name)
        if not difference.artifact <= tolerance(difference):  # also refuses NaN
            return (
                f"{field.name} differ from torch in float64 by {difference.artifact:.2e}, "
                f"and may by {tolerance(difference):.2e}"
            )
    return None

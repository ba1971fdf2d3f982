"""The gate: no training artifact leaves before it has been compared with torch in float64.

First the graphs are read: they must have exactly the ports that their manifest promises and hold nothing
that a device cannot run, or cannot reproduce (ScatterND that adds races between threads in ONNX Runtime's CPU
provider). Then devices of the stack take steps (20 by default), with 1 and with 2 threads, beside plain torch
in float64; torch in float32 takes them, too, and shows how much of the difference is due to the precision
alone.

A large network has activations by the hundred thousand, and in almost every step one of them comes so close
to a kink (a ReLU at 0, two pooled values alike) that float32 and float64 go different ways there, in torch as
well; twenty steps in a row then part. Such a network of one's own takes each of its steps from where torch in
float64 stands: every loss must agree, for losses know no kinks, and so must all gradients and changes of at
least half of the steps in which torch in float32 agrees, and of three, for a graph that is wrong is wrong in
all of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from fedstill_proto.arrays import Parameters
from fedstill_proto.package.artifact import FORWARD_FILE, TRAINING_FILE, StudentManifest, TrainingArtifact

from fedstill_server.export.errors import GateError
from fedstill_server.export.graph_checks import check_graphs, step_manifest
from fedstill_server.export.reference import Arrays, ReferenceStudent, one_torch_thread
from fedstill_server.export.trial import SOFT_WEIGHT, StudentStack, learning_rate, random_batch, share
from fedstill_server.families import FAMILIES, initial_parameters

STEPS = 20
_MOST_IN_A_ROW = 50_000  # parameters of a network of one's own whose steps are taken in a row
_ROWS_APART = 4  # that weigh in each step of one whose steps are not
_AGREEING = 2  # one step in so many
_FEWEST_AGREEING = 3  # steps, however often torch in float32 goes another way itself


@dataclass(frozen=True)
class Difference:
    """The largest relative difference from torch in float64: the artifact's, and that of torch in float32."""

    artifact: float
    float32: float


@dataclass(frozen=True)
class GateReport:
    """Differences over all compared devices, steps and thread counts."""

    gradients: Difference  # in the first step, relative to the norm of each (see _worst)
    logits: Difference  # and of features, where the forward graph gives any; relative to the norm
    losses: Difference  # relative to the loss, or to 1 for smaller ones
    parameters: Difference  # after the last step, relative to how far each has moved
    agreeing: int = 0  # steps that agreed, each by itself; 0 where they were taken in a row

    @classmethod
    def worst(cls, reports: Sequence[GateReport]) -> GateReport:
        """The largest differences of several reports."""

        def largest(name: str) -> Difference:
            found: list[Difference] = [getattr(report, name) for report in reports]
            return Difference(max(d.artifact for d in found), max(d.float32 for d in found))

        return cls(largest("gradients"), largest("logits"), largest("losses"), largest("parameters"))


_COMPARED = ("gradients", "logits", "losses", "parameters")


@dataclass(frozen=True)
class Tolerance:
    """How far an artifact may be from float64: a multiple of how far float32 itself is, within limits."""

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
    """Raise GateError unless the artifact is sound and computes what it should.

    Args:
        artifact: The artifact.
        devices: How many of the stack are compared with torch; the first and the last are among them.
        threads: The numbers of threads that it runs with.
        tolerance: How far it may be from float64.
        trials: The most sets of batches. Sometimes an activation comes so close to a kink (a ReLU at 0, two
            pooled values alike) that float32 and float64 go different ways there, and both are right; a graph
            that is wrong is wrong on any set.
        steps: How many steps are taken.
        soft_weight: The weight of the soft labels in each step, from 0 to 1.
    """
    check_graphs(artifact)
    allowed, failure = tolerance or Tolerance(), None
    manifest, is_own = artifact.manifest, FAMILIES.is_own(artifact.manifest.family)
    if not is_own or manifest.parameter_count <= _MOST_IN_A_ROW:
        for seed in range(1 if is_own else trials):
            report = _trial(
                artifact, devices, threads, steps=steps, seed=1000 * seed, soft_weight=soft_weight
            )
            failure = _failure(report, allowed)
            if failure is None:
                return report
    if is_own:
        report, failure = _steps_apart(artifact, threads, allowed, steps=steps, soft_weight=soft_weight)
        if failure is None:
            return report
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
class _Trajectory:
    """What training on the batches gives."""

    gradients: Arrays  # for the first batch
    losses: np.ndarray  # [steps]
    moves: Arrays  # how far the parameters went, from the first step to the last


@dataclass(frozen=True)
class _Expectation:
    """A device's student, and its trajectory in torch."""

    start: Parameters
    whole: Parameters  # with the rows of all words, where it is a student of text
    exact: _Trajectory  # float64
    single: _Trajectory  # float32


def _expectation(manifest: StudentManifest, seed: int, batches: list[Arrays]) -> _Expectation:
    step = step_manifest(manifest)
    start, whole = (
        initial_parameters(form.family, form.input_shape, form.classes, seed, target=form.target)
        for form in (step, manifest)
    )

    def trajectory(dtype: torch.dtype) -> _Trajectory:
        student = ReferenceStudent(step, start, dtype=dtype)
        gradients = student.gradients(batches[0])
        rate = learning_rate(manifest)
        losses = np.array([student.step(batch, learning_rate=rate) for batch in batches])
        return _Trajectory(gradients, losses, _moves(start, student.parameters()))

    return _Expectation(start, whole, trajectory(torch.float64), trajectory(torch.float32))


def _compare(
    artifact: TrainingArtifact, batches: list[Arrays], expected: Mapping[int, _Expectation], threads: int
) -> GateReport:
    """Run the stack on all batches and compare the chosen devices with their expectations."""
    manifest = artifact.manifest
    whole = {device: wanted.whole for device, wanted in expected.items()}
    x, answers = StudentStack(artifact, FORWARD_FILE, whole, threads=threads).forward()
    students = {device: wanted.start for device, wanted in expected.items()}
    of_step = replace(artifact, manifest=step_manifest(manifest))
    training = StudentStack(of_step, TRAINING_FILE, students, threads=threads)
    gradients = training.gradients(batches[0])
    losses = np.stack([training.step(batch, step) for step, batch in enumerate(batches, start=1)])

    def report(device: int, wanted: _Expectation) -> GateReport:
        moves = _moves(wanted.start, share(training.parameters, device))
        trajectory = _Trajectory(share(gradients, device), losses[:, device], moves)
        exact, single = (
            ReferenceStudent(manifest, wanted.whole, dtype=dtype).answers(x[device])
            for dtype in (torch.float64, torch.float32)
        )
        answered = [each[device] for each in answers]
        by_artifact, by_float32 = (_differences(course, wanted) for course in (trajectory, wanted.single))
        return GateReport(
            gradients=Difference(by_artifact[0], by_float32[0]),
            logits=Difference(max(map(_relative, answered, exact)), max(map(_relative, single, exact))),
            losses=Difference(by_artifact[1], by_float32[1]),
            parameters=Difference(by_artifact[2], by_float32[2]),
        )

    return GateReport.worst([report(device, wanted) for device, wanted in expected.items()])


def _steps_apart(
    artifact: TrainingArtifact, threads: Sequence[int], allowed: Tolerance, *, steps: int, soft_weight: float
) -> tuple[GateReport, str | None]:
    """Take each step from where torch in float64 stands, and say what is wrong, if anything is."""
    manifest, form = artifact.manifest, step_manifest(artifact.manifest)
    start = initial_parameters(form.family, form.input_shape, form.classes, 0, target=form.target)
    of_step = replace(artifact, manifest=form)
    rate = learning_rate(manifest)
    stacks = {count: StudentStack(of_step, TRAINING_FILE, {0: start}, threads=count) for count in threads}
    reports: dict[int, list[GateReport]] = {count: [] for count in threads}
    with one_torch_thread():
        logits = _logits(artifact, threads)
        exact, single = (ReferenceStudent(form, start, dtype=kind) for kind in (torch.float64, torch.float32))
        for step in range(steps):
            batch = random_batch(form, step, soft_weight=soft_weight, rows=_ROWS_APART)
            own = share(batch, 0)
            courses = []
            for student in (exact, single):
                student.restart(start)
                loss = student.step(own, learning_rate=rate)
                courses.append(
                    _Trajectory(
                        student.last_gradients(), np.array([loss]), _moves(start, student.parameters())
                    )
                )
            wanted = _Expectation(start, start, *courses)
            by_float32 = _differences(wanted.single, wanted)
            for count, stack in stacks.items():
                stack.restart(start)
                gradients, losses = share(stack.gradients(batch), 0), stack.step(batch, 1)
                moves = _moves(start, share(stack.parameters, 0))
                by_artifact = _differences(_Trajectory(gradients, losses[:1], moves), wanted)
                gradient, loss_, move = map(Difference, by_artifact, by_float32)
                reports[count].append(GateReport(gradient, logits, loss_, move))
            start = {name: value.astype(np.float32) for name, value in exact.parameters().items()}
    return _verdict(reports, allowed)


def _verdict(
    reports: Mapping[int, Sequence[GateReport]], allowed: Tolerance
) -> tuple[GateReport, str | None]:
    """What steps by themselves come to, by the number of threads."""
    agreeing = {
        count: [one for one in each if _failure(one, allowed) is None] for count, each in reports.items()
    }
    fewest = min(agreeing, key=lambda count: len(agreeing[count]))
    steps, good = len(reports[fewest]), len(agreeing[fewest])
    everything = GateReport.worst([one for each in reports.values() for one in each])
    continuous = replace(everything, gradients=Difference(0, 0), parameters=Difference(0, 0))
    # Where torch in float32 goes another way than in float64 itself, nobody can be asked for more.
    possible = sum(_failure(_of_float32(one), allowed) is None for one in reports[fewest])
    if good < max(possible / _AGREEING, min(_FEWEST_AGREEING, steps)):
        failure = (
            f"only {good} of {steps} steps are torch's in float64, {possible} of torch in float32; "
            f"{_failure(everything, allowed)}"
        )
        return everything, failure
    smooth = GateReport.worst([one for each in agreeing.values() for one in each])
    report = replace(continuous, gradients=smooth.gradients, parameters=smooth.parameters, agreeing=good)
    return report, _failure(continuous, allowed)


def _of_float32(report: GateReport) -> GateReport:
    """A report of what torch in float32 does, as if that were the artifact."""

    def own(difference: Difference) -> Difference:
        return Difference(difference.float32, difference.float32)

    return replace(
        report,
        gradients=own(report.gradients),
        logits=own(report.logits),
        losses=own(report.losses),
        parameters=own(report.parameters),
    )


def _logits(artifact: TrainingArtifact, threads: Sequence[int]) -> Difference:
    """How far the answers of a student are, in its forward pass."""
    manifest = artifact.manifest
    first = initial_parameters(
        manifest.family, manifest.input_shape, manifest.classes, 0, target=manifest.target
    )
    found = []
    for count in threads:
        x, answers = StudentStack(artifact, FORWARD_FILE, {0: first}, threads=count).forward()
        exact, single = (
            ReferenceStudent(manifest, first, dtype=kind).answers(x[0])
            for kind in (torch.float64, torch.float32)
        )
        answered = [each[0] for each in answers]
        found.append((max(map(_relative, answered, exact)), max(map(_relative, single, exact))))
    return Difference(max(a for a, _ in found), max(b for _, b in found))


def _differences(found: _Trajectory, wanted: _Expectation) -> tuple[float, float, float]:
    """The differences of gradients, losses and parameters.

    Float32 rounds each step of a parameter to the parameter's own precision: of one that moves by less than
    a thousandth of itself, a thousandth is what a difference is measured by.
    """
    exact = wanted.exact
    losses = (np.abs(found.losses - exact.losses) / np.maximum(exact.losses, 1)).max()
    moves = _worst(found.moves, exact.moves, like=wanted.start)
    return _worst(found.gradients, exact.gradients), float(losses), moves


def _moves(start: Arrays, end: Arrays) -> Arrays:
    return {name: end[name] - start[name] for name in start}


def _worst(found: Arrays, exact: Arrays, *, like: Arrays | None = None) -> float:
    """The largest difference, relative to the norm of each, or to a hundredth of that of all together, or to
    a thousandth of that of what it is `like`.

    A gradient may be 0 but for rounding, as that of a bias in front of batch normalization is.
    """
    together = 0.01 * math.sqrt(sum(float(np.sum(np.square(array))) for array in exact.values()))
    least = dict.fromkeys(exact, together)
    if like is not None:
        least = {name: max(together, 1e-3 * float(np.linalg.norm(like[name]))) for name in exact}
    return max(_relative(found[name], exact[name], least=least[name]) for name in exact)


def _relative(found: np.ndarray, exact: np.ndarray, *, least: float = 1e-12) -> float:
    return float(np.linalg.norm(found - exact) / max(float(np.linalg.norm(exact)), least, 1e-12))


def _failure(report: GateReport, tolerance: Tolerance) -> str | None:
    """What is wrong with the numbers, or None."""
    for name in _COMPARED:
        difference: Difference = getattr(report, name)
        if not difference.artifact <= tolerance(difference):  # also refuses NaN
            return (
                f"{name} differ from torch in float64 by {difference.artifact:.2e}, "
                f"and may by {tolerance(difference):.2e}"
            )
    return None

"""A device's part of a round, for a stack of devices: one on a real device, more in the simulator.

Train from the task, then summarize. What a device does here does not depend on the devices beside it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import BoolArray, FloatArray, IntArray, Parameters
from fedstill_proto.errors import FedstillError
from fedstill_proto.messages import RoundTask
from fedstill_proto.package.artifact import StudentManifest
from fedstill_proto.soft_labels.base_table import BaseTable

from fedstill_client.agent_types import Stop
from fedstill_client.model.accuracy import own_correct, shared_correct
from fedstill_client.model.alternation import Alternation
from fedstill_client.model.batches import PlannedSteps, StackPlan, plan_batches
from fedstill_client.model.forward import ForwardPass
from fedstill_client.model.label_prior import owner_log_prior
from fedstill_client.model.last_result import LastResult
from fedstill_client.model.misled import misled
from fedstill_client.model.order import KeyArray, device_ids
from fedstill_client.model.owner_share import OWNER_SHARE
from fedstill_client.model.private_stack import PrivateStack
from fedstill_client.model.step import StepArrays
from fedstill_client.model.student_shapes import StudentMismatch, check_student
from fedstill_client.model.student_store import OwnStudent
from fedstill_client.model.trainer import StepChange, Steps, Trainer
from fedstill_client.rounds.base_table_store import BaseTableStore
from fedstill_client.rounds.control_variates import gradient_term, moved
from fedstill_client.rounds.distilled_start import distilled_start
from fedstill_client.rounds.noised_answer import NoiseOf, system_noise
from fedstill_client.rounds.own_labels import LEAST_HELD_OUT, better_alone
from fedstill_client.rounds.personal import personal_task
from fedstill_client.rounds.summarizer import summarize
from fedstill_client.rounds.trained_stack import TrainedStack

_SHARED_COUNTS: LastResult[IntArray] = LastResult()


class NoStudent(FedstillError):
    """A device has no student, and the round brings none."""


class WrongFamily(StudentMismatch):
    """A task is for another student family than the device's."""


class RoundsOff(FedstillError):
    """The fleet's operator has switched rounds off, by the release plan that the fleet's keys sign."""


class AnotherGeneration(FedstillError):
    """A task is of another generation of the fleet than the device's package."""

    def __init__(self, task: RoundTask, manifest: StudentManifest) -> None:
        super().__init__(
            f"round {task.round} is of generation {task.generation} of the fleet, and this device's package "
            f"of generation {manifest.generation}; it looks for a release."
        )


class Interrupted(FedstillError):
    """Training was asked to stop; `reason` says why. The student from before is kept."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"stopped: {reason}; the student from before is kept.")
        self.reason = reason

    def __reduce__(self) -> tuple[type[Interrupted], tuple[str]]:
        return type(self), (self.reason,)


class TrainingDiverged(FedstillError):
    """Local training left the finite numbers."""

    def __init__(self, learning_rate: float) -> None:
        super().__init__(
            f"local training diverged at learning rate {learning_rate:g}; "
            "the student from before is kept. Lower the rate."
        )


@dataclass(frozen=True)
class DeviceStack:
    """C devices with their students and private examples; those after the last name are padding."""

    names: Sequence[str]  # at most C
    private: PrivateStack
    parameters: Mapping[str, FloatArray] | None = None  # [C, *shape]; None while no device has a student
    device_ids: KeyArray | None = None  # [C]; made from the names by default
    installed: Mapping[str, FloatArray] | None = None  # [*shape] of their package, where they have one
    control_variates: Mapping[str, FloatArray] | None = None  # [C, *shape]; None while no device has any
    fleet: Mapping[str, FloatArray] | None = None  # their last start, [*shape] or [C, *shape]

    def __post_init__(self) -> None:
        if len(self.names) > self.private.devices:
            raise FedstillError(f"{len(self.names)} names for a stack of {self.private.devices} devices.")
        if self.device_ids is None:
            ids = np.zeros(self.private.devices, np.uint64)
            ids[: len(self.names)] = device_ids(self.names)
            object.__setattr__(self, "device_ids", ids)

    @classmethod
    def of_one(
        cls,
        name: str,
        private: PrivateStack,
        student: OwnStudent | None,
        *,
        installed: Mapping[str, FloatArray] | None,
        run: str = "",
    ) -> DeviceStack:
        """One device with its student, and what it keeps beside that for rounds of `run`."""

        def alone(arrays: Parameters | None) -> Parameters | None:
            return None if arrays is None else {each: array[None] for each, array in arrays.items()}

        return cls(
            [name],
            private,
            alone(None if student is None else student.parameters),
            installed=installed,
            control_variates=alone(None if student is None else student.control_variates_in(run)),
        )


@dataclass(frozen=True)
class WatchedSteps(PlannedSteps):
    """The steps of a plan; `on_step` is called before each, and may raise to end the training."""

    on_step: Callable[[int, int], None]  # called with the steps done, and the steps in all

    def fill(self, step: int, into: StepArrays) -> None:
        self.on_step(step, self.steps)
        super().fill(step, into)


@dataclass(frozen=True, kw_only=True)
class RoundOptions:
    """How a stack does a round, beside what the task says.

    Attributes:
        shuffle: Whether each epoch has a new order; otherwise rows come as they are stored.
        stop: Asked before each step; a reason ends the round with Interrupted.
        base_tables: What the devices sent before, where an answer is coded against it, and where it is kept.
        noise: Where noise comes from, if the task asks for noised answers; a simulator seeds it.
        answer: What is made of the trained stack in place of summaries, before anything trains on: a
            simulator that folds answers where they are made needs no bytes of them.
    """

    shuffle: bool = True
    stop: Stop | None = None
    base_tables: BaseTableStore | None = None
    noise: NoiseOf = system_noise
    answer: Callable[[TrainedStack], Any] | None = None


@dataclass(frozen=True)
class RoundWork:
    """What a stack did in a round."""

    parameters: Parameters  # [C, *shape] of the owners' students; where training diverged, those from before
    fleet: Mapping[str, FloatArray]  # what the round started from, [*shape] or [C, *shape]
    summaries: list[bytes | None]  # one for each name; None where training diverged
    diverged: BoolArray  # [C] whose training left the finite numbers
    answer: Any  # what the options' `answer` made of the stack, without summaries; else None
    loss: FloatArray  # [C] mean of the steps
    alone: BoolArray  # [C] whether an owner's student learned without the fleet's labels (see own_labels.py)
    control_variates: Mapping[str, FloatArray]  # [C, *shape]; empty where the task has none
    training_seconds: float
    summary_seconds: float


@dataclass(frozen=True)
class Evaluation:
    """Right answers of each device [C], on its own examples and on everyone's.

    An example of text has an answer at each of its places; a number is right where it is near
    (see fedstill_proto.package.target).

    Attributes:
        personal_correct: Of what an app gets (the owner's scope), on the device's own examples.
        personal_examples: How many those are.
        global_correct: Of the same answers, on everyone's examples.
        global_examples: How many those are.
        fleet_personal_correct: Of the fleet's student alone (everyone's scope), on the device's own examples.
        fleet_global_correct: The same on everyone's.
    """

    personal_correct: IntArray
    personal_examples: IntArray
    global_correct: IntArray
    global_examples: IntArray
    fleet_personal_correct: IntArray
    fleet_global_correct: IntArray


def perform_round(
    stack: DeviceStack,
    task: RoundTask,
    personalizer: Trainer,
    forward: ForwardPass,
    public_x: FloatArray | None = None,
    *,
    steps: StackPlan | None = None,
    out: Mapping[str, FloatArray] | None = None,
    options: RoundOptions | None = None,
) -> RoundWork:
    """Train each device's student by `task`, and summarize it.

    Args:
        stack: The devices.
        task: The round's task.
        personalizer: The training step of their student family.
        forward: The forward graph of the family.
        public_x: The public set [P, *shape], where the devices have one.
        steps: The stack's plan, where it was made together with that of other stacks.
        out: Where the trained parameters go (views of a memory map, say); new arrays otherwise.
        options: How the round is done, beside what the task says.

    Raises:
        NoStudent: Neither the task nor the stack has a student to start from.
        Interrupted: The options' `stop` gave a reason.
        FedstillError: The task asks for what these students or their artifact cannot do.
    """
    options, started = options or RoundOptions(), time.perf_counter()
    student = starting_student(stack, task, personalizer.manifest)
    if task.start is not None and task.start.epochs > 0:
        student = made_start(student, task, personalizer, public_x, stop=options.stop)

    def planned(asked: RoundTask, examples: PrivateStack) -> StackPlan:
        manifest = personalizer.manifest
        return plan_batches(
            examples, _ids(stack), asked, manifest=manifest, public_x=public_x, shuffle=options.shuffle
        )

    def train(
        start: Mapping[str, FloatArray],
        asked: RoundTask,
        examples: PrivateStack,
        change: StepChange | None = None,
    ) -> Parameters:
        watched = _watched(planned(asked, examples), options.stop)
        return personalizer.train(start, watched, copy=False, change=change)[0]

    watched = _watched(planned(task, stack.private) if steps is None else steps, options.stop)
    change = gradient_term(task, student, stack.control_variates) or alternation(task, watched.steps_of)
    trained, loss = personalizer.train(student, watched, copy=False, change=change)
    diverged = _keep_finite(trained, student)
    changes = moved(task, student, trained, watched.steps_of) if task.control_variates else {}
    trained_at = time.perf_counter()
    answering = TrainedStack(trained, stack.private, forward, public_x, student, changes, task.mixed_rows)
    answer, summaries = None, list[bytes | None]()
    if options.answer is not None:
        answer = options.answer(answering)
    else:
        summaries = _summaries(stack, task, answering, diverged, options)
    owners = _delivered(trained, out)
    if task.personal is not None:
        personal, before = personal_task(task, student, forward, public_x), student
        if task.personal.own and stack.parameters is not None:
            before = stack.parameters
        pull = gradient_term(personal, student, None)
        _replace(owners, train(before, personal, stack.private, pull), ~diverged)
    alone = np.zeros(stack.private.devices, bool)
    if task.training.held_out:
        least = math.ceil(LEAST_HELD_OUT / task.training.held_out)
        alone = misled(_stacked(student, forward.manifest), forward, stack.private, least_examples=least)
    if alone.any():
        won, without = better_alone(
            task,
            stack.private,
            _ids(stack),
            forward,
            start=student,
            installed=student if stack.installed is None else stack.installed,
            train=train,
        )
        alone = alone & won & ~diverged
        _replace(owners, without, alone)
    return RoundWork(
        parameters=owners,
        fleet=student,
        summaries=summaries,
        diverged=diverged,
        answer=answer,
        loss=loss,
        alone=alone,
        control_variates=_added(stack.control_variates, changes),
        training_seconds=trained_at - started,
        summary_seconds=time.perf_counter() - trained_at,
    )


def _summaries(
    stack: DeviceStack, task: RoundTask, trained: TrainedStack, diverged: BoolArray, options: RoundOptions
) -> list[bytes | None]:
    """The answers of the stack's devices; what they keep for the next ones is kept."""
    encoded = summarize(
        task,
        trained,
        devices=len(stack.names),
        tables=_base_tables(stack, task, options.base_tables),
        names=stack.names,
        noise=options.noise,
    )
    summaries: list[bytes | None] = [answer.summary for answer in encoded]
    if task.request.noising is None:  # a noised answer of a student that did not move: nobody can tell
        for device in np.flatnonzero(diverged[: len(summaries)]):
            summaries[device] = None
    if options.base_tables is not None:
        for name, summary, answer in zip(stack.names, summaries, encoded, strict=True):
            if summary is not None and answer.table is not None:
                options.base_tables.keep(name, answer.table, run=task.run, round=task.round)
    return summaries


def _added(before: Mapping[str, FloatArray] | None, changes: Parameters) -> Parameters:
    return changes if before is None else {name: before[name] + change for name, change in changes.items()}


def fleets_student(task: RoundTask, work: RoundWork) -> Parameters | None:
    """The fleet's student that a device, a stack of one, is to keep after a round.

    None where the round went on with the device's own student: the fleet gave it none.
    """
    if not task.starts_anew:
        return None
    shapes = {name: array.shape[1:] for name, array in work.parameters.items()}
    return {name: np.array(array).reshape(shapes[name]) for name, array in work.fleet.items()}


def _replace(owners: Parameters, students: Parameters, devices: BoolArray) -> None:
    """Give these devices [C] their students [C, *shape], as far as those are finite."""
    here = devices & _finite(students)
    for name, array in owners.items():
        array[here] = students[name][here]


def _is_one(student: Mapping[str, FloatArray], manifest: StudentManifest) -> bool:
    return all(student[spec.name].shape == spec.shape for spec in manifest.parameters)


def _stacked(student: Mapping[str, FloatArray], manifest: StudentManifest) -> Parameters:
    """A student [*shape] or students [C, *shape], as [C, *shape]."""
    return {
        spec.name: np.ascontiguousarray(
            np.broadcast_to(student[spec.name], (manifest.stack_size, *spec.shape)), np.float32
        )
        for spec in manifest.parameters
    }


def _watched(steps: StackPlan, stop: Stop | None) -> Steps:
    if stop is None:
        return steps
    interrupt = interrupting(stop)
    return WatchedSteps(steps, lambda done, steps: interrupt())


def _base_tables(
    stack: DeviceStack, task: RoundTask, store: BaseTableStore | None
) -> list[BaseTable | None] | None:
    if store is None or not task.request.base_round:
        return None
    return [store.table(name, run=task.run, round=task.request.base_round) for name in stack.names]


def starting_student(
    stack: DeviceStack, task: RoundTask, manifest: StudentManifest
) -> Mapping[str, FloatArray]:
    """The student that a round starts from, before its start plan distils it.

    It is the task's or that of the devices' package [*shape], or the devices' own [C, *shape]; or the task's
    with what stays on the devices.
    """
    if task.family != manifest.family:
        raise WrongFamily(f"the round is for student family {task.family!r}; here is {manifest.family!r}.")
    if task.parameters and (task.replace_student or stack.parameters is None):
        own = _local_parameters(stack, task)
        alone = own if stack.parameters is None else {name: array[0] for name, array in own.items()}
        check_student({**task.parameters, **alone}, manifest, stacked=False)
        return {**task.parameters, **own} if own else task.parameters
    if task.start is not None and (task.starts_anew or stack.parameters is None):
        if stack.installed is None:
            raise NoStudent(
                f"round {task.round} of run {task.run} is to start from the student of this device's "
                "package, and it has none; enrol it, or put installed.safetensors into its folder."
            )
        check_student(stack.installed, manifest, stacked=False)
        return stack.installed
    if stack.parameters is None:
        raise NoStudent(
            f"round {task.round} of run {task.run} brings no student and this device has none yet; "
            "the server must send one with the first round."
        )
    check_student(stack.parameters, manifest, stacked=True)
    return stack.parameters


def alternation(task: RoundTask, steps_of: IntArray) -> Alternation | None:
    """Which steps are the local parameters', of the steps [C] that devices take in a round."""
    plan = task.training
    if not plan.local_epochs:
        return None
    batches = steps_of // max(plan.epochs, 1)  # in an epoch
    return Alternation(first=plan.local_parameters, steps=plan.local_epochs * batches)


def _local_parameters(stack: DeviceStack, task: RoundTask) -> Mapping[str, FloatArray]:
    """What stays on the devices, and the task does not bring: [C, *shape], or of their package [*shape]."""
    missing = [name for name in task.training.local_parameters if name not in task.parameters]
    own = stack.installed if stack.parameters is None else stack.parameters
    if missing and own is None:
        raise NoStudent(
            f"round {task.round} of run {task.run} brings a student without {', '.join(missing)[:200]}, and "
            "this device has none of its own yet; the server must send it with the first round."
        )
    return {} if own is None else {name: own[name] for name in missing if name in own}


def made_start(
    student: Mapping[str, FloatArray],
    task: RoundTask,
    personalizer: Trainer,
    public_x: FloatArray | None,
    *,
    stop: Stop | None = None,
) -> Parameters:
    """`student` after it has learned the round's soft labels, as the task's start plan says: [C, *shape].

    Raises:
        TrainingDiverged: It left the finite numbers.
        Interrupted: `stop` gave a reason.
    """
    assert task.start is not None  # who calls has looked
    before_step = (lambda: None) if stop is None else interrupting(stop)
    start = distilled_start(student, task, personalizer, public_x, before_step=before_step)
    if not all(np.isfinite(array).all() for array in start.values()):
        raise TrainingDiverged(task.start.learning_rate)
    return start


def evaluate(
    stack: DeviceStack,
    task: RoundTask,
    forward: ForwardPass,
    *,
    personal_test: PrivateStack | None = None,
    global_test: tuple[FloatArray, npt.NDArray[Any]] | None = None,
    owner_share: float = OWNER_SHARE,
) -> Evaluation:
    """Count right answers in both scopes: what an app gets, and what the fleet's student says alone.

    Args:
        stack: The devices, with their students after the round.
        task: The round's task; a student that it brings to replace theirs is what both scopes ask.
        forward: The forward graph of the family.
        personal_test: The devices' own held-out examples.
        global_test: Everyone's examples [n, *shape] and labels [n, *label_shape].
        owner_share: How much of its label prior a device adds in its owner's scope, to whatever it answers
            (see model/label_prior.py); 0 is none. A student of text has no such prior.
    """
    manifest, private = forward.manifest, stack.private
    own = starting_student(stack, task, manifest)
    asked = task.replace_student or own is task.parameters
    fleet = own if stack.fleet is None or asked else stack.fleet
    prior = owners_prior(private, manifest, owner_share=owner_share)
    nothing = np.zeros(private.devices, np.int64)

    def correct(student: Mapping[str, FloatArray], log_prior: FloatArray | None) -> tuple[IntArray, IntArray]:
        stacked = _stacked(student, manifest)
        personal, everyone = nothing, nothing
        if personal_test is not None:
            personal = own_correct(stacked, forward, personal_test, log_prior=log_prior).sum(axis=1)
        if global_test is not None and log_prior is None and _is_one(student, manifest):
            test = global_test  # one student of all devices, stack after stack: its answers are counted once
            everyone = _SHARED_COUNTS.of(
                (forward, student, *test), lambda: shared_correct(stacked, forward, *test)
            )
        elif global_test is not None:
            everyone = shared_correct(stacked, forward, *global_test, log_prior=log_prior)
        return personal, everyone

    owners = correct(own, prior)
    # Where both scopes have the same answers, they are asked for once.
    fleets = owners if fleet is own and prior is None else correct(fleet, None)
    places = math.prod(manifest.label_shape)
    return Evaluation(
        personal_correct=owners[0],
        personal_examples=nothing if personal_test is None else personal_test.counts * places,
        global_correct=owners[1],
        global_examples=nothing if global_test is None else np.full(private.devices, global_test[1].size),
        fleet_personal_correct=fleets[0],
        fleet_global_correct=fleets[1],
    )


def owners_prior(
    private: PrivateStack, manifest: StudentManifest, *, owner_share: float
) -> FloatArray | None:
    """What each device adds to its logits [C, K] in its owner's scope; None where it adds nothing."""
    if manifest.label_shape or owner_share == 0:
        return None
    return owner_log_prior(private.labels, private.counts, classes=manifest.classes, owner_share=owner_share)


def interrupting(stop: Stop) -> Callable[[], None]:
    """Raises Interrupted when `stop` gives a reason."""

    def ask() -> None:
        reason = stop()
        if reason is not None:
            raise Interrupted(reason)

    return ask


def _keep_finite(trained: Parameters, student: Mapping[str, FloatArray]) -> BoolArray:
    """Give devices [C] whose training diverged their old student back, and say which they are."""
    diverged = ~_finite(trained)
    if diverged.any():
        for name, array in trained.items():
            array[diverged] = np.broadcast_to(student[name], array.shape)[diverged]
    return diverged


def _finite(students: Parameters) -> BoolArray:
    """Which students [C, *shape] are of finite numbers alone: [C]."""
    devices = len(next(iter(students.values())))
    # A sum is finite only if all its terms are (or, near 3e38, the student is of no use anyway).
    sums = np.zeros(devices, np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        for array in students.values():
            sums += np.einsum("ij->i", array.reshape(devices, -1))
    return np.isfinite(sums)


def _delivered(trained: Parameters, out: Mapping[str, FloatArray] | None) -> Parameters:
    if out is None:
        return {name: array.copy() for name, array in trained.items()}
    for name, array in trained.items():
        out[name][...] = array
    return dict(out)


def _ids(stack: DeviceStack) -> KeyArray:
    assert stack.device_ids is not None  # filled in by its own __post_init__
    return stack.device_ids

"""Personalize the student of a plain device folder without any server, and without forgetting.

The fleet's student (what the last round started from, else the one from before) teaches the one that is
trained: its soft labels of the public set, softened at the temperature, weigh `soft_weight` in the loss
(learning without forgetting: Li and Hoiem 2016, arXiv 1606.09282).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from fedstill_proto.arrays import Parameters
from fedstill_proto.messages import RoundTask, SummaryKind, SummaryRequest
from fedstill_proto.package.artifact import StudentManifest

from fedstill_client.learning.settings import LearningSettings
from fedstill_client.learning.soft_term import own_targets
from fedstill_client.model.batches import plan_batches
from fedstill_client.model.forward import Forward
from fedstill_client.model.order import device_ids
from fedstill_client.model.student_shapes import check_student
from fedstill_client.model.student_store import LEARNED_RUN, OwnStudent
from fedstill_client.model.trainer import Personalizer
from fedstill_client.rounds.device import FleetDevice
from fedstill_client.rounds.round import Evaluation, NoStudent, TrainingDiverged, WatchedSteps, evaluate

OnStep = Callable[[int, int], None]  # steps done, steps in all


@dataclass(frozen=True)
class OfflineResult:
    """What training on its own brought a device folder.

    Attributes:
        before: Right answers of the student from before.
        after: Right answers of the trained one.
        steps: Training steps taken.
        mean_loss: Mean loss of the steps.
        public_examples: Examples that kept the student from forgetting; 0 without a public set.
        seconds: Time spent.
    """

    before: Evaluation
    after: Evaluation
    steps: int
    mean_loss: float
    public_examples: int
    seconds: float


def personalize(
    device: FleetDevice,
    settings: LearningSettings,
    *,
    start: Parameters | None = None,
    on_step: OnStep = lambda *_: None,
) -> OfflineResult:
    """Train the student of a device folder for all of its epochs, and keep the result.

    Args:
        device: The opened folder.
        settings: How to train; those of checks do not count.
        start: The student to start from, where the device has none yet.
        on_step: Called before each step with the steps done, and the steps in all.

    Raises:
        NoStudent: There is nothing to start from.
        TrainingDiverged: Training left the finite numbers; the student from before is kept.
    """
    started = time.perf_counter()
    manifest = device.artifact.manifest
    with device.store.locked():
        before = device.store.latest() or _first_student(start, manifest)
        personalizer, forward = Personalizer(device.artifact), Forward(device.artifact)
        task = _task(device, before, settings, forward)
        plan = plan_batches(
            device.private,
            device_ids([device.description.name]),
            task,
            manifest=manifest,
            public_x=device.public_x,
        )
        trained, loss = personalizer.train(before.parameters, WatchedSteps(plan, on_step))
        on_step(plan.steps, plan.steps)
        after = OwnStudent(task.run, task.round, {name: array[0] for name, array in trained.items()})
        if not all(np.isfinite(array).all() for array in trained.values()):
            raise TrainingDiverged(task.training.learning_rate)
        device.store.save(after, before=before)
    return OfflineResult(
        before=_measured(device, before, task, forward),
        after=_measured(device, after, task, forward),
        steps=plan.steps,
        mean_loss=float(loss[0]),
        public_examples=0 if task.soft_targets is None else task.soft_targets.soft_labels.rows,
        seconds=time.perf_counter() - started,
    )


def _first_student(start: Parameters | None, manifest: StudentManifest) -> OwnStudent:
    if start is None:
        raise NoStudent(
            "this device has no student yet; start it from a student package with --start FOLDER."
        )
    check_student(start, manifest, stacked=False)
    return OwnStudent(LEARNED_RUN, 0, start)


def _task(device: FleetDevice, before: OwnStudent, settings: LearningSettings, forward: Forward) -> RoundTask:
    manifest, public_x = device.artifact.manifest, device.public_x
    targets = None
    if settings.soft_weight and manifest.soft_labels != "none" and public_x is not None:
        teacher = device.store.fleet() or before.parameters
        targets = own_targets(teacher, public_x, forward, settings.temperature)
    remembers = targets is not None
    return RoundTask(
        run=LEARNED_RUN,
        round=before.round + 1 if before.run == LEARNED_RUN else 1,
        family=manifest.family,
        training=settings.plan(
            manifest,
            public=remembers,
            temperature=settings.temperature,
            soft=remembers,
            epochs=settings.epochs,
        ),
        request=SummaryRequest(SummaryKind.NONE),
        soft_targets=targets,
    )


def _measured(device: FleetDevice, student: OwnStudent, task: RoundTask, forward: Forward) -> Evaluation:
    return evaluate(
        device.stack(student),
        task,
        forward,
        personal_test=device.held_out,
        global_test=device.global_test,
        owner_share=device.description.owner_share,
    )

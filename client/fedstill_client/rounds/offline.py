"""Personalize a device's student without any server: on its own private examples, without forgetting.

The student from before teaches the one that is trained: its soft labels of the public set, softened at the
temperature, weigh `soft_weight` in the loss (learning without forgetting: Li and Hoiem 2016, arXiv
1606.09282).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from fedstill_proto.arrays import Parameters
from fedstill_proto.messages import RoundTask, SummaryKind, SummaryRequest, TrainingPlan
from fedstill_proto.package.artifact import StudentManifest

from fedstill_client.learning.soft_term import own_targets
from fedstill_client.model.batches import plan_batches
from fedstill_client.model.forward import Forward
from fedstill_client.model.order import device_ids
from fedstill_client.model.student_store import LEARNED_RUN as OFFLINE_RUN
from fedstill_client.model.student_store import OwnStudent
from fedstill_client.model.trainer import Personalizer, check_student
from fedstill_client.rounds.device import Device
from fedstill_client.rounds.round import Evaluation, NoStudent, TrainingDiverged, WatchedSteps, evaluate

_BATCH_SIZE = 16

OnStep = Callable[[int, int], None]  # steps done, steps in all


@dataclass(frozen=True)
class OfflineWork:
    """How a device trains on its own; a batch_size of 0 is as many as the artifact takes, up to 16."""

    epochs: int = 5
    batch_size: int = 0
    learning_rate: float = 0.05
    temperature: float = 2.0
    soft_weight: float = 0.3
    seed: int = 0

    def plan(self, manifest: StudentManifest, *, soft_weight: float) -> TrainingPlan:
        """The training plan on this artifact; what is out of range is refused by the plan itself."""
        room = manifest.step_rows // (2 if soft_weight > 0 else 1)
        return TrainingPlan(
            epochs=self.epochs,
            batch_size=self.batch_size or min(_BATCH_SIZE, room),
            learning_rate=self.learning_rate,
            optimizer=manifest.optimizer,
            temperature=self.temperature,
            soft_weight=soft_weight,
            seed=self.seed,
        )


@dataclass(frozen=True)
class Personalization:
    """What training on its own brought a device."""

    before: Evaluation
    after: Evaluation
    steps: int
    mean_loss: float
    public_examples: int  # that kept the student from forgetting; 0 without a public set
    seconds: float


def personalize(
    device: Device, work: OfflineWork, *, start: Parameters | None = None, on_step: OnStep = lambda *_: None
) -> Personalization:
    """Train the device's own student (or `start`, where it has none yet) and keep the result.

    Raises NoStudent where there is nothing to start from, TrainingDiverged with the old student kept.
    """
    started = time.perf_counter()
    manifest = device.artifact.manifest
    with device.store.locked():
        before = device.store.latest() or _first_student(start, manifest)
        personalizer, forward = Personalizer(device.artifact), Forward(device.artifact)
        task = _task(device, before, work, forward)
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
            raise TrainingDiverged(work.learning_rate)
        device.store.save(after, before=before)
    return Personalization(
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
    return OwnStudent(OFFLINE_RUN, 0, start)


def _task(device: Device, before: OwnStudent, work: OfflineWork, forward: Forward) -> RoundTask:
    manifest = device.artifact.manifest
    remembers = bool(work.soft_weight) and manifest.soft_labels != "none" and device.public_x is not None
    training, targets = work.plan(manifest, soft_weight=work.soft_weight if remembers else 0.0), None
    if remembers and device.public_x is not None:
        targets = own_targets(before.parameters, device.public_x, forward, training.temperature)
    return RoundTask(
        run=OFFLINE_RUN,
        round=before.round + 1 if before.run == OFFLINE_RUN else 1,
        family=manifest.family,
        training=training,
        request=SummaryRequest(SummaryKind.NONE),
        soft_targets=targets,
    )


def _measured(device: Device, student: OwnStudent, task: RoundTask, forward: Forward) -> Evaluation:
    return evaluate(
        device.stack(student),
        task,
        forward,
        personal_test=device.held_out,
        global_test=device.global_test,
        label_prior=device.description.label_prior,
    )

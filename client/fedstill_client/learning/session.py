"""One session of a learning: from its start, or its last snapshot, to its end or an interruption."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
from fedstill_proto.arrays import Parameters
from fedstill_proto.messages import PublicSoftLabels, RoundTask, SummaryKind, SummaryRequest
from fedstill_proto.package.artifact import StudentManifest, StudentPackage

from fedstill_client.agent_types import (
    LearningOutcome,
    LearningProgress,
    LearningResult,
    OnProgress,
    Score,
    Stop,
)
from fedstill_client.learning.batch_schedule import BatchSchedule
from fedstill_client.learning.budget import Budget, Meter
from fedstill_client.learning.checkpoint import Best, Snapshot, decode_snapshot
from fedstill_client.learning.evaluator import Evaluator, PublicScore
from fedstill_client.learning.examples import LearningExamples, LearningStore
from fedstill_client.learning.fingerprint import fingerprint
from fedstill_client.learning.settings import LearningSettings
from fedstill_client.learning.soft_term import soft_term
from fedstill_client.model.batches import public_examples
from fedstill_client.model.forward import Forward
from fedstill_client.model.intent_schema import intent_schema
from fedstill_client.model.label_prior import own_log_prior
from fedstill_client.model.private_stack import PrivateStack
from fedstill_client.model.student_store import LEARNED_RUN, OwnStudent
from fedstill_client.model.trainer import Personalizer, PersonalizerState

_MOST_SCORED = 256  # public examples, at each check
_SECONDS_AT_ONCE = 0.1  # of steps, between two looks at `stop` and the budget


Refuses = Callable[[Parameters], str]
"""Why a student of these weights must not answer; "" where it may."""


class TrainingSession:
    """The device's student, its examples and how far it has come.

    The steps themselves are the personalizer's, as a round's are; the session decides how many of them to
    take, when to score the student, and what to keep.
    """

    def __init__(
        self,
        store: LearningStore,
        package: StudentPackage,
        examples: LearningExamples,
        settings: LearningSettings,
        budget: Budget,
        *,
        refuses: Refuses = lambda _: "",
    ) -> None:
        self._refuses = refuses
        manifest, artifact = package.manifest, package.artifact
        self._store, self._settings, self._budget = store, settings, budget
        self._version = manifest.package_version
        students = store.students(manifest, self._version)
        self._before = students.latest() or OwnStudent(LEARNED_RUN, 0, package.parameters)
        self._forward, self._personalizer = Forward(artifact), Personalizer(artifact)
        fleet = students.fleet() or package.parameters
        self._misled = examples.mislead(fleet, self._forward)
        self._soft = soft_term(
            store,
            package,
            fleet,
            self._forward,
            soft_weight=0.0 if self._misled else settings.soft_weight,
            temperature=settings.temperature,
        )
        self._fingerprint = fingerprint(package, settings, self._before.parameters, self._soft)
        self._begin(self._resumable(examples), examples, budget)
        training = self._examples.training
        self._schedule = BatchSchedule(
            PrivateStack.of_one(training.x, training.labels),
            self._task(manifest),
            manifest=manifest,
            public_x=package.public_x,
        )
        self._evaluator = self._evaluator_of(package)
        self._saved_at, self._seconds_per_step, self._diverged = time.monotonic(), _SECONDS_AT_ONCE, False

    def run(self, on_progress: OnProgress, stop: Stop) -> LearningResult:
        """Train and score by turns until there is an end, or `stop` gives a reason."""
        stopped = _StopReason(stop)
        before = self._evaluator.score(self._before.parameters, stopped)
        while before is not None and not stopped():
            ended = self._ended()
            due = ended is not None or self._step - self._checked >= self._settings.check_every
            if due and self._step > self._checked:
                self._check(before, stopped)
            elif ended is not None:
                return self._finish(before, ended)
            else:
                on_progress(self._train())
                if time.monotonic() - self._saved_at >= self._settings.snapshot_seconds:
                    self._save()
        self._save()
        words = (
            f"Interrupted after {self._step} steps: {stopped.reason}. The student from before answers; "
            "the next learning goes on from here."
        )
        return self._result(LearningOutcome.INTERRUPTED, words, before)

    def _evaluator_of(self, package: StudentPackage) -> Evaluator:
        examples, manifest, schema = self._examples, package.manifest, intent_schema(package)
        log_prior = None
        if not manifest.label_shape and self._settings.owner_share:
            labels, share = examples.training.labels, self._settings.owner_share
            log_prior = own_log_prior(labels, classes=manifest.classes, owner_share=share)
        return Evaluator(
            self._forward,
            examples.scored.x,
            examples.scored.labels,
            public=self._public_score(package),
            log_prior=log_prior,
            temperature=1.0 if schema is None else schema.temperature,
        )

    def _public_score(self, package: StudentPackage) -> PublicScore | None:
        """What a classifier is scored on besides its own examples."""
        targets, x = self._soft.targets, package.public_x
        if not isinstance(targets, PublicSoftLabels) or x is None or package.manifest.label_shape:
            return None
        some = np.arange(len(targets.public_rows))[:: -(-len(targets.public_rows) // _MOST_SCORED)]
        return PublicScore(
            public_examples(x, targets.public_rows[some], mixed=self._soft.mixed_rows),
            targets.soft_labels.dense()[some],
            temperature=self._soft.temperature,
            weight=self._settings.soft_weight,
        )

    def _resumable(self, examples: LearningExamples) -> tuple[Snapshot, LearningExamples] | None:
        """The snapshot of an interrupted learning, if this one is the same, and its examples."""
        blob = self._store.learning()
        snapshot = None if blob is None else decode_snapshot(blob)
        if snapshot is None or snapshot.fingerprint != self._fingerprint:
            return None
        used = examples.of_snapshot(snapshot)
        return None if used is None else (snapshot, used)

    def _begin(
        self,
        resumable: tuple[Snapshot, LearningExamples] | None,
        examples: LearningExamples,
        budget: Budget,
    ) -> None:
        """Start anew, or where an earlier session stopped."""
        self._resumed = resumable is not None
        if resumable is None:
            self._examples, state, cost = examples, PersonalizerState.start(self._before.parameters), None
            self._checked, self._best = 0, None
        else:
            snapshot, self._examples = resumable
            state, cost = snapshot.state, snapshot.cost
            self._checked, self._best = snapshot.checked, snapshot.best
        self._meter = Meter(budget, before=cost)
        self._personalizer.begin(state)
        self._step = state.step

    def _task(self, manifest: StudentManifest) -> RoundTask:
        training = self._settings.plan(
            manifest,
            public=isinstance(self._soft.targets, PublicSoftLabels),
            temperature=self._soft.temperature,
            soft=self._soft.targets is not None,
        )
        return RoundTask(
            run=LEARNED_RUN,
            round=1,
            family=manifest.family,
            training=training,
            request=SummaryRequest(SummaryKind.NONE),
            soft_targets=self._soft.targets,
            mixed_rows=self._soft.mixed_rows,
        )

    def _ended(self) -> str | None:
        """Why learning is over, in words."""
        best = 0 if self._best is None else self._best.step
        epochs = self._settings.epochs
        if not self._examples.held_out:
            epochs = min(epochs, self._settings.epochs_unjudged)
        if self._diverged:
            return "training left the finite numbers (lower the learning rate)"
        if self._step >= epochs * self._schedule.steps_per_epoch:
            return f"all {epochs} epochs are done"
        if self._checked - best >= self._settings.patience * self._settings.check_every:
            return f"the last {self._settings.patience} checks were no better"
        return self._meter.exhausted(self._step)

    def _train(self) -> LearningProgress:
        """Take steps for about a tenth of a second, up to the next check or the end of the epoch."""
        steps = max(1, int(_SECONDS_AT_ONCE / max(self._seconds_per_step, 1e-6)))
        steps = min(steps, self._checked + self._settings.check_every - self._step)
        if self._budget.steps is not None:
            steps = min(steps, self._budget.steps - self._step)
        steps = min(steps, self._schedule.steps_left(self._step))
        epoch = self._schedule.epoch_of(self._step)
        started = time.monotonic()
        loss = float(np.sum(self._personalizer.take(self._schedule, self._step, self._step + steps)))
        self._seconds_per_step = (time.monotonic() - started) / steps
        self._step += steps
        self._diverged = not math.isfinite(loss)
        return LearningProgress(
            steps=self._step,
            epoch=epoch + 1,
            epochs=self._settings.epochs,
            training_loss=loss / steps,
            seconds=self._meter.cost().seconds,
            best=None if self._best is None else self._best.score,
        )

    def _check(self, before: Score, stopped: _StopReason) -> None:
        """Score the student, and keep it if it is the best so far."""
        state = self._personalizer.state()
        student = {name: array[0] for name, array in state.parameters.items()}
        score = self._evaluator.score(student, stopped)
        if score is None:
            return
        self._checked = self._step
        lowest = math.inf if self._best is None else self._best.score.loss
        if score.is_better_than(before) and score.loss < lowest:
            self._best = Best(student, score, self._step)

    def _save(self) -> None:
        snapshot = Snapshot(
            fingerprint=self._fingerprint,
            training_ids=self._examples.training.ids,
            scored_ids=self._examples.scored.ids,
            held_out=self._examples.held_out,
            state=self._personalizer.state(),
            checked=self._checked,
            best=self._best,
            cost=self._meter.cost(),
        )
        self._store.save_learning(snapshot.encode())
        self._saved_at = time.monotonic()

    def _finish(self, before: Score, ended: str) -> LearningResult:
        ended = f"Learning ended after {self._step} steps, as {ended}."
        if self._misled:
            ended += " The fleet is wrong about most of the owner's examples, and had no part in it."
        if self._best is None:
            self._store.finish_learning(self._version, None)
            words = f"{ended} No check was better than the student from before ({before}); it is kept."
            return self._result(LearningOutcome.KEPT, words + self._scored_on_all(), before)
        refused = self._refuses(self._best.student)
        if refused:
            self._store.finish_learning(self._version, None)
            words = f"{ended} The student of step {self._best.step} is refused: {refused}. It is not kept."
            self._best = None
            return self._result(LearningOutcome.KEPT, words, before)
        round = self._before.round + 1 if self._before.run == LEARNED_RUN else 1
        self._store.finish_learning(self._version, OwnStudent(LEARNED_RUN, round, self._best.student))
        words = (
            f"{ended} The student of step {self._best.step} ({self._best.score}) replaces the one from "
            f"before ({before})."
        )
        return self._result(LearningOutcome.REPLACED, words + self._scored_on_all(), before)

    def _scored_on_all(self) -> str:
        """A sentence for the result where too few examples are held out."""
        if self._examples.held_out:
            return ""
        return (
            f" Fewer than {self._settings.least_held_out} examples are held out, so both were judged on all "
            f"of the device's examples, after at most {self._settings.epochs_unjudged} epochs."
        )

    def _result(self, outcome: LearningOutcome, words: str, before: Score | None) -> LearningResult:
        cost = self._meter.cost()
        return LearningResult(
            outcome,
            words,
            before=before,
            after=None if self._best is None else self._best.score,
            judged_on="held-out examples" if self._examples.held_out else "all examples",
            steps=self._step,
            epochs=-(-self._step // self._schedule.steps_per_epoch),
            seconds=cost.seconds,
            joules=cost.joules,
            soft_labels=self._soft.source,
            soft_examples=self._soft.examples,
            resumed=self._resumed,
        )


class _StopReason:
    """Asks `stop` until it gives a reason, and keeps that."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self.reason: str | None = None

    def __call__(self) -> bool:
        if self.reason is None:
            self.reason = self._stop()
        return self.reason is not None

"""One sitting of a learning: from its start, or its last snapshot, to its end or an interruption."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from fedstill_proto.messages import PublicSoftLabels, RoundTask, SummaryKind, SummaryRequest
from fedstill_proto.package.artifact import StudentManifest, StudentPackage

from fedstill_client.learning.batches import BatchSchedule
from fedstill_client.learning.budget import Budget, Meter, Spent
from fedstill_client.learning.checkpoint import Best, Snapshot, decode_snapshot
from fedstill_client.learning.evaluator import Judge
from fedstill_client.learning.examples import Chosen, LearningStore
from fedstill_client.learning.fingerprint import fingerprint
from fedstill_client.learning.outcome import Judgement, LearningOutcome, LearningProgress, Result
from fedstill_client.learning.settings import LearningSettings
from fedstill_client.learning.soft_term import soft_term
from fedstill_client.model.forward import Forward
from fedstill_client.model.intents import intent_schema
from fedstill_client.model.label_prior import own_log_prior
from fedstill_client.model.label_prior_fit import LEARNED_HERE, default_strength
from fedstill_client.model.private_stack import PrivateStack
from fedstill_client.model.student_store import LEARNED_RUN, OwnStudent
from fedstill_client.model.trainer import Personalizer, PersonalizerState

_SECONDS_AT_ONCE = 0.1  # of steps, between two looks at `stop` and the budget


class TrainingSession:
    """The device's student, its examples and how far it has come."""

    def __init__(
        self,
        store: LearningStore,
        package: StudentPackage,
        chosen: Chosen,
        settings: LearningSettings,
        budget: Budget,
    ) -> None:
        manifest, artifact = package.manifest, package.artifact
        self._store, self._settings, self._budget = store, settings, budget
        self._version = manifest.package_version
        latest = store.students(manifest, self._version).latest()
        self._before = latest or OwnStudent(LEARNED_RUN, 0, package.parameters)
        self._forward, self._personalizer = Forward(artifact), Personalizer(artifact)
        self._soft = soft_term(
            store,
            package,
            self._before.parameters,
            self._forward,
            soft_weight=settings.soft_weight,
            temperature=settings.temperature,
        )
        self._fingerprint = fingerprint(package, settings, self._before.parameters, self._soft)
        self._go_on_from(self._snapshot_of_before(chosen), chosen, budget)
        training = self._chosen.training
        private = PrivateStack.of_one(training.x, training.labels)
        self._course = BatchSchedule(private, self._task(manifest), self._forward, package.public_x)
        self._judge = self._judge_of(package)
        self._saved_at, self._seconds_a_step, self._diverged = time.monotonic(), _SECONDS_AT_ONCE, False

    def run(
        self, on_progress: Callable[[LearningProgress], None], stop: Callable[[], str | None]
    ) -> LearningOutcome:
        """Train and judge by turns until there is an end, or `stop` gives a reason."""
        asked = _Asked(stop)
        usual = default_strength(self._before)
        before = self._judge.judge(self._before.parameters, asked, usual=usual)
        while before is not None and not asked():
            ended = self._ended()
            due = ended is not None or self._step - self._checked >= self._settings.check_every
            if due and self._step > self._checked:
                self._check(before, asked)
            elif ended is not None:
                return self._finish(before, ended)
            else:
                on_progress(self._train())
                if time.monotonic() - self._saved_at >= self._settings.snapshot_seconds:
                    self._save()
        self._save()
        words = (
            f"Interrupted after {self._step} steps: {asked.reason}. The student from before answers; "
            "the next learning goes on from here."
        )
        return self._outcome(Result.INTERRUPTED, words, before)

    def _judge_of(self, package: StudentPackage) -> Judge:
        chosen, manifest, schema = self._chosen, package.manifest, intent_schema(package)
        log_prior = None
        if not manifest.label_shape and self._settings.label_prior:
            labels, strength = chosen.training.labels, self._settings.label_prior
            log_prior = own_log_prior(labels, classes=manifest.classes, strength=strength)
        return Judge(
            self._forward,
            chosen.judged.x,
            chosen.judged.labels,
            log_prior=log_prior,
            temperature=1.0 if schema is None else schema.temperature,
            fitted=chosen.held_out,
        )

    def _snapshot_of_before(self, chosen: Chosen) -> tuple[Snapshot, Chosen] | None:
        """The snapshot of an interrupted learning, if this one is the same, and its examples."""
        blob = self._store.learning()
        snapshot = None if blob is None else decode_snapshot(blob)
        if snapshot is None or snapshot.fingerprint != self._fingerprint:
            return None
        used = chosen.of_snapshot(snapshot)
        return None if used is None else (snapshot, used)

    def _go_on_from(self, found: tuple[Snapshot, Chosen] | None, chosen: Chosen, budget: Budget) -> None:
        self._resumed = found is not None
        self._chosen = chosen if found is None else found[1]
        state, self._checked, self._best, spent = (
            (PersonalizerState.start(self._before.parameters), 0, None, Spent())
            if found is None
            else (found[0].state, found[0].checked, found[0].best, found[0].spent)
        )
        self._meter = Meter(budget, before=spent)
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
        )

    def _ended(self) -> str | None:
        """Why learning is over, in words."""
        best = 0 if self._best is None else self._best.step
        epochs = self._settings.epochs
        if not self._chosen.held_out:
            epochs = min(epochs, self._settings.epochs_unjudged)
        if self._diverged:
            return "training left the finite numbers (lower the learning rate)"
        if self._step >= epochs * self._course.steps_an_epoch:
            return f"all {epochs} epochs are done"
        if self._checked - best >= self._settings.patience * self._settings.check_every:
            return f"the last {self._settings.patience} checks were no better"
        return self._meter.exhausted(self._step)

    def _train(self) -> LearningProgress:
        """Steps of about a tenth of a second, up to the next check."""
        steps = max(1, int(_SECONDS_AT_ONCE / max(self._seconds_a_step, 1e-6)))
        steps = min(steps, self._checked + self._settings.check_every - self._step)
        if self._budget.steps is not None:
            steps = min(steps, self._budget.steps - self._step)
        started = time.monotonic()
        epoch = self._course.epoch(self._step)
        taken, loss = self._course.walk(self._personalizer, self._step, steps)
        self._seconds_a_step = (time.monotonic() - started) / taken
        self._step += taken
        self._diverged = not math.isfinite(loss)
        best = None if self._best is None else self._best.judgement
        return LearningProgress(self._step, epoch + 1, loss / taken, best, self._meter.spent().seconds)

    def _check(self, before: Judgement, asked: _Asked) -> None:
        state = self._personalizer.state()
        student = {name: array[0] for name, array in state.parameters.items()}
        judgement = self._judge.judge(student, asked, usual=LEARNED_HERE)
        if judgement is None:
            return
        self._checked = self._step
        so_far = math.inf if self._best is None else self._best.judgement.loss
        if judgement.is_better_than(before) and judgement.loss < so_far:
            self._best = Best(student, judgement, self._step)

    def _save(self) -> None:
        snapshot = Snapshot(
            self._fingerprint,
            self._chosen.training.ids,
            self._chosen.judged.ids,
            self._chosen.held_out,
            self._personalizer.state(),
            self._checked,
            self._best,
            self._meter.spent(),
        )
        self._store.save_learning(snapshot.encode())
        self._saved_at = time.monotonic()

    def _finish(self, before: Judgement, ended: str) -> LearningOutcome:
        ended = f"Learning ended after {self._step} steps, as {ended}."
        if self._best is None:
            self._store.finish_learning(self._version, None)
            words = f"{ended} No check was better than the student from before ({before}); it is kept."
            return self._outcome(Result.KEPT, words + self._on_what(), before)
        round = self._before.round + 1 if self._before.run == LEARNED_RUN else 1
        self._store.finish_learning(self._version, OwnStudent(LEARNED_RUN, round, self._best.student))
        words = (
            f"{ended} The student of step {self._best.step} ({self._best.judgement}) replaces the one from "
            f"before ({before})."
        )
        return self._outcome(Result.REPLACED, words + self._on_what(), before)

    def _on_what(self) -> str:
        if self._chosen.held_out:
            return ""
        return (
            f" Fewer than {self._settings.least_held_out} examples are held out, so both were judged on all "
            f"of the device's examples, after at most {self._settings.epochs_unjudged} epochs."
        )

    def _outcome(self, result: Result, words: str, before: Judgement | None) -> LearningOutcome:
        spent = self._meter.spent()
        return LearningOutcome(
            result,
            words,
            before=before,
            after=None if self._best is None else self._best.judgement,
            judged_on="held-out examples" if self._chosen.held_out else "all examples",
            steps=self._step,
            epochs=-(-self._step // self._course.steps_an_epoch),
            seconds=spent.seconds,
            joules=spent.joules,
            soft_labels=self._soft.source,
            soft_examples=self._soft.examples,
            resumed=self._resumed,
        )


class _Asked:
    """Asks `stop` until it gives a reason, and keeps that."""

    def __init__(self, stop: Callable[[], str | None]) -> None:
        self._stop = stop
        self.reason: str | None = None

    def __call__(self) -> bool:
        if self.reason is None:
            self.reason = self._stop()
        return self.reason is not None

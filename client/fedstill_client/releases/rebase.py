"""Re-bases the owner's student on a new package, and never makes the owner's answers worse by it.

What the owner gets may come from three students under the new package:

    distilled   the package's student after some epochs of T^2 KL(q || softmax(z / T)), where q is what the
                owner's student of before says of the public set and of the device's own training examples
                (Hinton et al. 2015, arXiv 1503.02531; between a model's generations: Furlanello et al. 2018,
                "Born-again neural networks", arXiv 1805.04770)
    package     the package's student as it is
    kept        the owner's student of before, where its weights have the same shapes

Each is scored as it would answer the owner, with the device's label prior, on the held-out examples; with too
few of those on all. The one with the most right answers is taken, a newer one where several have as many, and
none that has fewer than the owner's student had under the package of before. Where there is none such, the
package of before goes on answering the owner, until a student that learned under the new one is as good.
Everyone's questions are answered by the new package in any case.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import FloatArray, Parameters
from fedstill_proto.errors import FedstillError
from fedstill_proto.messages import RoundTask, StartPlan, StartSource, SummaryKind, SummaryRequest
from fedstill_proto.package.artifact import StudentPackage

from fedstill_client.agent_types import Score, Stop
from fedstill_client.keyboard.typed_rows import learning_examples
from fedstill_client.learning.evaluator import Evaluator
from fedstill_client.learning.settings import LearningSettings
from fedstill_client.learning.soft_term import own_targets
from fedstill_client.model.forward import Forward
from fedstill_client.model.intent_schema import intent_schema
from fedstill_client.model.label_prior import own_log_prior
from fedstill_client.model.student_store import LEARNED_RUN, OwnStudent
from fedstill_client.model.trainer import Personalizer
from fedstill_client.releases.record import Counts
from fedstill_client.rounds.distilled_start import distilled_start
from fedstill_client.rounds.round import Interrupted
from fedstill_client.store import PrivateStore

_LEAST_EPOCHS, _MOST_EPOCHS, _USUAL_STEPS = 20, 200, 1000  # few rows are gone over more often
_MOST_ROWS = 2000  # public rows, and as many examples, that a distillation goes over
_TEMPERATURE = 2.0


@dataclass(frozen=True, eq=False)
class Rebased:
    """What a re-basing came to.

    Attributes:
        student: The owner's student under the new package; None where the package of before answers on.
        source: "distilled", "package" or "kept"; "" where the package of before answers on.
        counts: Right answers before and after.
        complete: Whether a distilled student was among them, or there can be none.
    """

    student: Parameters | None
    source: str
    counts: Counts
    complete: bool


class PackageSide:
    """One package with what the device has under it, and with the device's examples as it reads them."""

    def __init__(self, store: PrivateStore, package: StudentPackage, *, owner_share: float) -> None:
        """Read the examples.

        Args:
            store: The private store.
            package: The package.
            owner_share: Weighs the label prior.
        """
        manifest = package.manifest
        self.package, self.forward = package, Forward(package.artifact)
        self.training, held_out = (
            learning_examples(store, package, part).read_by(manifest) for part in ("training", "held-out")
        )
        least = LearningSettings.of(manifest).least_held_out
        self.judged_on = held_out
        if len(held_out.ids) < least and len(self.training.ids):
            self.judged_on = self.training.followed_by(held_out) if len(held_out.ids) else self.training
        students = store.students(manifest, manifest.package_version)
        self.own, self.fleet = students.latest(), students.fleet() or package.parameters
        self._owner_share = owner_share

    @property
    def reads_examples(self) -> bool:
        """Whether the package takes the examples that the device has."""
        manifest, x, labels = self.package.manifest, self.judged_on.x, self.judged_on.labels
        if not len(self.judged_on.ids):
            return False
        fits = x.shape[1:] == manifest.input_shape and labels.shape[1:] == manifest.label_shape
        return fits and not (manifest.target.is_single and labels.max(initial=0) >= manifest.classes)

    def score(self, student: Parameters, stop: Stop, *, for_owner: bool = True) -> Score:
        """Score a student as it would answer; raises Interrupted.

        Args:
            student: Its parameters [*shape].
            stop: Asked now and then; a reason ends it.
            for_owner: With the device's label prior.
        """
        manifest, schema = self.package.manifest, intent_schema(self.package)
        prior = None
        if for_owner and not manifest.label_shape and self._owner_share and manifest.target.is_single:
            prior = own_log_prior(
                self.training.labels, classes=manifest.classes, owner_share=self._owner_share
            )
        evaluator = Evaluator(
            self.forward,
            self.judged_on.x,
            self.judged_on.labels,
            log_prior=prior,
            temperature=1.0 if schema is None else schema.temperature,
        )
        reason: list[str] = []
        score = evaluator.score(student, lambda: _asked(stop, reason))
        if score is None:
            raise Interrupted(reason[0])
        return score


def rebase(
    old: PackageSide, new: PackageSide, *, stop: Stop, may_learn: bool, most_steps: int
) -> Rebased | None:
    """Choose the owner's student under a new package.

    Args:
        old: The package that answered the owner until now.
        new: The package in use.
        stop: Asked before each step and each chunk of answers.
        may_learn: Whether the device may spend time on a distilled student now.
        most_steps: Of training, at most.

    Returns:
        What it came to; None where the device has no examples that both packages read.

    Raises:
        Interrupted: `stop` gave a reason.
    """
    if not (old.reads_examples and new.reads_examples):
        return None
    if not np.array_equal(old.judged_on.ids, new.judged_on.ids):
        return None  # texts make other rows with another vocabulary
    before = old.score(old.fleet if old.own is None else old.own.parameters, stop)
    candidates: list[tuple[str, Parameters]] = []
    complete = old.own is None
    if old.own is not None and may_learn:
        complete = True
        distilled = _distilled(old, new, old.own, stop=stop, most_steps=most_steps)
        if distilled is not None:
            candidates.append(("distilled", distilled))
    candidates.append(("package", new.package.parameters))
    if new.own is not None:
        candidates.append(("kept", new.own.parameters))
    best: tuple[int, int, float] | None = None
    source, student = "", None
    for place, (name, parameters) in enumerate(candidates):
        score = new.score(parameters, stop)
        rank = score.correct, -place if name == "kept" else 0, -score.loss
        is_worse = score.correct < before.correct and old.own is not None
        if not is_worse and (best is None or rank > best):
            best, source, student = rank, name, parameters
    counts = Counts(
        examples=before.answers,
        owner_before=before.correct,
        owner_after=before.correct if best is None else best[0],
        fleet_before=old.score(old.fleet, stop, for_owner=False).correct,
        fleet_after=new.score(new.package.parameters, stop, for_owner=False).correct,
    )
    return Rebased(student, source, counts, complete)


def _distilled(
    old: PackageSide, new: PackageSide, teacher: OwnStudent, *, stop: Stop, most_steps: int
) -> Parameters | None:
    """The new package's student after it has learned what the old one's says; None where it cannot."""
    manifest = new.package.manifest
    if manifest.soft_labels == "none" or manifest.soft_labels != old.package.manifest.soft_labels:
        return None
    read_before, read_now = _rows(old, new)
    if not len(read_now):
        return None
    settings = LearningSettings.of(manifest)
    batches = -(-len(read_now) // manifest.step_rows)
    training = settings.plan(manifest, public=True, temperature=_TEMPERATURE, soft=True)
    epochs = min(max(_USUAL_STEPS // batches, _LEAST_EPOCHS), _MOST_EPOCHS, most_steps // batches)
    if epochs < 1:
        return None

    def before_step() -> None:
        if (reason := stop()) is not None:
            raise Interrupted(reason)

    try:
        task = RoundTask(
            run=LEARNED_RUN,
            round=1,
            family=manifest.family,
            training=training,
            request=SummaryRequest(SummaryKind.NONE),
            soft_targets=own_targets(teacher.parameters, read_before, old.forward, _TEMPERATURE),
            start=StartPlan(
                source=StartSource.INSTALLED, epochs=epochs, learning_rate=training.learning_rate
            ),
        )
        trainer = Personalizer(new.package.artifact)
        trained = distilled_start(new.package.parameters, task, trainer, read_now, before_step=before_step)
    except Interrupted:
        raise
    except FedstillError:
        return None  # the old student's answers are none that the new one can learn
    student = {name: array[0] for name, array in trained.items()}
    return student if all(np.isfinite(array).all() for array in student.values()) else None


def _rows(old: PackageSide, new: PackageSide) -> tuple[FloatArray, FloatArray]:
    """The same rows as the old package reads them and as the new one does: of the public set where both read
    it alike, and the device's own training examples.
    """
    before, now = old.package.manifest, new.package.manifest
    parts: list[tuple[npt.NDArray[np.generic], npt.NDArray[np.generic]]] = []
    public = new.package.public_x
    alike = before.input_rule.reads_as(now.input_rule) and before.columns == now.columns
    if public is not None and alike and public.shape[1:] == before.input_shape:
        some = public[:: max(-(-len(public) // _MOST_ROWS), 1)]
        parts.append((some, some))
    own = slice(-_MOST_ROWS, None)
    if len(new.training.ids) and np.array_equal(old.training.ids, new.training.ids):
        parts.append((old.training.x[own], new.training.x[own]))
    if not parts:
        return np.zeros(0, np.float32), np.zeros(0, np.float32)
    read_before, read_now = (np.concatenate(side) for side in zip(*parts, strict=True))
    return read_before, read_now


def _asked(stop: Stop, reason: list[str]) -> bool:
    if (said := stop()) is not None:
        reason.append(said)
    return bool(reason)

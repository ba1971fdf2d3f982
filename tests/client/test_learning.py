"""Learning on the device: what it brings, when it ends, what it keeps, and that it goes on when killed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from fedstill_client.agent_types import LearningOutcome, LearningProgress, Score
from fedstill_client.learning import Budget, LearningSettings, learn
from fedstill_client.learning.checkpoint import decode_snapshot
from fedstill_client.learning.evaluator import Evaluator, PublicScore
from fedstill_client.learning.soft_term import encode_fleet_labels
from fedstill_client.model.forward import Forward
from fedstill_client.model.label_prior import own_log_prior
from fedstill_client.model.misled import at_most
from fedstill_client.model.student_store import OwnStudent
from fedstill_client.store import StoredExamples
from fedstill_proto.messages import ClassSoftLabels, Optimizer, PublicSoftLabels
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels

from tests.client.learning_samples import MemoryStore, package
from tests.client.samples import examples, mlp_logits, plan, soft_rows, softmax, student, task

SETTINGS = LearningSettings(check_every=10, epochs=12, learning_rate=0.05, snapshot_seconds=0)


def after_steps(steps: int) -> tuple[Callable[[], str | None], Callable[[LearningProgress], None]]:
    """A `stop` that says so from this step on, and the `on_progress` that tells it."""
    seen = [0]
    return (
        lambda: "on battery" if seen[0] >= steps else None,
        lambda progress: seen.__setitem__(0, progress.steps),
    )


def test_a_student_that_got_better_on_held_out_examples_replaces_the_one_from_before() -> None:
    store = MemoryStore.of(120, 40)

    outcome = learn(store, package(), settings=SETTINGS)

    assert outcome.result is LearningOutcome.REPLACED
    assert outcome.before is not None
    assert outcome.after is not None
    assert outcome.after.accuracy > outcome.before.accuracy + 0.15
    assert outcome.judged_on == "held-out examples"
    assert (outcome.soft_labels, outcome.soft_examples) == ("installed", 24)
    assert store.current is not None
    prior = own_log_prior(store.training.labels, classes=3, owner_share=SETTINGS.owner_share)
    answers = (mlp_logits(store.current.parameters, store.held_out.x) + prior).argmax(axis=1)
    right = answers == store.held_out.labels
    assert int(right.sum()) == outcome.after.correct
    assert (store.current.run, store.current.round) == ("offline", 1)
    assert store.snapshot is None


def test_a_student_that_got_no_better_is_not_kept() -> None:
    store = MemoryStore.of(60, 30)
    learned = learn(store, package(), settings=replace(SETTINGS, epochs=40))
    store.training = replace(store.training, labels=(store.training.labels + 1) % 3)  # now they are wrong
    best = store.current

    outcome = learn(store, package(), settings=SETTINGS)

    assert learned.result is LearningOutcome.REPLACED
    assert outcome.result is LearningOutcome.KEPT
    assert "no check was better" in outcome.words.lower()
    assert store.current is best
    assert store.finished[-1] is None
    assert outcome.steps == 50  # patience: 5 checks of 10 steps


def test_what_the_fleet_knows_counts_as_much_as_what_the_owner_gains() -> None:
    published, x, labels = package(), *examples(4)
    public_x, soft = examples(6, seed=3)[0], soft_rows(6)
    prior = np.array([0.5, 0.0, -0.5], np.float32)
    public = PublicScore(public_x, soft, temperature=2.0, weight=0.25)
    evaluator = Evaluator(Forward(published.artifact), x, labels, public=public, log_prior=prior)

    score = evaluator.score(student(), lambda: False)

    own = -np.log(softmax(mlp_logits(student(), x) + prior)[np.arange(4), labels]).mean()
    everyones = -(soft * np.log(softmax((mlp_logits(student(), public_x) + prior) / 2))).sum(axis=1).mean()
    assert score is not None
    assert score.loss == pytest.approx(0.75 * own + 0.25 * everyones, rel=1e-5)
    assert score.answers == 4


def test_an_owner_who_renames_the_labels_learns_without_the_fleet() -> None:
    fleet = MemoryStore.of(150, 50)
    learn(fleet, package(), settings=replace(SETTINGS, epochs=60, soft_weight=0.0, patience=99))
    assert fleet.current is not None
    published = replace(package(), parameters=fleet.current.parameters)
    store = MemoryStore.of(60, 20)
    for part in (store.training, store.held_out):
        part.labels[:] = (part.labels + 1) % 3

    outcome = learn(store, published, settings=replace(SETTINGS, epochs=60))

    assert outcome.before is not None
    assert outcome.after is not None
    assert outcome.before.accuracy < 0.2
    assert outcome.after.accuracy > 0.8
    assert outcome.soft_labels == "none"
    assert "The fleet is wrong about most of the owner's examples" in outcome.words


def test_a_chance_of_so_few_right_answers() -> None:
    assert at_most(1, 3, 0.5) == pytest.approx(0.5)
    assert at_most(0, 3, 0.9) == pytest.approx(0.001)
    assert at_most(3000, 3000, 0.7) == pytest.approx(1.0)


@pytest.mark.parametrize("optimizer", list(Optimizer))
@pytest.mark.parametrize("steps", [1, 10, 37])
def test_an_interrupted_learning_ends_as_one_that_was_not(optimizer: Optimizer, steps: int) -> None:
    whole, broken = MemoryStore.of(90, 30), MemoryStore.of(90, 30)
    published = package(optimizer=optimizer)
    wanted = learn(whole, published, settings=SETTINGS)

    stop, on_progress = after_steps(steps)
    first = learn(broken, published, settings=SETTINGS, stop=stop, on_progress=on_progress)
    second = learn(broken, published, settings=SETTINGS)

    assert first.result is LearningOutcome.INTERRUPTED
    assert "on battery" in first.words
    assert second.resumed
    assert (second.result, second.steps, second.after) == (wanted.result, wanted.steps, wanted.after)
    assert whole.current is not None
    assert broken.current is not None
    for name, array in whole.current.parameters.items():
        np.testing.assert_array_equal(broken.current.parameters[name], array, err_msg=name)


def test_a_killed_learning_goes_on_from_its_last_snapshot() -> None:
    whole, broken = MemoryStore.of(90, 30), MemoryStore.of(90, 30)
    wanted = learn(whole, package(), settings=SETTINGS)

    def die(progress: LearningProgress) -> None:
        if progress.steps >= 33:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(broken, package(), settings=SETTINGS, on_progress=die)
    outcome = learn(broken, package(), settings=SETTINGS)

    assert outcome.resumed
    assert outcome.after == wanted.after
    assert whole.current is not None
    assert broken.current is not None
    np.testing.assert_array_equal(
        broken.current.parameters["hidden.weight"], whole.current.parameters["hidden.weight"]
    )


def test_new_examples_wait_and_removed_ones_make_learning_start_anew() -> None:
    store = MemoryStore.of(90, 30)
    stop, on_progress = after_steps(20)
    learn(store, package(), settings=SETTINGS, stop=stop, on_progress=on_progress)
    kept, snapshot = store.training, store.snapshot
    store.training = kept.followed_by(StoredExamples(np.array([999]), *examples(1, seed=8)))

    with_new = learn(store, package(), settings=SETTINGS)
    store.snapshot, store.current = snapshot, None
    store.training = StoredExamples(kept.ids[1:], kept.x[1:], kept.labels[1:])
    with_removed = learn(store, package(), settings=SETTINGS)

    assert with_new.resumed
    assert not with_removed.resumed


def test_another_student_or_other_settings_make_learning_start_anew() -> None:
    store = MemoryStore.of(90, 30)
    stop, on_progress = after_steps(20)
    learn(store, package(), settings=SETTINGS, stop=stop, on_progress=on_progress)
    snapshot = store.snapshot

    other_settings = learn(store, package(), settings=replace(SETTINGS, seed=9))
    store.snapshot, store.current = snapshot, OwnStudent("a round", 4, student(5))
    other_student = learn(store, package(), settings=SETTINGS)
    store.snapshot, store.current = b"not a snapshot", None
    no_snapshot = learn(store, package(), settings=SETTINGS)

    assert not any(outcome.resumed for outcome in (other_settings, other_student, no_snapshot))


def test_with_few_held_out_examples_the_stated_rule_holds() -> None:
    store = MemoryStore.of(40, 3)

    outcome = learn(store, package(), settings=SETTINGS)

    assert outcome.judged_on == "all examples"
    assert outcome.before is not None
    assert outcome.before.answers == 43
    assert outcome.epochs == SETTINGS.epochs_unjudged
    assert "Fewer than 10 examples are held out" in outcome.words


def test_with_no_held_out_examples_students_are_scored_on_those_they_train_on() -> None:
    store = MemoryStore.of(40, 0)
    store.held_out = replace(store.held_out, x=np.zeros((0,), np.float32))  # the shape of none is unknown

    outcome = learn(store, package(), settings=SETTINGS)

    assert outcome.before is not None
    assert outcome.before.answers == 40


def test_too_few_examples_teach_nothing() -> None:
    store = MemoryStore.of(9, 20)

    outcome = learn(store, package(), settings=SETTINGS)

    assert outcome.result is LearningOutcome.NOTHING
    assert "9 training examples" in outcome.words
    assert store.finished == []


def test_the_fleets_soft_labels_come_before_the_students_own() -> None:
    store = MemoryStore.of(60, 20)
    public = PublicSoftLabels(np.arange(6), DenseSoftLabels(soft_rows(6)))
    classes = ClassSoftLabels(np.array([0, 2]), DenseSoftLabels(soft_rows(2)))
    mixed = PublicSoftLabels(np.arange(30), DenseSoftLabels(soft_rows(30)))
    too_many = PublicSoftLabels(np.arange(99), DenseSoftLabels(soft_rows(99)))
    found = []

    for targets, mixed_rows in ((public, 0), (classes, 0), (mixed, 6), (too_many, 6)):
        told = replace(task(plan(soft_weight=0.5), soft_targets=targets), mixed_rows=mixed_rows)
        store.fleet_labels = encode_fleet_labels(told)
        outcome = learn(store, package(), settings=replace(SETTINGS, epochs=1))
        found.append((outcome.soft_labels, outcome.soft_examples))

    assert found == [("fleet", 6), ("fleet", 2), ("fleet", 30), ("installed", 24)]


def test_without_soft_labels_learning_is_plain() -> None:
    plain, no_public = package(soft_labels="none"), package(public=0)

    outcomes = [
        learn(MemoryStore.of(60, 20), published, settings=replace(SETTINGS, epochs=1))
        for published in (plain, no_public)
    ]

    assert [outcome.soft_labels for outcome in outcomes] == ["none", "none"]


def test_a_budget_of_steps_ends_learning_at_that_step() -> None:
    store = MemoryStore.of(90, 30)

    outcome = learn(store, package(), settings=SETTINGS, budget=Budget(steps=17))

    assert outcome.steps == 17
    assert "its 17 steps are taken" in outcome.words
    assert outcome.result is LearningOutcome.REPLACED


def test_what_an_interrupted_session_spent_counts() -> None:
    store = MemoryStore.of(90, 30)
    stop, on_progress = after_steps(15)
    learn(store, package(), settings=SETTINGS, stop=stop, on_progress=on_progress, budget=Budget(steps=30))

    outcome = learn(store, package(), settings=SETTINGS, budget=Budget(steps=30, power_watts=1e6))

    assert outcome.resumed
    assert outcome.steps == 30
    assert outcome.joules is not None


def test_whoever_wants_it_to_stop_is_asked_all_the_time() -> None:
    asked: list[float] = []

    learn(
        MemoryStore.of(90, 30),
        package(),
        settings=replace(SETTINGS, check_every=10_000, epochs=200, snapshot_seconds=60),
        stop=lambda: asked.append(time.monotonic()),
    )

    assert len(asked) > 3
    assert np.quantile(np.diff(asked), 0.9) < 0.5


def test_a_process_that_is_too_large_learns_nothing_more() -> None:
    store = MemoryStore.of(90, 30)

    outcome = learn(store, package(), settings=SETTINGS, budget=Budget(memory_mb=1))

    assert (outcome.result, outcome.steps) == (LearningOutcome.KEPT, 0)
    assert "MB of memory" in outcome.words


@pytest.mark.parametrize("part", [b"", b"\xff" * 40, b"\x08" + bytes(7) + b'{"a": 1}'])
def test_bytes_that_are_no_snapshot_are_none(part: bytes) -> None:
    assert decode_snapshot(part) is None


def test_a_snapshot_cut_short_is_none() -> None:
    store = MemoryStore.of(90, 30)
    stop, on_progress = after_steps(20)
    learn(store, package(), settings=SETTINGS, stop=stop, on_progress=on_progress)
    whole = store.snapshot or b""

    assert decode_snapshot(whole) is not None
    assert all(decode_snapshot(whole[:length]) is None for length in range(0, len(whole), 97))


def test_training_that_diverges_keeps_the_student_from_before() -> None:
    store = MemoryStore.of(60, 20)

    outcome = learn(store, package(), settings=replace(SETTINGS, learning_rate=1e6))

    assert outcome.result is LearningOutcome.KEPT
    assert "left the finite numbers" in outcome.words


def test_better_is_a_lower_loss_and_no_fewer_right_answers() -> None:
    before = Score(1.0, 5, 10)

    assert Score(0.9, 5, 10).is_better_than(before)
    assert not Score(0.9, 4, 10).is_better_than(before)
    assert not Score(1.0, 9, 10).is_better_than(before)
    assert not Score(float("nan"), 9, 10).is_better_than(before)

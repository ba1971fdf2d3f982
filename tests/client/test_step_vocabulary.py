"""A step of text: which words it sees, how its batch is said in them, and that torch takes the same step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fedstill_client.agent_types import LearningOutcome
from fedstill_client.learning import LearningSettings, learn
from fedstill_client.learning.soft_term import own_targets
from fedstill_client.model.batches import ArtifactMismatch, StackPlan, plan_batches
from fedstill_client.model.forward import Forward
from fedstill_client.model.order import device_ids
from fedstill_client.model.private_stack import PrivateStack
from fedstill_client.model.step import StepArrays
from fedstill_client.model.step_vocabulary import StepVocabulary, StepVocabularyError
from fedstill_client.model.trainer import Personalizer, PersonalizerState
from fedstill_client.store import StoredExamples
from fedstill_proto.arrays import IntArray
from fedstill_proto.messages import ClassSoftLabels, Optimizer, PublicSoftLabels, RoundTask
from fedstill_proto.package.artifact import StudentManifest, StudentPackage
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels, TopKSoftLabels

from tests.client.bigram import PLACES, TABLE, WORDS, bigram_artifact, bigram_student
from tests.client.learning_samples import MemoryStore
from tests.client.samples import plan, soft_rows, softmax, task


def sentences(count: int, *, seed: int = 0, words: int = WORDS) -> tuple[IntArray, IntArray]:
    """Texts in which word w is followed by 3 w + 1, and so on."""
    x = np.empty((count, PLACES + 1), np.int64)
    x[:, 0] = np.random.default_rng(seed).integers(0, words, count)
    for place in range(PLACES):
        x[:, place + 1] = (3 * x[:, place] + 1) % words
    return x[:, :-1].copy(), x[:, 1:].copy()


def text_task(**training: object) -> RoundTask:
    return task(plan(**training), family="bigram", parameters=bigram_student())  # type: ignore[arg-type]


def steps_of(count: int, round_task: RoundTask, manifest: StudentManifest) -> StackPlan:
    private = PrivateStack.of_one(*sentences(count))
    return plan_batches(private, device_ids(["a"]), round_task, manifest=manifest)


def soft_manifest(soft_labels: str, *, step_size: int, k: int = 0) -> StudentManifest:
    built = bigram_artifact(step_size=step_size, step_rows=2).manifest
    return replace(built, soft_labels=soft_labels, k=k)


def said(
    spoken: StepArrays, manifest: StudentManifest, *, seed: int = 1, step: int = 0
) -> tuple[StepArrays, IntArray]:
    assert manifest.vocabulary is not None
    into = StepArrays.empty(manifest, classes=manifest.vocabulary.step_size)
    words = StepVocabulary(manifest, manifest.vocabulary).translate(spoken, into, seed=seed, step=step)
    return into, words[0]


def test_a_step_sees_its_own_words_and_others_that_change_from_step_to_step() -> None:
    manifest = bigram_artifact(step_size=12, step_rows=2).manifest
    spoken = StepArrays.empty(manifest)
    spoken.x[0, 0], spoken.labels[0, 0] = [7, 22, 7], [22, 7, 29]

    into, words = said(spoken, manifest)
    again, other = said(spoken, manifest)[1], said(spoken, manifest, step=1)[1]

    assert words[:4].tolist() == [0, 7, 22, 29]  # 0 is what the empty row holds
    assert len(set(words.tolist())) == 12
    np.testing.assert_array_equal(words[into.x[0]], spoken.x[0])
    np.testing.assert_array_equal(words[into.labels[0]], spoken.labels[0])
    np.testing.assert_array_equal(words, again)
    assert set(words.tolist()) != set(other.tolist())


def test_the_likeliest_words_of_soft_labels_find_room_first() -> None:
    manifest = soft_manifest("top-k", step_size=4, k=2)
    spoken = StepArrays.empty(manifest)
    assert spoken.soft_weight is not None
    assert spoken.soft_indices is not None
    assert spoken.soft_probabilities is not None
    spoken.soft_weight[0, 0] = 1
    spoken.soft_indices[0, 0] = [[3, 9], [9, 11], [5, 11]]
    spoken.soft_probabilities[0, 0] = [[0.1, 0.8], [0.3, 0.4], [0.05, 0.9]]

    into, words = said(spoken, manifest)

    # 0 is the batch's own; 11 has 1.3 in all, 9 has 1.1, 3 has 0.1 and 5 0.05: no room for it.
    assert words.tolist() == [0, 11, 9, 3]
    assert into.soft_indices is not None
    assert into.soft_probabilities is not None
    assert into.soft_probabilities[0, 0].tolist() == np.float32([[0.1, 0.8], [0.3, 0.4], [0, 0.9]]).tolist()
    assert into.soft_indices[0, 0].tolist() == [[3, 2], [2, 1], [0, 1]]
    assert into.soft_indices[0, 1].tolist() == [[0, 1]] * 3  # weighs nothing


def test_dense_soft_labels_are_those_of_the_words_in_sight() -> None:
    manifest = soft_manifest("dense", step_size=5)
    spoken = StepArrays.empty(manifest)
    assert spoken.soft_labels is not None
    spoken.soft_labels[0, 0] = soft_rows(PLACES, classes=WORDS)

    into, words = said(spoken, manifest)

    wanted = spoken.soft_labels[0, 0][:, words]
    assert into.soft_labels is not None
    np.testing.assert_allclose(into.soft_labels[0, 0], wanted / wanted.sum(1, keepdims=True), rtol=1e-6)


def test_more_words_than_a_step_sees_are_refused() -> None:
    manifest = bigram_artifact(step_size=3, step_rows=2).manifest
    spoken = StepArrays.empty(manifest)
    spoken.x[0, 0] = [1, 2, 3]

    with pytest.raises(StepVocabularyError, match=r"4 different words.*sees 3"):
        said(spoken, manifest)


@pytest.mark.parametrize("optimizer", [Optimizer.SGD, Optimizer.MOMENTUM])
def test_training_is_torchs_own_on_the_rows_that_each_step_sees(optimizer: Optimizer) -> None:
    built = bigram_artifact(optimizer=optimizer)
    steps = steps_of(15, text_task(epochs=3, optimizer=optimizer, learning_rate=0.5), built.manifest)

    trained, loss = Personalizer(built).train(bigram_student(), steps)

    wanted, wanted_loss = torch_training(steps, built.manifest)
    assert steps.steps == 12
    np.testing.assert_allclose(trained[TABLE][0], wanted, atol=2e-6, rtol=1e-5)
    assert loss[0] == pytest.approx(wanted_loss, rel=1e-5)


def torch_training(steps: StackPlan, manifest: StudentManifest) -> tuple[torch.Tensor, float]:
    """Autograd through a softmax over the step's words; an optimizer of torch on these rows alone."""
    table = torch.tensor(bigram_student()[TABLE], dtype=torch.float64)
    slot = torch.zeros_like(table)
    momentum = 0.9 if manifest.optimizer is Optimizer.MOMENTUM else 0.0
    spoken, losses = StepArrays.empty(manifest), []
    steps.start(spoken)
    for step in range(steps.steps):
        steps.fill(step, spoken)
        into, words = said(spoken, manifest, seed=steps.seed, step=step)
        rows = table[words].clone().requires_grad_()
        logits = rows[torch.from_numpy(into.x[0])] @ rows.T
        loss = torch.nn.functional.cross_entropy(
            logits.reshape(-1, len(words)), torch.from_numpy(into.labels[0]).reshape(-1), reduction="none"
        )
        loss = (loss * torch.from_numpy(into.hard_weight[0]).reshape(-1)).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer = torch.optim.SGD([rows], lr=float(into.lr[0]), momentum=momentum)
        if momentum:
            optimizer.state[rows]["momentum_buffer"] = slot[words].clone()
        optimizer.step()
        table[words] = rows.detach()
        if momentum:
            slot[words] = optimizer.state[rows]["momentum_buffer"]
        losses.append(loss.item())
    return table, float(np.mean(losses))


@pytest.mark.parametrize("stopped_after", [1, 6])
def test_training_text_goes_on_as_if_it_had_not_stopped(stopped_after: int) -> None:
    built = bigram_artifact(optimizer=Optimizer.MOMENTUM)
    steps = steps_of(15, text_task(epochs=2, optimizer=Optimizer.MOMENTUM), built.manifest)
    whole, _ = Personalizer(built).train(bigram_student(), steps)

    first, second = Personalizer(built), Personalizer(built)
    first.begin(PersonalizerState.start(bigram_student()))
    first.take(steps, 0, stopped_after)
    second.begin(first.state())
    second.take(steps, stopped_after, steps.steps)

    np.testing.assert_array_equal(second.state().parameters[TABLE], whole[TABLE])
    assert second.state().slots[f"{TABLE}.momentum"].shape == (1, WORDS, 4)


def test_text_spreads_the_weight_of_a_row_over_its_places() -> None:
    manifest = bigram_artifact().manifest
    steps = steps_of(2, text_task(batch_size=4), manifest)
    batch = StepArrays.empty(manifest)
    steps.start(batch)
    steps.fill(0, batch)

    assert batch.hard_weight.shape == (1, 4, 3)
    np.testing.assert_allclose(batch.hard_weight[0, :, 0], [1 / 6, 1 / 6, 0, 0], rtol=1e-6)


def test_soft_labels_of_text_are_one_for_each_place() -> None:
    manifest = soft_manifest("top-k", step_size=20, k=2)
    public_x, _ = sentences(4, seed=3)
    named = np.sort(np.random.default_rng(0).permuted(np.tile(np.arange(WORDS), (12, 1)), axis=1)[:, :2])
    labels = TopKSoftLabels(named, np.full((12, 2), 0.4, np.float32), WORDS)
    round_task = replace(
        text_task(batch_size=1, soft_weight=0.6), soft_targets=PublicSoftLabels(np.arange(4), labels)
    )
    private = PrivateStack.of_one(*sentences(1))

    steps = plan_batches(private, device_ids(["a"]), round_task, manifest=manifest, public_x=public_x)
    batch = StepArrays.empty(manifest)
    steps.start(batch)
    steps.fill(0, batch)

    which = int(np.flatnonzero((public_x == batch.x[0, 1]).all(axis=1))[0])
    assert batch.soft_indices is not None
    assert batch.soft_weight is not None
    np.testing.assert_array_equal(batch.soft_indices[0, 1], named.reshape(4, 3, 2)[which])
    np.testing.assert_allclose(batch.soft_weight[0, 1], [0.2] * 3, rtol=1e-6)


def test_soft_labels_that_are_not_of_text_are_refused() -> None:
    manifest = soft_manifest("dense", step_size=20)
    private, rows = PrivateStack.of_one(*sentences(3)), DenseSoftLabels(soft_rows(2, classes=WORDS))

    for targets, message in (
        (ClassSoftLabels(np.array([0, 1]), rows), "soft labels of classifiers"),
        (PublicSoftLabels(np.arange(2), rows), "takes 3 of each"),
    ):
        asked = replace(text_task(batch_size=1, soft_weight=0.5), soft_targets=targets)
        with pytest.raises(ArtifactMismatch, match=message):
            plan_batches(private, device_ids(["a"]), asked, manifest=manifest, public_x=sentences(2)[0])


def test_labels_of_another_shape_are_refused() -> None:
    manifest = bigram_artifact().manifest
    x, labels = sentences(3)

    with pytest.raises(ArtifactMismatch, match=r"shape \(\) an example"):
        plan_batches(PrivateStack.of_one(x, labels[:, 0]), device_ids(["a"]), text_task(), manifest=manifest)


def test_a_device_learns_text_from_its_own_sentences() -> None:
    built = bigram_artifact(step_size=30, step_rows=8, optimizer=Optimizer.MOMENTUM)
    published = StudentPackage(
        replace(built.manifest, package_version=1),
        b"not read here",
        bigram_student(),
        training_graph=built.training_graph,
        forward_graph=built.forward_graph,
        public_x=sentences(5, seed=9)[0],
    )
    (x, labels), (held_x, held_labels) = sentences(60), sentences(20, seed=1)
    store = MemoryStore(
        StoredExamples(np.arange(60), x, labels), StoredExamples(np.arange(60, 80), held_x, held_labels)
    )

    outcome = learn(store, published, settings=LearningSettings(learning_rate=0.2, epochs=12))

    assert outcome.result is LearningOutcome.REPLACED
    assert outcome.before is not None
    assert outcome.after is not None
    assert outcome.before.answers == 60  # 20 texts of 3 places
    assert outcome.after.accuracy > outcome.before.accuracy + 0.3


@pytest.mark.parametrize("k", [2, 29])
def test_the_installed_students_soft_labels_of_text_are_of_each_place(k: int) -> None:
    built = bigram_artifact()
    forward = Forward(replace(built, manifest=soft_manifest("top-k", step_size=30, k=k)))
    public_x, _ = sentences(11, seed=9)

    targets = own_targets(bigram_student(), public_x, forward, 2.0)

    table = bigram_student()[TABLE].astype(np.float64)
    wanted = softmax(table[public_x.reshape(-1)] @ table.T / 2)
    labels = targets.soft_labels
    assert isinstance(labels, TopKSoftLabels)
    assert labels.rows == 33
    named = np.take_along_axis(wanted, labels.indices.astype(np.int64), axis=1)
    np.testing.assert_allclose(labels.probabilities, named, atol=1e-6)
    assert (named.min(axis=1) >= np.sort(wanted, axis=1)[:, -k] - 1e-6).all()

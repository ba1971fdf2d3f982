"""The personalizer against a training step written out in float64, on real artifacts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pytest
from fedstill_client.model.batches import StackPlan, plan_batches
from fedstill_client.model.gradient_term import GradientTerm
from fedstill_client.model.order import device_ids
from fedstill_client.model.private_stack import PrivateStack
from fedstill_client.model.runtime import GraphError
from fedstill_client.model.step import StepArrays
from fedstill_client.model.student_shapes import StudentMismatch, check_student
from fedstill_client.model.trainer import Personalizer, PersonalizerState
from fedstill_proto.arrays import FloatArray, Parameters
from fedstill_proto.messages import ClassSoftLabels, Optimizer, PublicSoftLabels, RoundTask
from fedstill_proto.package.artifact import TrainingArtifact
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels, TopKSoftLabels

from tests.client.samples import (
    CLASSES,
    artifact,
    examples,
    mlp_logits,
    plan,
    soft_rows,
    softmax,
    stack_of,
    student,
    task,
)

Doubles = dict[str, npt.NDArray[np.float64]]
Term = Callable[[str, npt.NDArray[np.float64]], npt.NDArray[np.float64]]


def steps_for(
    private: PrivateStack,
    round_task: RoundTask,
    built: TrainingArtifact,
    *,
    names: list[str] | None = None,
    public_x: FloatArray | None = None,
) -> StackPlan:
    ids = device_ids(names or [f"device {number}" for number in range(private.devices)])
    return plan_batches(private, ids, round_task, manifest=built.manifest, public_x=public_x)


def reference(
    built: TrainingArtifact, steps: StackPlan, start: Parameters, device: int = 0, *, term: Term | None = None
) -> tuple[Doubles, float]:
    """The same steps in float64: the loss differentiated by hand, the optimizer by its published rule.

    term: what is added to the gradient of a parameter, of its name and weights.
    """
    parameters = {name: array.astype(np.float64) for name, array in start.items()}
    slots: dict[str, dict[str, npt.NDArray[np.float64]]] = {}
    batch = StepArrays.empty(built.manifest)
    steps.start(batch)
    losses = []
    for step in range(int(steps.steps_of[device])):
        steps.fill(step, batch)
        loss, gradients = loss_and_gradients(parameters, batch, device)
        losses.append(loss)
        for name, gradient in gradients.items():
            optimizer, rate = built.manifest.optimizer, float(batch.lr[device])
            added = 0.0 if term is None else term(name, parameters[name])
            decoupled = rate * added if optimizer is Optimizer.ADAMW else 0.0
            gradient = gradient if optimizer is Optimizer.ADAMW else gradient + added
            update(optimizer, parameters, name, gradient, slots, rate, step + 1)
            parameters[name] = parameters[name] - decoupled
    return parameters, float(np.mean(losses))


def loss_and_gradients(parameters: Doubles, batch: StepArrays, device: int) -> tuple[float, Doubles]:
    x = batch.x[device].astype(np.float64)
    before = x @ parameters["hidden.weight"].T + parameters["hidden.bias"]
    hidden = np.maximum(before, 0)
    logits = hidden @ parameters["output.weight"].T + parameters["output.bias"]
    rows = np.arange(len(x))
    hard = batch.hard_weight[device].astype(np.float64)
    probabilities = softmax(logits)
    loss = -(hard * np.log(probabilities[rows, batch.labels[device]])).sum()
    one_hot = np.eye(CLASSES)[batch.labels[device]]
    gradient = hard[:, None] * (probabilities - one_hot)
    if batch.soft_weight is not None and batch.temperature is not None:
        temperature = float(batch.temperature[0])
        soft = batch.soft_weight[device].astype(np.float64)
        softened = softmax(logits / temperature)
        target, divergence = soft_target(batch, device, softened)
        loss += (soft * temperature**2 * divergence).sum()
        gradient += soft[:, None] * temperature * (softened - target)
    back = (gradient @ parameters["output.weight"]) * (before > 0)
    return float(loss), {
        "hidden.weight": back.T @ x,
        "hidden.bias": back.sum(0),
        "output.weight": gradient.T @ hidden,
        "output.bias": gradient.sum(0),
    }


def soft_target(
    batch: StepArrays, device: int, softened: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The divergence of each row, and the target that its gradient pulls to."""
    if batch.soft_labels is not None:
        target = batch.soft_labels[device].astype(np.float64)
        return target, (target * np.log(target / softened)).sum(1)
    assert batch.soft_indices is not None
    assert batch.soft_probabilities is not None
    named = batch.soft_probabilities[device].astype(np.float64)
    own = np.take_along_axis(softened, batch.soft_indices[device], axis=1)
    rest, own_rest = 1 - named.sum(1, keepdims=True), 1 - own.sum(1, keepdims=True)
    target = softened * rest / own_rest
    np.put_along_axis(target, batch.soft_indices[device], named, axis=1)
    return target, (named * np.log(named / own)).sum(1) + (rest * np.log(rest / own_rest))[:, 0]


def update(
    optimizer: Optimizer,
    parameters: Doubles,
    name: str,
    gradient: npt.NDArray[np.float64],
    slots: dict[str, Doubles],
    rate: float,
    step: int,
) -> None:
    own = slots.setdefault(name, {})
    if optimizer is Optimizer.SGD:
        parameters[name] = parameters[name] - rate * gradient
    elif optimizer is Optimizer.MOMENTUM:
        own["m"] = 0.9 * own.get("m", np.zeros_like(gradient)) + gradient
        parameters[name] = parameters[name] - rate * own["m"]
    else:
        own["m"] = 0.9 * own.get("m", np.zeros_like(gradient)) + 0.1 * gradient
        own["v"] = 0.999 * own.get("v", np.zeros_like(gradient)) + 0.001 * gradient**2
        m, v = own["m"] / (1 - 0.9**step), own["v"] / (1 - 0.999**step)
        parameters[name] = parameters[name] * (1 - 0.01 * rate) - rate * m / (np.sqrt(v) + 1e-8)


def assert_close(got: Parameters, wanted: Doubles, *, device: int = 0, atol: float = 2e-6) -> None:
    for name, array in wanted.items():
        np.testing.assert_allclose(got[name][device], array, atol=atol, rtol=1e-5, err_msg=name)


@pytest.mark.parametrize("optimizer", list(Optimizer))
def test_plain_training_is_the_optimizers_published_rule(optimizer: Optimizer) -> None:
    built = artifact(soft_labels="none", step_rows=4, optimizer=optimizer)
    training = plan(epochs=4, batch_size=4, learning_rate=0.05, optimizer=optimizer)
    steps = steps_for(stack_of(10), task(training), built)

    trained, loss = Personalizer(built).train(student(), steps)

    wanted, wanted_loss = reference(built, steps, student())
    assert steps.steps == 12  # an even number, and below an odd one: both sets of arrays get to be the last
    assert_close(trained, wanted)
    assert loss[0] == pytest.approx(wanted_loss, rel=1e-5)


@pytest.mark.parametrize("optimizer", list(Optimizer))
def test_a_term_is_added_to_every_gradient(optimizer: Optimizer) -> None:
    built = artifact(stack_size=2, optimizer=optimizer)
    private, start, anchor = stack_of(9, 5), student(), student(seed=1)
    constant = {name: np.stack([array, 2 * array]) for name, array in student(seed=2).items()}
    rounds = task(plan(epochs=3, optimizer=optimizer, learning_rate=0.05))
    steps = steps_for(private, rounds, built)
    term = GradientTerm(anchor=anchor, proximal=0.5, constant=constant)

    trained, _ = Personalizer(built).train(start, steps, change=term)

    for device in range(2):
        wanted, _ = reference(
            built,
            steps,
            start,
            device,
            term=lambda name, weights, device=device: 0.5 * (weights - anchor[name]) + constant[name][device],
        )
        assert_close(trained, wanted, device=device, atol=5e-6)


def test_an_odd_number_of_steps_ends_in_the_other_set() -> None:
    built = artifact(soft_labels="none", step_rows=4)
    steps = steps_for(stack_of(10), task(plan(batch_size=4)), built)

    trained, _ = Personalizer(built).train(student(), steps)

    assert steps.steps == 3
    assert_close(trained, reference(built, steps, student())[0])


@pytest.mark.parametrize("optimizer", list(Optimizer))
def test_distilling_class_means(optimizer: Optimizer) -> None:
    built = artifact(step_rows=4, optimizer=optimizer)
    targets = ClassSoftLabels(np.array([0, 2]), DenseSoftLabels(soft_rows(2)))
    training = plan(epochs=3, batch_size=4, learning_rate=0.05, optimizer=optimizer, soft_weight=0.6)
    steps = steps_for(stack_of(11), task(training, soft_targets=targets), built)

    trained, loss = Personalizer(built).train(student(), steps)

    wanted, wanted_loss = reference(built, steps, student())
    assert_close(trained, wanted)
    assert loss[0] == pytest.approx(wanted_loss, rel=1e-5)


def test_distilling_public_examples() -> None:
    built = artifact(step_rows=8)
    targets = PublicSoftLabels(np.array([6, 0, 3, 1, 8]), DenseSoftLabels(soft_rows(5)))
    training = plan(epochs=3, batch_size=4, soft_weight=0.4, temperature=3.0)
    public_x, _ = examples(9, seed=5)
    steps = steps_for(stack_of(7), task(training, soft_targets=targets), built, public_x=public_x)

    trained, loss = Personalizer(built).train(student(), steps)

    wanted, wanted_loss = reference(built, steps, student())
    assert_close(trained, wanted)
    assert loss[0] == pytest.approx(wanted_loss, rel=1e-5)


def test_distilling_top_k_soft_labels() -> None:
    built = artifact(step_rows=4, soft_labels="top-k", k=2)
    labels = TopKSoftLabels(
        np.array([[0, 1], [0, 2], [1, 2]]), soft_rows(3)[:, :2] * np.float32(0.8), CLASSES
    )
    training = plan(epochs=3, batch_size=4, soft_weight=0.5)
    round_task = task(training, soft_targets=ClassSoftLabels(np.arange(3), labels))
    steps = steps_for(stack_of(8), round_task, built)

    trained, loss = Personalizer(built).train(student(), steps)

    wanted, wanted_loss = reference(built, steps, student())
    assert_close(trained, wanted)
    assert loss[0] == pytest.approx(wanted_loss, rel=1e-5)


@pytest.mark.parametrize("optimizer", list(Optimizer))
def test_a_device_learns_bit_for_bit_the_same_alone_and_in_a_stack(optimizer: Optimizer) -> None:
    sizes, names = (5, 23, 0, 9, 40), ["a", "b", "c", "d", "e"]
    private, public_x = stack_of(*sizes), examples(9, seed=5)[0]
    targets = PublicSoftLabels(np.arange(9), DenseSoftLabels(soft_rows(9)))
    round_task = task(plan(epochs=3, optimizer=optimizer, soft_weight=0.5), soft_targets=targets)
    stacked = artifact(stack_size=5, optimizer=optimizer)
    steps = steps_for(private, round_task, stacked, names=names, public_x=public_x)
    together, losses = Personalizer(stacked).train(student(), steps)

    for device, size in enumerate(sizes):
        own = PrivateStack.of_one(private.x[device, :size], private.labels[device, :size])
        one = artifact(optimizer=optimizer)
        steps = steps_for(own, round_task, one, names=[names[device]], public_x=public_x)
        alone, loss = Personalizer(one).train(student(), steps)
        for name, array in alone.items():
            np.testing.assert_array_equal(together[name][device], array[0], err_msg=f"{names[device]} {name}")
        assert losses[device] == loss[0]


def test_devices_start_from_their_own_students() -> None:
    built = artifact(stack_size=2, soft_labels="none", step_rows=4)
    private = stack_of(6, 6)
    students = [student(1), student(2)]
    stacked = {name: np.stack([one[name] for one in students]) for name in students[0]}
    steps = steps_for(private, task(plan(epochs=2)), built)

    trained, _ = Personalizer(built).train(stacked, steps)

    for device in range(2):
        assert_close(trained, reference(built, steps, students[device], device)[0], device=device)


def test_a_round_leaves_nothing_behind_for_the_next() -> None:
    built = artifact(optimizer=Optimizer.MOMENTUM)
    personalizer = Personalizer(built)
    public_x = examples(9, seed=5)[0]
    targets = PublicSoftLabels(np.arange(9), DenseSoftLabels(soft_rows(9)))
    mixed = task(plan(epochs=2, optimizer=Optimizer.MOMENTUM, soft_weight=0.9), soft_targets=targets)
    plain = steps_for(stack_of(7), task(plan(epochs=3, optimizer=Optimizer.MOMENTUM)), built)
    first, _ = personalizer.train(student(), plain)

    personalizer.train(student(5), steps_for(stack_of(40, seed=3), mixed, built, public_x=public_x))
    again, _ = personalizer.train(student(), plain)

    for name, array in first.items():
        np.testing.assert_array_equal(again[name], array)


def test_no_steps_leave_the_student_as_it_was() -> None:
    built = artifact()

    trained, loss = Personalizer(built).train(student(), steps_for(stack_of(3), task(plan(epochs=0)), built))

    for name, array in student().items():
        np.testing.assert_array_equal(trained[name][0], array)
    assert loss.tolist() == [0.0]


def test_training_teaches() -> None:
    x, y = examples(60)
    built = artifact(soft_labels="none", step_rows=8, optimizer=Optimizer.ADAMW)
    training = plan(epochs=30, batch_size=8, learning_rate=0.01, optimizer=Optimizer.ADAMW)
    steps = steps_for(PrivateStack.of_one(x, y), task(training), built)

    trained, _ = Personalizer(built).train(student(), steps)

    fresh_x, fresh_y = examples(200, seed=77)
    answers = mlp_logits({name: array[0] for name, array in trained.items()}, fresh_x).argmax(axis=1)
    assert (answers == fresh_y).mean() > 0.85


def test_borrowed_parameters_belong_to_the_personalizer_and_copies_do_not() -> None:
    built = artifact()
    personalizer = Personalizer(built)
    steps = steps_for(stack_of(4), task(), built)
    copied, _ = personalizer.train(student(1), steps)
    kept = {name: array.copy() for name, array in copied.items()}

    borrowed, _ = personalizer.train(student(2), steps, copy=False)
    before = borrowed["output.bias"].copy()
    personalizer.train(student(3), steps)

    np.testing.assert_array_equal(copied["output.bias"], kept["output.bias"])
    assert not np.array_equal(borrowed["output.bias"], before)


@pytest.mark.parametrize("optimizer", list(Optimizer))
@pytest.mark.parametrize("stopped_after", [0, 1, 4, 7])
def test_training_goes_on_in_another_personalizer_as_if_it_had_not_stopped(
    optimizer: Optimizer, stopped_after: int
) -> None:
    built = artifact(stack_size=2, optimizer=optimizer)
    targets = PublicSoftLabels(np.arange(9), DenseSoftLabels(soft_rows(9)))
    training = plan(epochs=2, batch_size=3, optimizer=optimizer, soft_weight=0.5)
    round_task = task(training, soft_targets=targets)
    steps = steps_for(stack_of(10, 5), round_task, built, public_x=examples(9, seed=5)[0])
    whole, loss = Personalizer(built).train(student(), steps)

    first = Personalizer(built)
    first.begin(PersonalizerState.start(student()))
    total = first.take(steps, 0, stopped_after)
    second = Personalizer(built)
    second.begin(first.state())
    total += second.take(steps, stopped_after, steps.steps)

    assert steps.steps == 8
    assert second.state().step == 8
    for name, array in whole.items():
        np.testing.assert_array_equal(second.state().parameters[name], array, err_msg=name)
    # Two sums of float64 in another order: the students are equal to the last bit, their mean loss almost.
    np.testing.assert_allclose(total / steps.steps_of, loss, rtol=1e-6)


def test_a_state_is_its_own() -> None:
    built = artifact(optimizer=Optimizer.MOMENTUM)
    personalizer = Personalizer(built)
    steps = steps_for(stack_of(9), task(plan(batch_size=3, optimizer=Optimizer.MOMENTUM)), built)
    personalizer.begin(PersonalizerState.start(student()))
    personalizer.take(steps, 0, 1)
    state = personalizer.state()
    kept = state.slots["output.bias.momentum"].copy()

    personalizer.take(steps, 1, 3)

    assert state.step == 1
    assert np.abs(kept).max() > 0
    np.testing.assert_array_equal(state.slots["output.bias.momentum"], kept)


def test_a_state_of_another_optimizer_is_refused() -> None:
    built = artifact(optimizer=Optimizer.ADAMW)
    stacked = {name: array[None] for name, array in student().items()}

    with pytest.raises(StudentMismatch, match=r"needs .*first_moment"):
        Personalizer(built).begin(PersonalizerState(stacked, {}, 3))
    with pytest.raises(StudentMismatch, match="give 0 or more"):
        PersonalizerState(stacked, {}, -1)


def test_a_graph_that_is_not_its_manifests_is_refused() -> None:
    built = artifact()
    other = replace(built, manifest=replace(built.manifest, step_rows=9))

    with pytest.raises(GraphError, match="the graph's 'x' is tensor"):
        Personalizer(other)


def test_bytes_that_are_no_graph_are_refused() -> None:
    with pytest.raises(GraphError, match="does not open the graph"):
        Personalizer(replace(artifact(), training_graph=b"not a graph"))


@dataclass(frozen=True)
class _WrongStudent:
    parameters: Parameters
    message: str


@pytest.mark.parametrize(
    "wrong",
    [
        _WrongStudent(
            {n: a for n, a in student().items() if n != "output.bias"}, "'output.bias' has shape none"
        ),
        _WrongStudent(
            student() | {"output.bias": np.zeros(4, np.float32)}, r"has shape \(4,\).*needs \(3,\)"
        ),
        _WrongStudent(student() | {"extra": np.zeros(1, np.float32)}, "parameters extra are unknown"),
    ],
)
def test_a_student_of_another_family_is_refused(wrong: _WrongStudent) -> None:
    with pytest.raises(StudentMismatch, match=wrong.message):
        check_student(wrong.parameters, artifact().manifest, stacked=False)

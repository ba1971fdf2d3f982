"""Teacher and students on the server: they learn, the same way each time, and leave torch as it was."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from fedstill_proto.errors import FedstillError
from fedstill_server.config.fleet import TeacherConfig
from fedstill_server.data.examples import Examples
from fedstill_server.families import FAMILIES as REGISTRY
from fedstill_server.losses import cross_entropy, soft_label_loss
from fedstill_server.methods import build_method
from fedstill_server.rounds.preparation import PreparationCache, prepare
from fedstill_server.state import FleetState, digest_of
from fedstill_server.tasks import training_of
from fedstill_server.teachers.registry import TEACHERS
from fedstill_server.training.fitting import FitPlan, fit, logit_gradient
from fedstill_server.training.networks import (
    accuracy_of,
    logits_of,
    one_deterministic_thread,
    parameters_of,
    soft_labels_of,
)

from tests.server.scripted_fleet import fleet_config, public_examples

LEARNING = TeacherConfig(
    hidden=(8,),
    epochs=40,
    student_epochs=40,
    round_epochs=20,
    batch_size=6,
    learning_rate=0.03,
    student_learning_rate=0.03,
)
FAMILIES = ("mlp-small", "cnn")


def prepared(public: Examples | None = None, **changes: Any) -> FleetState:
    config = fleet_config(teacher=LEARNING, **{"families": FAMILIES, **changes})
    public = public or public_examples()
    return prepare(config, public, build_method(config, public))


def test_teacher_and_students_learn_the_public_set() -> None:
    config, public = fleet_config(teacher=LEARNING), public_examples()
    state = prepared()
    assert public.y is not None
    assert accuracy_of(training_of(config).teacher(state.teacher), public.x, public.y) == 1
    teacher = soft_labels_of(training_of(config).teacher(state.teacher), public.x, temperature=2)
    for family in FAMILIES:
        student = training_of(config).student(family, state.students[family])
        np.testing.assert_allclose(soft_labels_of(student, public.x, temperature=2), teacher, atol=0.2)
        assert accuracy_of(student, public.x, public.y) == 1


def test_preparing_twice_is_the_same_bit_for_bit() -> None:
    assert digest_of(prepared().flat()) == digest_of(prepared().flat())
    assert digest_of(prepared(seed=6).flat()) != digest_of(prepared().flat())


def test_a_process_prepares_once_what_differs_in_its_method_alone() -> None:
    public, remembered = public_examples(), PreparationCache(kept=2)

    def state(**changes: Any) -> FleetState:
        config = fleet_config(**{"teacher": LEARNING, "families": ("mlp-small",), **changes})
        return remembered.prepare(config, public, build_method(config, public))

    first, other = state(method="public-logits"), state(method="fedavg", rounds=9)

    assert other.teacher is first.teacher
    assert digest_of(other.flat()) == digest_of(prepared(families=("mlp-small",), method="fedavg").flat())
    for changes in ({"seed": 6}, {"families": ("cnn",)}, {"teacher": TeacherConfig(hidden=(8,), epochs=1)}):
        assert digest_of(state(**changes).flat()) != digest_of(first.flat())
    assert state(method="public-logits").teacher is not first.teacher  # two others have come since


def test_the_global_random_state_neither_matters_nor_moves() -> None:
    torch.manual_seed(1)
    first = digest_of(prepared(families=("cnn",)).flat())
    drawn = torch.rand(1)
    torch.manual_seed(1)
    assert torch.rand(1) == drawn
    assert digest_of(prepared(families=("cnn",)).flat()) == first


@pytest.mark.parametrize("changes", [{"start": "random"}, {"use_public_labels": False}])
def test_students_may_start_untaught(changes: dict[str, Any]) -> None:
    state = prepared(families=("mlp-small",), **changes)
    fresh = parameters_of(training_of(fleet_config()).student("mlp-small"))
    assert digest_of(dict(state.students["mlp-small"])) == digest_of(fresh)


def test_without_labels_the_teacher_stays_as_it_starts() -> None:
    config = fleet_config(teacher=LEARNING)
    unlabelled = Examples(public_examples().x)
    training = training_of(config)
    assert digest_of(training.taught_teacher(unlabelled)) == digest_of(parameters_of(training.teacher()))


def test_a_student_learns_soft_labels_it_is_given() -> None:
    config, x = fleet_config(teacher=LEARNING), public_examples().x
    target = np.tile(np.array([0.2, 0.5, 0.3], np.float32), (len(x), 1))
    student = parameters_of(training_of(config).student("mlp-small"))
    for number in (1, 2, 3):
        student = training_of(config).student_learns(
            "mlp-small", student, Examples(x), target, round_number=number
        )
    learned = soft_labels_of(training_of(config).student("mlp-small", student), x, temperature=2)
    np.testing.assert_allclose(learned, target, atol=0.03)


def test_soft_labels_are_taken_in_eval_mode_without_gradients() -> None:
    network = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(2, 2))
    network.train()
    x = np.ones((5, 2), np.float32)
    first = logits_of(network, x)
    np.testing.assert_array_equal(first, logits_of(network, x))
    assert network.training
    assert all(parameter.grad is None for parameter in network.parameters())


def test_labels_and_soft_labels_may_be_mixed() -> None:
    x, y = np.ones((4, 2), np.float32), np.zeros(4, np.int64)
    soft = np.tile(np.array([0, 1], np.float32), (4, 1))
    plan = FitPlan(epochs=300, batch_size=4, learning_rate=0.05, weight_decay=0, hard_weight=0.25)
    network = fit(torch.nn.Linear(2, 2), x, soft, plan=plan, seed=0, labels=y)
    # 1/4 of class 0 from the labels, 3/4 of class 1 from the soft labels.
    np.testing.assert_allclose(soft_labels_of(network, x, temperature=1)[0], [0.25, 0.75], atol=0.01)


def test_a_smoothed_label_by_hand() -> None:
    plan = FitPlan(epochs=1, batch_size=1, learning_rate=1, weight_decay=0, label_smoothing=0.2)

    slope = logit_gradient(torch.zeros(1, 2), None, torch.tensor([0]), plan=plan)

    torch.testing.assert_close(slope, torch.tensor([[0.5 - 0.9, 0.5 - 0.1]]))


def test_of_what_is_left_out_nothing_is_learned() -> None:
    plan = FitPlan(epochs=3, batch_size=4, learning_rate=0.1, weight_decay=0, input_dropout=1.0)
    network = torch.nn.Linear(2, 2)
    weights, bias = network.weight.detach().clone(), network.bias.detach().clone()

    fit(network, np.ones((4, 2), np.float32), None, plan=plan, seed=0, labels=np.zeros(4, np.int64))

    torch.testing.assert_close(network.weight, weights)
    assert (network.bias != bias).all()


@pytest.mark.parametrize("hard_weight", [0.0, 0.25, 1.0])
def test_the_closed_form_is_the_gradient_of_the_losses(hard_weight: float) -> None:
    plan = FitPlan(
        epochs=1, batch_size=6, learning_rate=1, weight_decay=0, temperature=3, hard_weight=hard_weight
    )
    random = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 4, generator=random, dtype=torch.float64, requires_grad=True)
    soft = torch.softmax(torch.randn(6, 4, generator=random, dtype=torch.float64), -1)
    labels = torch.tensor([0, 3, 2, 1, 1, 0])

    loss = hard_weight * cross_entropy(logits, labels)
    loss = loss + (1 - hard_weight) * soft_label_loss(logits, soft, temperature=3)
    loss.backward()  # type: ignore[no-untyped-call]

    torch.testing.assert_close(logit_gradient(logits.detach(), soft, labels, plan=plan), logits.grad)
    if hard_weight == 0:
        torch.testing.assert_close(logit_gradient(logits.detach(), soft, None, plan=plan), logits.grad)
    if hard_weight == 1:
        torch.testing.assert_close(logit_gradient(logits.detach(), None, labels, plan=plan), logits.grad)


def test_a_fit_takes_the_steps_of_torchs_adamw() -> None:
    config, public = fleet_config(), public_examples()
    assert public.y is not None
    plan = FitPlan(epochs=25, batch_size=len(public.x), learning_rate=0.01, weight_decay=0.1)
    fitted = fit(training_of(config).student("mlp-small"), public.x, None, plan=plan, seed=0, labels=public.y)
    plain = training_of(config).student("mlp-small")
    optimizer = torch.optim.AdamW(plain.parameters(), lr=0.01, weight_decay=0.1)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=25)
    for _ in range(25):  # of all rows: their order does not matter
        optimizer.zero_grad()
        cross_entropy(plain(torch.from_numpy(public.x)), torch.from_numpy(public.y)).backward()
        optimizer.step()
        falling.step()

    for name, value in parameters_of(plain).items():
        np.testing.assert_allclose(parameters_of(fitted)[name], value, atol=2e-4, rtol=0)


def test_torch_is_left_as_it_was() -> None:
    threads = torch.get_num_threads()

    def fails() -> None:
        with one_deterministic_thread():
            assert torch.get_num_threads() == 1
            assert torch.are_deterministic_algorithms_enabled()
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()


# A network of one's own as the teacher


class WideTeacher(torch.nn.Module):
    def __init__(self, input_shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Flatten(),
            torch.nn.Linear(input_shape[0], 9),
            torch.nn.Dropout(0.1),
            torch.nn.Tanh(),
            torch.nn.Linear(9, classes),
        )
        self.register_buffer("scale", torch.tensor(0.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x * self.scale)  # type: ignore[no-any-return]


@pytest.mark.parametrize("network", [f"{__name__}:WideTeacher", "mlp-9", "wide"])
def test_a_configuration_names_the_teachers_network(network: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TEACHERS, "_registered", {"wide": WideTeacher})
    config = fleet_config(teacher=replace(LEARNING, network=network))
    public = public_examples()

    first, again = (prepare(config, public, build_method(config, public)) for _ in range(2))

    assert public.y is not None
    assert accuracy_of(training_of(config).teacher(first.teacher), public.x, public.y) == 1
    assert digest_of(first.flat()) == digest_of(again.flat())
    weights = [name for name in first.teacher if name.endswith("weight")]
    assert first.teacher[weights[0]].shape == (9, public.x.shape[1])
    method = build_method(config, public)
    soft = soft_labels_of(training_of(config).teacher(first.teacher), public.x, temperature=1.0)
    learned = training_of(config).teacher_learns(first.teacher, public, soft, round_number=1)
    assert sorted(learned) == sorted(first.teacher)
    assert method.config.teacher.network == network


@pytest.mark.parametrize(
    ("network", "problem"),
    [
        ("mlp-samll", "network: 'mlp-samll' is unknown; did you mean mlp-small"),
        ("nowhere_at_all:Net", "network: nowhere_at_all:Net: there is no module 'nowhere_at_all'"),
    ],
)
def test_a_teacher_that_is_not_there_is_refused_by_name(network: str, problem: str) -> None:
    with pytest.raises(FedstillError) as refused:
        TeacherConfig(network=network)

    assert problem in str(refused.value)


def test_a_family_that_is_defined_anew_is_prepared_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(REGISTRY, "_registered", {})
    public, remembered = public_examples(), PreparationCache(kept=2)

    def state(width: int) -> FleetState:
        def Net(input_shape: tuple[int, ...], classes: int) -> torch.nn.Module:
            return torch.nn.Sequential(
                torch.nn.Linear(input_shape[0], width), torch.nn.ReLU(), torch.nn.Linear(width, classes)
            )

        REGISTRY.register("Net", Net)
        config = fleet_config(teacher=LEARNING, families=("Net",))
        return remembered.prepare(config, public, build_method(config, public))

    first, second = state(3), state(5)

    assert first.students["Net"]["0.weight"].shape[0] == 3
    assert second.students["Net"]["0.weight"].shape[0] == 5

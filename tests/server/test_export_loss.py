"""The closed forms of the loss and its gradient, against numbers by hand and automatic differentiation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from fedstill_server.export.loss import StepTargets, loss_and_logit_gradient
from fedstill_server.export.text_loss import text_loss_and_logit_gradient
from torch import Tensor
from torch.nn import functional

Loss = Callable[..., tuple[Tensor, Tensor]]


@pytest.fixture(params=[loss_and_logit_gradient, text_loss_and_logit_gradient])
def loss_of(request: pytest.FixtureRequest) -> Loss:
    loss: Loss = request.param
    return loss


def _random_targets(rows: int, classes: int, k: int) -> StepTargets:
    generator = torch.Generator().manual_seed(0)
    soft = torch.softmax(torch.randn(rows, classes, generator=generator, dtype=torch.float64), -1)
    named, indices = soft.topk(k)
    return StepTargets(
        labels=torch.randint(0, classes, (rows,), generator=generator),
        hard_weight=torch.rand(rows, generator=generator, dtype=torch.float64),
        soft_weight=torch.rand(rows, generator=generator, dtype=torch.float64),
        soft_labels=soft,
        soft_indices=indices,
        soft_probabilities=named,
        temperature=torch.tensor(2.5, dtype=torch.float64),
    )


def _dense(targets: StepTargets) -> StepTargets:
    return replace(targets, soft_indices=None, soft_probabilities=None)


def _top_k(targets: StepTargets) -> StepTargets:
    return replace(targets, soft_labels=None)


def test_equal_logits_of_two_classes(loss_of: Loss) -> None:
    targets = StepTargets(labels=torch.tensor([0]), hard_weight=torch.tensor([1.0]))

    loss, gradient = loss_of(torch.zeros(1, 2), targets, step_scale=None)

    assert float(loss) == pytest.approx(math.log(2))
    assert gradient.tolist() == [[-0.5, 0.5]]


def test_soft_term_by_hand(loss_of: Loss) -> None:
    """softmax([ln 9, 0] / 2) = [0.75, 0.25]; T^2 KL against [0.5, 0.5], gradient T (p - q)."""
    targets = StepTargets(
        labels=torch.tensor([0]),
        hard_weight=torch.tensor([0.0]),
        soft_weight=torch.tensor([1.0]),
        soft_labels=torch.tensor([[0.5, 0.5]]),
        temperature=torch.tensor(2.0),
    )

    loss, gradient = loss_of(torch.tensor([[math.log(9), 0.0]]), targets, step_scale=None)

    divergence = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    assert float(loss) == pytest.approx(4 * divergence, rel=1e-6)
    assert gradient[0].tolist() == pytest.approx([2 * (0.75 - 0.5), 2 * (0.25 - 0.5)], rel=1e-6)


def test_top_k_by_hand(loss_of: Loss) -> None:
    """Student [1/2, 1/4, 1/4]; class 0 named with 0.2: the rest, 0.8, is spread as the student spreads it."""
    targets = StepTargets(
        labels=torch.tensor([0]),
        hard_weight=torch.tensor([0.0]),
        soft_weight=torch.tensor([1.0]),
        soft_indices=torch.tensor([[0]]),
        soft_probabilities=torch.tensor([[0.2]]),
        temperature=torch.tensor(1.0),
    )

    loss, gradient = loss_of(torch.tensor([[math.log(2), 0.0, 0.0]]), targets, step_scale=None)

    assert float(loss) == pytest.approx(0.2 * math.log(0.2 / 0.5) + 0.8 * math.log(0.8 / 0.5), rel=1e-6)
    assert gradient[0].tolist() == pytest.approx([0.5 - 0.2, 0.25 - 0.4, 0.25 - 0.4], rel=1e-6)


@pytest.mark.parametrize("form", ["none", "dense", "top-k"])
def test_gradient_agrees_with_automatic_differentiation(loss_of: Loss, form: str) -> None:
    targets = _random_targets(rows=6, classes=5, k=2)
    logits = torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 3
    targets = {
        "none": replace(_dense(targets), soft_labels=None, soft_weight=None, temperature=None),
        "dense": _dense(targets),
        "top-k": _top_k(targets),
    }[form]

    loss, gradient = loss_of(logits, targets, step_scale=torch.tensor(0.5))

    leaf = logits.clone().requires_grad_()
    expected = _plain_loss(leaf, targets)
    (expected_gradient,) = torch.autograd.grad(expected, leaf)
    torch.testing.assert_close(loss, expected.detach())
    torch.testing.assert_close(gradient, 0.5 * expected_gradient)


@pytest.mark.parametrize("form", [_dense, _top_k])
def test_rows_of_a_gradient_sum_to_zero(loss_of: Loss, form: type) -> None:
    targets = form(_random_targets(rows=6, classes=5, k=2))

    _, gradient = loss_of(torch.randn(6, 5).double(), targets, step_scale=None)

    assert gradient.sum(-1).abs().max() < 1e-12


def test_agreement_exerts_no_pull(loss_of: Loss) -> None:
    logits = torch.randn(4, 5, generator=torch.Generator().manual_seed(2)).double()
    own = torch.softmax(logits / 2.5, -1)
    targets = replace(_dense(_random_targets(4, 5, 2)), soft_labels=own, hard_weight=torch.zeros(4).double())

    loss, gradient = loss_of(logits, targets, step_scale=None)

    assert abs(float(loss)) < 1e-12
    assert gradient.abs().max() < 1e-12


@pytest.mark.parametrize("scale", [1e4, -1e4])
def test_extreme_logits_and_certain_labels_stay_finite(loss_of: Loss, scale: float) -> None:
    targets = StepTargets(
        labels=torch.tensor([0]),
        hard_weight=torch.tensor([1.0]),
        soft_weight=torch.tensor([1.0]),
        soft_indices=torch.tensor([[1, 2]]),
        soft_probabilities=torch.tensor([[1.0, 0.0]]),
        temperature=torch.tensor(1.0),
    )

    loss, gradient = loss_of(torch.tensor([[scale, 0.0, 0.0, 1.0]]), targets, step_scale=None)

    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()


def _plain_loss(logits: Tensor, targets: StepTargets) -> Tensor:
    hard = functional.cross_entropy(logits, targets.labels, reduction="none")
    loss = (targets.hard_weight * hard).sum()
    if targets.soft_weight is None or targets.temperature is None:
        return loss
    student = functional.log_softmax(logits / targets.temperature, -1)
    teacher = targets.soft_labels
    if teacher is None:
        assert targets.soft_indices is not None
        assert targets.soft_probabilities is not None
        named = student.gather(1, targets.soft_indices)
        rest = 1 - named.exp().sum(-1, keepdim=True)
        student = torch.cat([named, rest.log()], -1)
        teacher = torch.cat(
            [targets.soft_probabilities, 1 - targets.soft_probabilities.sum(-1, keepdim=True)], -1
        )
    divergence = (teacher * (teacher.log() - student)).sum(-1)
    return loss + (targets.soft_weight * targets.temperature**2 * divergence).sum()

"""Drawn tails: on average the loss and gradient of whole soft labels, and the same in the device's graph."""

from __future__ import annotations

import torch
from fedstill_proto.soft_labels.drawn.tails import with_drawn_tails
from fedstill_server.export.loss import _top_k_target
from fedstill_server.losses import drawn_tail_loss, drawn_tails, soft_label_loss, top_k_bucket_loss
from fedstill_server.losses.top_k import top_k_renormalized_loss
from torch import Tensor

RANDOM = torch.Generator().manual_seed(3)
TEACHER = torch.softmax(torch.randn(1, 30, generator=RANDOM, dtype=torch.float64) * 2, dim=-1)
STUDENT = torch.randn(1, 30, generator=RANDOM, dtype=torch.float64)
DRAWS = 4000


def gradient(loss: Tensor, student: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(loss, student)
    return found


def test_loss_and_gradient_are_the_whole_soft_labels_on_average() -> None:
    student = STUDENT.clone().requires_grad_()
    entropy = -(TEACHER * TEACHER.log()).sum()
    whole = soft_label_loss(student, TEACHER, temperature=2.0) + 4 * entropy
    exact = gradient(whole, student)

    many = student.expand(DRAWS, -1)
    indices, weights = drawn_tails(TEACHER.expand(DRAWS, -1), k=4, drawn=3, random=RANDOM)
    torch.testing.assert_close(weights.sum(-1), torch.ones(DRAWS, dtype=torch.float64))
    drawn = drawn_tail_loss(many, indices, weights, temperature=2.0)

    torch.testing.assert_close(drawn, whole, rtol=0.01, atol=0)
    found = gradient(drawn, student)
    torch.testing.assert_close(found, exact, rtol=0, atol=4e-3)
    # Plain top-k renormalized pulls elsewhere, however often it is repeated.
    kept, likeliest = TEACHER.topk(7)
    biased = gradient(top_k_renormalized_loss(student, likeliest, kept, temperature=2.0), student)
    assert (biased - exact).norm() > 5 * (found - exact).norm()


def test_all_classes_kept_is_the_whole_soft_label() -> None:
    indices, weights = drawn_tails(TEACHER, k=40, drawn=5)
    loss = drawn_tail_loss(STUDENT, indices, weights, temperature=1.0)
    torch.testing.assert_close(loss, -(TEACHER * torch.log_softmax(STUDENT, -1)).sum())


def test_the_devices_graph_has_the_same_gradient() -> None:
    """Its top-k form, where the named classes add up to 1 and the bucket of the rest is empty."""
    tails = with_drawn_tails(TEACHER.float().numpy(), k=4, drawn=8, seed=1)
    named = tails.named()
    indices, weights = torch.from_numpy(named.indices), torch.from_numpy(named.probabilities)
    student = STUDENT.float().requires_grad_()
    own = gradient(drawn_tail_loss(student, indices, weights, temperature=1.0), student)
    bucket = gradient(top_k_bucket_loss(student, indices, weights, temperature=1.0), student)
    torch.testing.assert_close(bucket, own, rtol=0, atol=2e-6)

    class Targets:
        soft_indices, soft_probabilities = indices, weights

    exponential = (student - student.max()).exp().detach()
    log_total = exponential.sum(-1, keepdim=True).log()
    scaled = (student - student.max()).detach()
    target, _ = _top_k_target(scaled, exponential, log_total, Targets())  # type: ignore[arg-type]
    torch.testing.assert_close(exponential / exponential.sum() - target, own, rtol=0, atol=2e-6)


def test_draws_are_those_of_their_seed() -> None:
    one, same = (
        drawn_tails(TEACHER.expand(9, -1), k=2, drawn=4, random=torch.Generator().manual_seed(seed))[0]
        for seed in (5, 5)
    )
    assert torch.equal(one, same)

"""The losses of generation: reverse, skewed and generalized divergences, and the gradient of whole rows."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from fedstill_server.losses import (
    jensen_shannon_loss,
    kd_loss,
    policy_gradient_loss,
    reverse_kl_loss,
    rewards_behind,
    skewed_kl_loss,
    skewed_reverse_kl_loss,
)
from torch import Tensor

TEACHER = torch.tensor([[0.75, 0.25]], dtype=torch.float64).log()
STUDENT = torch.tensor([[0.5, 0.5]], dtype=torch.float64).log()


def logits(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_by_hand() -> None:
    # KL(q || p) = 1/2 ln(1/2 : 3/4) + 1/2 ln(1/2 : 1/4) = 1/2 ln(4/3).
    assert reverse_kl_loss(STUDENT, TEACHER).item() == pytest.approx(0.5 * math.log(4 / 3))
    # Half of each is (5/8, 3/8): 3/4 ln(6/5) + 1/4 ln(2/3), and 1/2 ln(4/5) + 1/2 ln(4/3).
    forward = skewed_kl_loss(STUDENT, TEACHER, skew=0.5).item()
    reverse = skewed_reverse_kl_loss(STUDENT, TEACHER, skew=0.5).item()
    assert forward == pytest.approx(0.75 * math.log(6 / 5) + 0.25 * math.log(2 / 3))
    assert reverse == pytest.approx(0.5 * math.log(4 / 5) + 0.5 * math.log(4 / 3))
    # The divergence of Jensen and Shannon is the mean of both.
    shannon = jensen_shannon_loss(STUDENT, TEACHER, beta=0.5).item()
    assert shannon == pytest.approx((forward + reverse) / 2)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_without_skew_they_are_the_divergence_and_its_reverse(temperature: float) -> None:
    q, p = logits(5, 7, seed=1), logits(5, 7, seed=2)
    at = {"temperature": temperature}
    assert skewed_kl_loss(q, p, skew=0, **at).item() == pytest.approx(kd_loss(q, p, **at).item())
    reverse = reverse_kl_loss(q, p, **at).item()
    assert skewed_reverse_kl_loss(q, p, skew=0, **at).item() == pytest.approx(reverse)
    assert reverse == pytest.approx(kd_loss(p, q, **at).item())
    assert reverse == pytest.approx(jensen_shannon_loss(q, p, beta=1, **at).item())


def test_skew_bounds_what_opposites_lose() -> None:
    """Sure of different words, plain divergences are as large as the logits: 200; skewed ones -ln(skew)."""
    q, p = torch.tensor([[200.0, 0.0]]), torch.tensor([[0.0, 200.0]])
    assert reverse_kl_loss(q, p).item() == pytest.approx(200)
    assert skewed_kl_loss(q, p, skew=0.1).item() == pytest.approx(math.log(10))
    assert skewed_reverse_kl_loss(q, p, skew=0.1).item() == pytest.approx(math.log(10))


@pytest.mark.parametrize("skew", [0.1, 0.9])
def test_gradients_are_those_of_differences(skew: float) -> None:
    q, p = logits(3, 4, seed=3).requires_grad_(), logits(3, 4, seed=4)
    mask = torch.tensor([True, False, True])
    assert torch.autograd.gradcheck(lambda z: skewed_kl_loss(z, p, skew=skew, mask=mask), q)
    assert torch.autograd.gradcheck(lambda z: skewed_reverse_kl_loss(z, p, skew=skew, mask=mask), q)


def test_rewards_of_words_behind() -> None:
    rewards = torch.tensor([[9.0, 1.0, 2.0, 4.0]])
    written = torch.tensor([[False, True, True, True]])  # the first was given
    sums = rewards_behind(rewards, written=written, normalized=False)
    means = rewards_behind(rewards, written=written)
    assert sums.tolist() == [[7, 6, 4, 0]]
    torch.testing.assert_close(means, torch.tensor([[7 / 3, 3.0, 4.0, 0.0]]))


def test_on_the_mean_it_is_the_gradient_of_the_divergence_of_rows() -> None:
    """Two places of three words, whose second place depends on the first word: 9 rows, all of them asked."""
    first, second = logits(3, seed=5).requires_grad_(), logits(3, 3, seed=6).requires_grad_()
    taught_first, taught_second = logits(3, seed=7), logits(3, 3, seed=8)
    rows = torch.tensor(list(itertools.product(range(3), repeat=2)))

    def of_rows(start: Tensor, after: Tensor) -> Tensor:
        """[9, 2, 3]: the logits at both places of each row."""
        return torch.stack([start.expand(9, 3), after[rows[:, 0]]], dim=1)

    def chances(answers: Tensor) -> Tensor:
        said = torch.log_softmax(answers, -1).gather(-1, rows.unsqueeze(-1)).squeeze(-1)
        return said.sum(-1)

    mine, theirs = of_rows(first, second), of_rows(taught_first, taught_second)
    log_q, log_p = chances(mine), chances(theirs)
    exact = torch.autograd.grad((log_q.exp() * (log_q - log_p)).sum(), (first, second), retain_graph=True)

    everywhere = torch.ones(1, 2, dtype=torch.bool)
    weighted = [
        # The loss is a mean over two places; the divergence of rows is a sum.
        2
        * log_q[row].exp().detach()
        * policy_gradient_loss(
            mine[row : row + 1],
            theirs[row : row + 1],
            rows[row : row + 1],
            written=everywhere,
            normalized=False,
        )
        for row in range(9)
    ]
    drawn = torch.autograd.grad(torch.stack(weighted).sum(), (first, second))

    torch.testing.assert_close(drawn, exact)


def test_rows_of_which_the_teacher_drew_half_are_weighed() -> None:
    """One place; the student says the word with 1/2, the teacher with 3/4: drawn with 5/8, weighed 4/5."""
    q, p = STUDENT.clone().unsqueeze(0).requires_grad_(), TEACHER.unsqueeze(0)
    one = {"written": torch.ones(1, 1, dtype=torch.bool), "words": torch.tensor([[0]])}
    plain = policy_gradient_loss(q, p, **one)
    mixed = policy_gradient_loss(q, p, **one, mix=0.5)
    assert plain.item() == pytest.approx(reverse_kl_loss(STUDENT, TEACHER).item())
    assert mixed.item() == pytest.approx(0.8 * plain.item())

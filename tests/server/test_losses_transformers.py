"""Losses of transformers and of sentence embeddings, by numbers that a person can check."""

from __future__ import annotations

import math

import pytest
import torch
from fedstill_server.losses import hidden_state_loss, pairwise_cosine_loss, self_attention_relation_loss

DRAW = torch.Generator().manual_seed(6)
VECTORS = torch.randn(2, 5, 8, generator=DRAW, dtype=torch.float64)
OTHERS = torch.randn(2, 5, 12, generator=DRAW, dtype=torch.float64)


def test_a_relation_is_the_divergence_of_two_softmaxes() -> None:
    """Two places of width 1. The student's are 0: it relates them alike, 1/2 and 1/2. The teacher's are 0 and
    sqrt(log 3): place 1 relates to itself by log 3, so 1/4 and 3/4; place 0 relates to both by 0."""
    student, teacher = torch.zeros(1, 2, 1), torch.tensor([[[0.0], [math.log(3) ** 0.5]]])
    of_place_1 = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)
    loss = self_attention_relation_loss((student, student), (teacher, teacher), heads=1)
    assert loss.item() == pytest.approx(of_place_1 / 2)
    mask = torch.tensor([[True, False]])  # place 1 is padding: neither asks nor answers
    assert self_attention_relation_loss((student,) * 2, (teacher,) * 2, heads=1, mask=mask).item() == 0


def test_what_is_padding_changes_nothing() -> None:
    pair = (VECTORS, VECTORS), (OTHERS, OTHERS)
    short = self_attention_relation_loss(
        (VECTORS[:, :3], VECTORS[:, :3]), (OTHERS[:, :3], OTHERS[:, :3]), heads=4
    )
    mask = torch.tensor([[True] * 3 + [False] * 2] * 2)
    assert self_attention_relation_loss(*pair, heads=4, mask=mask).item() == pytest.approx(short.item())
    assert self_attention_relation_loss(*pair, heads=4).item() != pytest.approx(short.item())


def test_queries_with_keys_are_attention() -> None:
    """Of equal queries, keys that are turned alike relate alike; another order of keys does not."""
    queries, keys = VECTORS, VECTORS.flip(-1)
    attention = torch.softmax(queries @ keys.transpose(1, 2) / 8**0.5, -1)
    uniform = torch.full_like(attention, 0.2)
    expected = (attention * (attention / uniform).log()).sum(-1).mean()
    nothing = torch.zeros_like(queries)
    loss = self_attention_relation_loss((nothing, nothing), (queries, keys), heads=1)
    assert loss.item() == pytest.approx(expected.item())


def test_like_the_teacher_loses_nothing() -> None:
    same = self_attention_relation_loss((VECTORS, VECTORS), (VECTORS, VECTORS), heads=2)
    turned = torch.linalg.qr(torch.randn(8, 8, generator=DRAW, dtype=torch.float64)).Q
    assert same.item() == pytest.approx(0, abs=1e-12)
    # One head sees inner products alone, which a turn does not change.
    one = self_attention_relation_loss((VECTORS @ turned,) * 2, (VECTORS, VECTORS), heads=1)
    assert one.item() == pytest.approx(0, abs=1e-12)
    rows = VECTORS[0]
    assert pairwise_cosine_loss(3 * rows @ turned, rows).item() == pytest.approx(0, abs=1e-12)


def test_gradients_are_right() -> None:
    mask = torch.tensor([[True] * 5, [True] * 2 + [False] * 3])
    start = VECTORS.clone().requires_grad_()

    def relation(s: torch.Tensor) -> torch.Tensor:
        return self_attention_relation_loss((s, s), (OTHERS, OTHERS), heads=2, mask=mask)

    assert torch.autograd.gradcheck(relation, start)
    assert torch.autograd.gradcheck(lambda s: pairwise_cosine_loss(s[0], OTHERS[0]), start)


def test_cosines_of_pairs() -> None:
    """Student: two at a right angle, cosine 0; teacher: at 60 degrees, cosine 1/2. Both pairs miss by 1/2."""
    student = torch.tensor([[1.0, 0], [0, 2]])
    teacher = torch.tensor([[1.0, 0, 0], [0.5, math.sqrt(0.75), 0]])
    assert pairwise_cosine_loss(student, teacher).item() == pytest.approx(0.25)
    assert pairwise_cosine_loss(student[:1], teacher[:1]).item() == 0


def test_hidden_states_where_something_stands() -> None:
    """Place 0 is off by 1 and 3 (mean square 5), place 1 by nothing, place 2 is padding."""
    teacher = torch.zeros(1, 3, 2)
    student = torch.tensor([[[1.0, 3], [0, 0], [9, 9]]])
    mask = torch.tensor([[True, True, False]])
    assert hidden_state_loss(student, teacher, mask=mask).item() == pytest.approx(2.5)
    assert hidden_state_loss(student, teacher).item() == pytest.approx((5 + 0 + 81) / 3)

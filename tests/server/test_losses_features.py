"""Losses of features, relations and agreement: by hand, and what must not change them."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from fedstill_server.losses import (
    agreement_weights,
    angle_loss,
    attention_map_loss,
    attention_matrix_loss,
    contrastive_loss,
    correlation_loss,
    cosine_loss,
    cross_entropy,
    decoupled_kd_loss,
    distance_loss,
    hint_loss,
    jensen_shannon_loss,
    kd_loss,
    probabilistic_transfer_loss,
    similarity_loss,
    standardized,
    standardized_kd_loss,
    triple_loss,
)
from torch import Tensor

from tests.server.test_losses import ZS, ZT, Y, inputs

DRAW = torch.Generator().manual_seed(5)
ROTATION = torch.linalg.qr(torch.randn(10, 10, generator=DRAW, dtype=torch.float64)).Q
MAPS_S = torch.randn(3, 2, 4, 4, generator=DRAW, dtype=torch.float64)
MAPS_T = torch.randn(3, 5, 4, 4, generator=DRAW, dtype=torch.float64)

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "hint": hint_loss,
    "distance": distance_loss,
    "angle": angle_loss,
    "similarity": similarity_loss,
    "probabilistic": probabilistic_transfer_loss,
    "cosine": cosine_loss,
    "correlation": lambda s, t: correlation_loss(s, t, temperature=4, between_weight=2, within_weight=1),
    "standardized": lambda s, t: standardized_kd_loss(s, t, temperature=2),
}


@pytest.mark.parametrize("name", LOSSES)
def test_like_the_teacher_loses_nothing_and_unlike_it_something(name: str) -> None:
    assert LOSSES[name](ZT, ZT).item() == pytest.approx(0, abs=1e-12)
    assert LOSSES[name](ZS, ZT).item() > 1e-3


@pytest.mark.parametrize("name", [*LOSSES, "contrastive"])
def test_gradients_are_right(name: str) -> None:
    loss = LOSSES.get(name, lambda s, t: contrastive_loss(s, t, tau=0.5))
    assert torch.autograd.gradcheck(lambda s: loss(s, ZT), ZS.clone().requires_grad_())


@pytest.mark.parametrize("name", ["distance", "angle"])
def test_moving_turning_and_scaling_all_examples_changes_no_geometry(name: str) -> None:
    plain = LOSSES[name](ZS, ZT).item()
    assert LOSSES[name](3 * ZS @ ROTATION + 5, ZT).item() == pytest.approx(plain, abs=1e-9)
    assert LOSSES[name](ZS, 0.1 * ZT @ ROTATION - 2).item() == pytest.approx(plain, abs=1e-9)


@pytest.mark.parametrize("name", ["similarity", "probabilistic"])
def test_turning_and_scaling_all_examples_changes_no_similarity(name: str) -> None:
    plain = LOSSES[name](ZS, ZT).item()
    assert LOSSES[name](3 * ZS @ ROTATION, ZT).item() == pytest.approx(plain, abs=1e-9)


@pytest.mark.parametrize("name", ["distance", "angle", "similarity", "probabilistic"])
def test_the_order_of_a_batch_and_the_width_of_features_do_not_matter(name: str) -> None:
    order = torch.randperm(len(ZS), generator=DRAW)
    wider = torch.cat([ZT, torch.zeros(len(ZT), 3, dtype=torch.float64)], dim=1)
    plain = LOSSES[name](ZS, ZT).item()
    assert LOSSES[name](ZS[order], ZT[order]).item() == pytest.approx(plain)
    assert LOSSES[name](ZS, wider).item() == pytest.approx(plain)


def test_distances_by_hand() -> None:
    # Points 0, 1, 3 have distances 1, 2, 3 of mean 2; points 0, 1, 2 have 1, 1, 2 of mean 4/3.
    student, teacher = (torch.tensor([[0.0], [1], [x]], dtype=torch.float64) for x in (3, 2))
    apart = [0.5 - 0.75, 1 - 0.75, 1.5 - 1.5]
    # Six of nine pairs are of different points.
    assert distance_loss(student, teacher).item() == pytest.approx(2 * sum(a * a / 2 for a in apart) / 9)


def test_angles_by_hand() -> None:
    # A right angle and two of 45 degrees against three of 60.
    right = torch.tensor([[0.0, 0], [1, 0], [0, 1]], dtype=torch.float64)
    even = torch.tensor([[0.0, 0], [1, 0], [0.5, math.sqrt(3) / 2]], dtype=torch.float64)
    half = math.sqrt(0.5)
    # Each angle is twice among 27 triples.
    expected = 2 * ((0 - 0.5) ** 2 / 2 + 2 * (half - 0.5) ** 2 / 2) / 27
    assert angle_loss(right, even).item() == pytest.approx(expected)


def test_similarity_by_hand() -> None:
    # Student: two equal examples, G = [[1, 1], [1, 1]] / sqrt 2; teacher: two at right angles, G = identity.
    student = torch.ones(2, 1, dtype=torch.float64)
    expected = (2 * (math.sqrt(0.5) - 1) ** 2 + 2 * 0.5) / 4
    assert similarity_loss(student, torch.eye(2, dtype=torch.float64)).item() == pytest.approx(expected)


def test_probabilistic_transfer_by_hand() -> None:
    # Kernels of an example with itself and the other: 1 and 1 (teacher), 1 and 1/2 (student).
    teacher = torch.ones(2, 1, dtype=torch.float64)
    student = torch.eye(2, dtype=torch.float64)
    one = 1 / 2 * math.log(1 / 2 / (2 / 3)) + 1 / 2 * math.log(1 / 2 / (1 / 3))
    assert probabilistic_transfer_loss(student, teacher).item() == pytest.approx(2 * one / 4, abs=1e-6)


def test_contrast_by_hand_and_at_its_ends() -> None:
    same = torch.eye(4, dtype=torch.float64)
    assert contrastive_loss(same, same, tau=1).item() == pytest.approx(math.log(math.e + 3) - 1)
    assert contrastive_loss(same, same, tau=0.01).item() == pytest.approx(0, abs=1e-12)
    blind = torch.ones(4, 4, dtype=torch.float64)
    assert contrastive_loss(blind, same, tau=0.1).item() == pytest.approx(math.log(4))


def test_correlations_do_not_see_scale() -> None:
    # Probabilities (.5, .3, .2) and (.4, .32, .28) rise together: 1 - 1.
    steep = torch.tensor([[0.5, 0.3, 0.2], [0.2, 0.5, 0.3]], dtype=torch.float64)
    flat = 0.4 * steep + 0.2
    options = {"temperature": 1, "between_weight": 1.0, "within_weight": 0.0}
    assert correlation_loss(flat.log(), steep.log(), **options).item() == pytest.approx(0, abs=1e-12)
    # Turned around, r of the first row is -1 and of the second -1.
    assert correlation_loss((0.6 - steep).log(), steep.log(), **options).item() == pytest.approx(2, abs=1e-9)


def test_standardized_logits_forget_shift_and_scale() -> None:
    plain = standardized_kd_loss(ZS, ZT, temperature=2).item()
    assert standardized_kd_loss(3 * ZS + 7, 0.2 * ZT - 1, temperature=2).item() == pytest.approx(
        plain, abs=1e-6
    )
    assert standardized(torch.tensor([[1.0, 3]])).tolist() == [
        pytest.approx([-math.sqrt(0.5), math.sqrt(0.5)])
    ]
    assert standardized(torch.zeros(1, 3)).tolist() == [[0, 0, 0]]


def test_decoupled_parts_add_up_to_the_whole() -> None:
    """KL = TCKD + (1 - p_t(label)) NCKD, equation 6 of the paper; so for one example with its own weight."""
    for row in range(len(Y)):
        one = slice(row, row + 1)
        rest = 1 - torch.softmax(ZT[one] / 4, dim=-1)[0, Y[row]].item()
        parts = decoupled_kd_loss(ZS[one], ZT[one], Y[one], temperature=4, target_weight=1, other_weight=rest)
        assert parts.item() == pytest.approx(kd_loss(ZS[one], ZT[one], temperature=4).item(), abs=1e-9)


def test_unlabelled_rows_are_left_out_of_the_decoupled_loss() -> None:
    labelled = torch.arange(len(Y)) < 3
    unknown = torch.where(labelled, Y, torch.full_like(Y, -1))
    weights = {"temperature": 4, "target_weight": 1, "other_weight": 8}
    masked = decoupled_kd_loss(ZS, ZT, unknown, mask=labelled, **weights)
    assert masked.item() == pytest.approx(decoupled_kd_loss(ZS[:3], ZT[:3], Y[:3], **weights).item())


def test_attention_maps() -> None:
    assert attention_map_loss(MAPS_S, -2 * MAPS_S).item() == pytest.approx(0, abs=1e-12)  # energy, not sign
    # One lit place each, at different places: unit vectors at right angles.
    left, right = torch.zeros(2, 1, 1, 1, 2, dtype=torch.float64)
    left[..., 0], right[..., 1] = 3, 1
    assert attention_map_loss(left, right).item() == pytest.approx(2 / 2)  # over two places
    pooled = torch.nn.functional.adaptive_avg_pool2d(MAPS_T, 2)
    assert attention_map_loss(pooled, MAPS_T).item() == pytest.approx(0, abs=1e-12)


def test_attention_matrices() -> None:
    student, teacher = torch.full((1, 1, 2, 2), 0.5), torch.eye(2).reshape(1, 1, 2, 2)
    assert attention_matrix_loss(student, teacher).item() == pytest.approx(0.25)
    heads = torch.stack([teacher[0, 0], torch.full((2, 2), 0.5)]).unsqueeze(0)  # mean: 3/4, 1/4
    assert attention_matrix_loss(student, heads).item() == pytest.approx(0.0625)
    padded = torch.tensor([[True, False]])
    assert attention_matrix_loss(student, teacher, mask=padded).item() == pytest.approx(0.25)


def test_three_losses_by_their_weights() -> None:
    hidden = inputs("zs", "zt2")
    soft, hard, cosine = kd_loss(ZS, ZT, temperature=2), cross_entropy(ZS, Y), cosine_loss(*hidden)
    assert triple_loss(ZS, ZT, Y, hidden).item() == pytest.approx((5 * soft + 2 * hard + cosine).item())
    assert cosine_loss(ZS, -2 * ZS).item() == pytest.approx(2)


def test_agreement_leaves_out_who_contradicts_all_others() -> None:
    sure, other = torch.tensor([[50.0, 0, 0]]), torch.tensor([[0.0, 0, 50]])
    weights = agreement_weights(torch.stack([sure, sure, sure, other]))
    # Each of the three agrees with two of three others, the fourth with none.
    assert weights[:, 0].tolist() == pytest.approx([1 / 3] * 3 + [0], abs=1e-5)


def test_agreement_is_plain_where_all_agree_and_follows_the_order() -> None:
    teachers = torch.stack(inputs("zt", "zt2", "zt3"))
    weights = agreement_weights(teachers, temperature=4)
    torch.testing.assert_close(weights.sum(0), torch.ones(8, dtype=torch.float64))
    torch.testing.assert_close(agreement_weights(teachers.flip(0), temperature=4), weights.flip(0))
    assert agreement_weights(torch.stack([ZT, ZT]))[:, 0].tolist() == pytest.approx([0.5, 0.5])
    assert agreement_weights(teachers, sharpness=0)[:, 0].tolist() == pytest.approx([1 / 3] * 3)
    assert agreement_weights(teachers[:1]).unique().tolist() == [1]
    # Of two, each agrees with the other alike; the agreement is 1 - JSD / log 2.
    two = agreement_weights(teachers[:2])
    assert two[0].tolist() == pytest.approx(two[1].tolist())
    assert 0 < jensen_shannon_loss(teachers[0], teachers[1], beta=0.5).item() < math.log(2)

"""The losses, against values that several published libraries agree on, and against what must always hold."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fedstill_server.distill.fixed import FixedTarget, FixedTargets
from fedstill_server.losses import (
    class_means,
    cross_entropy,
    decoupled_kd_loss,
    distillation_loss,
    jensen_shannon_loss,
    kd_loss,
    masked_mean,
    soft_label_loss,
    top_k_bucket_loss,
    top_k_renormalized_loss,
)
from torch import Tensor

FOLDER = Path(__file__).parent / "reference"
REFERENCE: dict[str, dict[str, Any]] = {
    entry["name"]: entry for entry in json.loads((FOLDER / "kd_losses.json").read_text())["losses"]
}


def inputs(*names: str) -> list[Tensor]:
    with np.load(FOLDER / "kd_inputs.npz") as file:
        return [torch.from_numpy(file[name]) for name in names]


ZS, ZT, Y = inputs("zs", "zt", "y")
TOKENS_S, TOKENS_T, TOKENS_Y = inputs("zsq", "ztq", "yq")
MASK = TOKENS_Y != -100


def top_k(logits: Tensor, k: int, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
    values, indices = torch.softmax(logits / temperature, dim=-1).topk(k, dim=-1)
    return indices, values


def mean_of_teachers() -> Tensor:
    return torch.stack([torch.softmax(z / 4, dim=-1) for z in inputs("zt", "zt2", "zt3")]).mean(dim=0)


CASES = {
    **{f"kd_T{t}": lambda zs, t=t: kd_loss(zs, ZT, temperature=t) for t in (1, 2, 4, 8)},
    **{
        f"kd_mix_a0.7_T{t}": lambda zs, t=t: distillation_loss(zs, ZT, Y, temperature=t, soft_weight=0.7)
        for t in (2, 4)
    },
    "ce": lambda zs: cross_entropy(zs, Y),
    "dkd_a1_b8_T4": lambda zs: decoupled_kd_loss(zs, ZT, Y, temperature=4, target_weight=1, other_weight=8),
    "multi_teacher_mean_probs_T4": lambda zs: soft_label_loss(zs, mean_of_teachers(), temperature=4),
}
TOKEN_CASES = {
    **{
        f"jsd_b{beta:g}": lambda zs, beta=beta: jensen_shannon_loss(zs, TOKENS_T, beta=beta, mask=MASK)
        for beta in (0, 0.1, 0.5, 0.9, 1)
    },
    "kd_tokens_T2_masked": lambda zs: kd_loss(zs, TOKENS_T, temperature=2, mask=MASK),
    "topk3_renorm": lambda zs: top_k_renormalized_loss(zs, *top_k(TOKENS_T, 3), temperature=1),
    "topk3_bucket": lambda zs: top_k_bucket_loss(zs, *top_k(TOKENS_T, 3), temperature=1),
    "topk11_equals_dense": lambda zs: top_k_bucket_loss(zs, *top_k(TOKENS_T, 11), temperature=1),
}


@pytest.mark.parametrize("name", [*CASES, *TOKEN_CASES])
def test_value_and_gradient_are_the_reference(name: str) -> None:
    case, logits = (CASES[name], ZS) if name in CASES else (TOKEN_CASES[name], TOKENS_S)
    student = logits.clone().requires_grad_()
    loss = case(student)
    loss.backward()
    expected = REFERENCE[name]
    assert loss.item() == pytest.approx(expected["value"], abs=1e-6)
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()
    if "grad_l2" in expected:
        assert student.grad.norm().item() == pytest.approx(expected["grad_l2"], abs=1e-6)
        assert student.grad.flatten()[:10].tolist() == pytest.approx(expected["grad_first_row"], abs=1e-6)
    assert torch.autograd.gradcheck(case, logits.clone().requires_grad_())


def test_fixed_targets_are_the_same_losses_with_the_same_gradient() -> None:
    """Labels of the rows that have any, and a teacher's soft labels at two temperatures, in batches of 3."""
    count, classes = ZS.shape
    known = torch.arange(count) % 3 > 0
    rows = torch.randperm(count, generator=torch.Generator().manual_seed(1))
    table = torch.nn.functional.one_hot(Y, classes).double() * known.unsqueeze(-1)
    fixed = FixedTargets(
        [
            FixedTarget("labels", table, 1.0, 0.3),
            *(FixedTarget(f"kd{t}", torch.softmax(ZT / t, dim=-1), float(t), 0.7) for t in (2, 4)),
        ]
    )
    batches = list(fixed.batches(rows, 3))

    assert len(batches) == -(-count // 3)
    for number, batch in enumerate(batches):
        own = rows[3 * number : 3 * number + 3]
        logits = ZS[own].clone().requires_grad_()
        parts = {"labels": 0.3 * cross_entropy(logits, Y[own], mask=known[own])}
        parts |= {f"kd{t}": 0.7 * kd_loss(logits, ZT[own], temperature=t) for t in (2, 4)}
        sum(parts.values()).backward()  # type: ignore[union-attr]
        values, gradient = fixed.slopes(logits, batch)
        assert logits.grad is not None
        torch.testing.assert_close(gradient, logits.grad, atol=1e-7, rtol=1e-6)
        assert fixed.losses([values], [batch]) == {
            name: pytest.approx(part.item(), abs=1e-6) for name, part in parts.items()
        }


def test_by_hand() -> None:
    # Student 1/2, 1/2 against teacher 3/4, 1/4: 3/4 ln 3/2 + 1/4 ln 1/2 = ln(3^0.75 / 2).
    teacher = torch.tensor([[0.75, 0.25]], dtype=torch.float64).log()
    student = torch.zeros(1, 2, dtype=torch.float64)
    assert kd_loss(student, teacher, temperature=1).item() == pytest.approx(0.75 * math.log(3) - math.log(2))
    assert cross_entropy(student, torch.tensor([1])).item() == pytest.approx(math.log(2))


@pytest.mark.parametrize("temperature", [0.5, 1, 4, 50])
def test_equal_logits_lose_nothing(temperature: float) -> None:
    assert kd_loss(ZS, ZS, temperature=temperature).item() == pytest.approx(0, abs=1e-12)


def test_adding_a_constant_to_a_row_changes_nothing() -> None:
    shift = torch.arange(8, dtype=torch.float64).unsqueeze(-1) * 10
    plain = kd_loss(ZS, ZT, temperature=4).item()
    assert kd_loss(ZS + shift, ZT, temperature=4).item() == pytest.approx(plain, abs=1e-9)
    assert kd_loss(ZS, ZT - shift, temperature=4).item() == pytest.approx(plain, abs=1e-9)


@pytest.mark.parametrize("temperature", [1, 4])
def test_gradient_in_closed_form(temperature: float) -> None:
    student = ZS.clone().requires_grad_()
    kd_loss(student, ZT, temperature=temperature).backward()
    soft = torch.softmax(ZS / temperature, dim=-1) - torch.softmax(ZT / temperature, dim=-1)
    torch.testing.assert_close(student.grad, temperature * soft / len(ZS), atol=1e-12, rtol=0)


def test_at_high_temperature_it_matches_centred_logits() -> None:
    difference = ZT - ZS
    limit = (difference - difference.mean(dim=-1, keepdim=True)).square().sum(dim=-1).mean() / (2 * 10)
    assert kd_loss(ZS, ZT, temperature=1e4).item() == pytest.approx(limit.item(), rel=1e-3)
    assert limit.item() == pytest.approx(5.113085779744836)


def test_soft_labels_are_the_teachers_logits() -> None:
    soft = torch.softmax(ZT / 4, dim=-1)
    assert soft_label_loss(ZS, soft, temperature=4).item() == pytest.approx(REFERENCE["kd_T4"]["value"])


def test_a_probability_of_zero_is_no_trouble() -> None:
    student = ZS.clone().requires_grad_()
    loss = soft_label_loss(student, torch.nn.functional.one_hot(Y, 10).double(), temperature=1)
    loss.backward()
    assert loss.item() == pytest.approx(REFERENCE["ce"]["value"])
    assert torch.isfinite(student.grad).all()  # type: ignore[arg-type]


def test_keeping_all_classes_is_dense() -> None:
    indices, values = top_k(ZT, 10, 4)
    dense = kd_loss(ZS, ZT, temperature=4).item()
    assert top_k_bucket_loss(ZS, indices, values, temperature=4).item() == pytest.approx(dense)
    assert top_k_renormalized_loss(ZS, indices, values, temperature=4).item() == pytest.approx(dense)


def test_divergence_of_jensen_and_shannon_is_symmetric() -> None:
    def jsd(a: Tensor, b: Tensor, beta: float) -> float:
        return jensen_shannon_loss(a, b, beta=beta).item()

    assert jsd(ZS, ZT, 0.5) == pytest.approx(jsd(ZT, ZS, 0.5))
    assert jsd(ZS, ZT, 0.2) == pytest.approx(jsd(ZT, ZS, 0.8))


def test_where_nothing_is_left_by_the_mask_the_mean_is_zero() -> None:
    assert masked_mean(torch.ones(3), torch.zeros(3, dtype=torch.bool)).item() == 0


def test_class_means_merge_by_their_counts() -> None:
    def sums(rows: slice) -> tuple[Tensor, Tensor]:
        means, examples = class_means(ZT[rows], Y[rows])
        return means * examples.unsqueeze(-1), examples

    whole, count = class_means(ZT, Y)
    first, second = sums(slice(0, 3)), sums(slice(3, 8))
    merged = (first[0] + second[0]) / (first[1] + second[1]).clamp(min=1).unsqueeze(-1)
    torch.testing.assert_close(merged, whole)
    assert torch.equal(first[1] + second[1], count)
    present = whole[count > 0]
    reference = REFERENCE["summary_class_mean_row_y0"]["value"]
    assert present.max(dim=-1).values.sum().item() == pytest.approx(reference, abs=1e-6)

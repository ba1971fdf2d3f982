"""The losses of features, relations, data-free generators and calibration, against values that published
libraries agree on (those of logits are in test_losses.py).
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fedstill_server.calibration import calibration, reliability
from fedstill_server.distill.synthetic.inversion import statistics_distance
from fedstill_server.distill.teachers.ensemble import EnsembleTeacher
from fedstill_server.losses import (
    activation_loss,
    angle_loss,
    attention_map_loss,
    contrastive_loss,
    correlation_loss,
    cosine_loss,
    distance_loss,
    hint_loss,
    information_entropy_loss,
    kd_loss,
    one_hot_loss,
    probabilistic_transfer_loss,
    similarity_loss,
    standardized_kd_loss,
)
from torch import Tensor
from torch.nn.functional import conv2d

from tests.server.test_losses import CASES, MASK, REFERENCE, TOKEN_CASES, ZS, ZT, inputs

FS, FT, MS, MT, MS14, ES, ET = inputs("fs", "ft", "ms", "mt", "ms14", "es", "et")
HS, HT, W1, B1 = inputs("hs", "ht", "W1", "b1")
PROBABILITIES, LABELS = (array.numpy() for array in inputs("probs", "plab"))
CALIBRATION = calibration(np.log(PROBABILITIES), LABELS)


def ece(bins: int) -> float:
    """The mean over examples of how far the accuracy of their bin is from its confidence."""
    each = reliability(PROBABILITIES, LABELS, bins=bins)
    return sum(one.examples * abs(one.accuracy - one.confidence) for one in each) / len(LABELS)


def entropy(logits: Tensor) -> Tensor:
    """The mean over rows."""
    log_p = logits.log_softmax(dim=-1)
    return -(log_p.exp() * log_p).sum(dim=-1).mean()


def mean_of_logits() -> Tensor:
    ensemble = EnsembleTeacher([_Silent()], combination="logits")
    return ensemble.combined(torch.stack(inputs("zt", "zt2", "zt3")))


class _Silent:
    """A teacher that is not asked: the ensemble is given the logits."""

    digest = ""
    layers: tuple[str, ...] = ()

    def answer(self, x: object, *, layers: object = ()) -> object:
        raise AssertionError


OF = {
    "dist_T4": (lambda s: correlation_loss(s, ZT, temperature=4, between_weight=1, within_weight=1), ZS),
    # The cross-entropy of soft labels is their divergence, without T^2, and the entropy of the teacher.
    "kd_ce_T4": (lambda s: kd_loss(s, ZT, temperature=4) / 16 + entropy(ZT / 4), ZS),
    "kd_mse": (lambda s: hint_loss(s, ZT), ZS),
    # The library leaves out T^2.
    "kd_logitstd_T2": (lambda s: standardized_kd_loss(s, ZT, temperature=2) / 4, ZS),
    "fitnet_1x1": (lambda s: hint_loss(conv2d(s, W1[:, :, None, None], B1), MT), MS),
    "at_code": (lambda s: attention_map_loss(s, MT), MS),
    "at_code_pool": (lambda s: attention_map_loss(s, MT), MS14),
    "rkd_distance": (lambda s: distance_loss(s, FT), FS),
    "rkd_angle": (lambda s: angle_loss(s, FT), FS),
    "rkd_25_50": (lambda s: 25 * distance_loss(s, FT) + 50 * angle_loss(s, FT), FS),
    "sp": (lambda s: similarity_loss(s, MT), MS),
    "pkt": (lambda s: probabilistic_transfer_loss(s, FT), FS),
    "crd_infonce_t0.1": (lambda s: contrastive_loss(s, ET, tau=0.1), ES),
    "hidden_mse_masked": (lambda s: hint_loss(s[MASK], HT[MASK]), HS),
    "hidden_cos_masked": (lambda s: cosine_loss(s, HT, mask=MASK), HS),
    # ||u - v||^2 = 2 (1 - cos) of unit vectors.
    "pkd": (lambda s: 2 * cosine_loss(s[:, 0], HT[:, 0]), HS),
    "multi_teacher_mean_logits_T4": (lambda s: kd_loss(s, mean_of_logits(), temperature=4), ZS),
    "bn_stats": (lambda s: statistics_distance(s, torch.zeros(6), torch.ones(6)), MS),
    "dafl_onehot": (one_hot_loss, ZT),
    "dafl_activation": (activation_loss, FT),
    "dafl_info_entropy": (information_entropy_loss, ZT),
}
WITHOUT_GRADIENT = {"crd_infonce_t0.1"}
"""The reference's rows have unit length already, and its gradient does not go through making them so."""
MEASURES = {
    "ece_10": ece(10),
    "ece_15": CALIBRATION.ece,
    "brier": CALIBRATION.brier,
    "nll": CALIBRATION.negative_log_likelihood,
}


@pytest.mark.parametrize("name", OF)
def test_value_and_gradient_are_the_reference(name: str) -> None:
    loss, features = OF[name]
    student, expected = features.clone().requires_grad_(), REFERENCE[name]

    value = loss(student)
    value.backward()

    assert value.item() == pytest.approx(expected["value"], abs=1e-6)
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()
    if "grad_l2" in expected and name not in WITHOUT_GRADIENT:
        assert student.grad.norm().item() == pytest.approx(expected["grad_l2"], abs=1e-6)
        assert student.grad.flatten()[:10].tolist() == pytest.approx(expected["grad_first_row"], abs=1e-6)


@pytest.mark.parametrize("name", MEASURES)
def test_measures_of_calibration_are_the_reference(name: str) -> None:
    assert MEASURES[name] == pytest.approx(REFERENCE[name]["value"], abs=1e-6)


def test_the_order_of_examples_does_not_matter_to_calibration() -> None:
    order = np.random.default_rng(1).permutation(len(LABELS))
    again = calibration(np.log(PROBABILITIES[order]), LABELS[order])
    assert again.ece == pytest.approx(CALIBRATION.ece, abs=1e-12)


def test_attention_is_the_same_for_any_order_of_channels_and_any_scale_of_an_example() -> None:
    plain = attention_map_loss(MS, MT).item()
    scales = torch.arange(1, len(MS) + 1, dtype=torch.float64).reshape(-1, 1, 1, 1)
    assert attention_map_loss(MS.flip(1), MT.flip(1)).item() == pytest.approx(plain)
    assert attention_map_loss(scales * MS, MT / scales).item() == pytest.approx(plain)


def test_every_reference_entry_is_tested() -> None:
    assert set(REFERENCE) == {*CASES, *TOKEN_CASES, *OF, *MEASURES, "summary_class_mean_row_y0"}

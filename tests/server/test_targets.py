"""Several labels and numbers on the server: losses, graphs, the consensus, and who refuses them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from fedstill_proto.messages import Optimizer
from fedstill_proto.package.target import SINGLE_LABEL, Target, TargetKind
from fedstill_proto.soft_labels.codec import Encoding
from fedstill_proto.soft_labels.codec_spec import format_codec
from fedstill_server.config.codec import ConfigError
from fedstill_server.config.fleet import FleetConfig, TeacherConfig
from fedstill_server.config.run_options import RunOptions
from fedstill_server.consensus.coordinates import Coordinates
from fedstill_server.export.build import ArtifactOptions, build_artifact
from fedstill_server.export.gaussian_loss import gaussian_loss_and_gradient
from fedstill_server.export.loss import StepTargets
from fedstill_server.families import build_student
from fedstill_server.methods import METHODS
from fedstill_server.resolve import FleetFacts, resolve
from fedstill_server.tasks import TASKS
from fedstill_server.training.fitting import FitPlan, gaussian_gradient, logit_gradient

LABELS = Target(kind=TargetKind.MULTI_LABEL, size=3)
NUMBERS = Target(kind=TargetKind.REGRESSION, size=2, offset=(0.0, 0.0), scale=(1.0, 1.0))
PLAN = FitPlan(epochs=1, batch_size=1, learning_rate=0.1, weight_decay=0.0)


def tensor(*values: object) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)


class TestGaussianLoss:
    """Mean 1 and variance 4, of a number that is 3: off by one standard deviation."""

    answers = tensor([1.0, math.log(4)])

    def test_a_label_s_loss_is_its_negative_log_likelihood(self) -> None:
        targets = StepTargets(labels=tensor(3.0), hard_weight=tensor(1.0))
        loss, gradient = gaussian_loss_and_gradient(self.answers, targets, step_scale=None)
        assert loss.item() == pytest.approx((math.log(2 * math.pi * 4) + 1) / 2)
        assert gradient.tolist() == [[-0.5, 0.0]]  # (1 - 3) / 4, and (1 - 4 / 4) / 2

    def test_a_soft_label_s_is_the_divergence_of_gaussians(self) -> None:
        targets = StepTargets(
            labels=tensor(0.0),
            hard_weight=tensor(0.0),
            soft_weight=tensor(2.0),
            soft_labels=tensor([3.0, 0.0]),
        )
        loss, gradient = gaussian_loss_and_gradient(self.answers, targets, step_scale=tensor(10.0)[0])
        assert loss.item() == pytest.approx(2 * (math.log(4) + (1 + 4) / 4 - 1) / 2)
        np.testing.assert_allclose(gradient, [[10 * 2 * -0.5, 10 * 2 * (1 - 5 / 4) / 2]], rtol=1e-6)

    def test_the_server_learns_the_same(self) -> None:
        slope = gaussian_gradient(self.answers[None], None, tensor([3.0]), plan=PLAN)
        np.testing.assert_allclose(slope, [[[-0.5, 0.0]]], atol=1e-7)
        soft = gaussian_gradient(self.answers[None], tensor([[3.0, 0.0]]), None, plan=PLAN)
        np.testing.assert_allclose(soft, [[[-0.5, -0.125]]], rtol=1e-6)


def test_a_label_s_loss_is_the_mean_of_binary_cross_entropies() -> None:
    z = torch.tensor([[0.3, -1.2, 2.0]], requires_grad=True)
    labels = torch.tensor([[1, 0, 1]])
    pairs = z.unsqueeze(-1) * torch.tensor([-0.5, 0.5])
    torch.autograd.backward(pairs, logit_gradient(pairs.detach(), None, labels, plan=PLAN))
    (expected,) = torch.autograd.grad(
        torch.nn.functional.binary_cross_entropy_with_logits(
            again := z.detach().requires_grad_(), labels.float()
        ),
        again,
    )
    np.testing.assert_allclose(z.grad, expected, rtol=1e-5)


@pytest.mark.parametrize("target", [LABELS, NUMBERS], ids=["labels", "numbers"])
def test_a_training_step_passes_the_gate(target: Target) -> None:
    build_artifact(
        ArtifactOptions(
            family="mlp-8",
            input_shape=(4,),
            classes=2,
            optimizer=Optimizer.MOMENTUM,
            soft_labels="dense",
            stack_size=2,
            step_rows=4,
            target=target,
        )
    )


def test_a_variance_has_bounds() -> None:
    student = build_student("mlp-8", (4,), 2, target=NUMBERS)
    said = student(1e6 * torch.ones(1, 4))
    assert said.shape == (1, 2, 2)
    assert said[..., 1].abs().max() <= 5


class TestCoordinates:
    """What is summed of answers, and where the fleet goes."""

    def test_labels_are_centred_one_by_one(self) -> None:
        soft = np.array([[0.2, 0.8], [0.5, 0.5], [0.5, 0.5]], np.float32)
        row = Coordinates(LABELS, 2).of(soft, least=1e-6)
        np.testing.assert_allclose(row, [[-math.log(2), math.log(2), 0, 0, 0, 0]], atol=1e-6)
        np.testing.assert_allclose(Coordinates(LABELS, 2).softened(row), soft, rtol=1e-6)

    def test_the_variance_of_numbers_is_by_the_law_of_total_variance(self) -> None:
        """Two devices say mean 1 and -1 with variance 1 and 3: a mixture of mean 0 and variance 2 + 1."""
        coordinates = Coordinates(Target(kind=TargetKind.REGRESSION, size=1, offset=(0.0,), scale=(1.0,)), 2)
        start = np.array([[0.0, 0.0]])  # mean 0, variance 1
        said = [np.array([[m, math.log(v)]], np.float32) for m, v in ((1.0, 1.0), (-1.0, 3.0))]
        mean = np.mean([coordinates.summed(each, least=1e-6) for each in said], axis=0)
        np.testing.assert_allclose(coordinates.way(mean, start), [[0.0, math.log(3)]], atol=1e-6)

    def test_who_says_what_was_told_moves_nothing(self) -> None:
        coordinates = Coordinates(NUMBERS, 2)
        summed = coordinates.summed(np.zeros((2, 2), np.float32), least=1e-6)
        assert coordinates.way(summed, np.array([[1.0, -2.0, 3.0, 0.5]])).tolist() == [[0.0] * 4]


def configured(target: Target, *, classes: int = 2, **options: Any) -> FleetConfig:
    facts = FleetFacts(
        run="0" * 8,
        task=TASKS.load("arrays")(),
        families=("mlp-8",),
        classes=classes,
        input_shape=(4,),
        public_rows=50,
        labelled=True,
        public_set="public.npz",
        test_set=None,
        teacher=TeacherConfig(),
        target=target,
    )
    return resolve(RunOptions(**options), facts)


def test_numbers_travel_as_gaussians_that_nothing_softens() -> None:
    config = configured(NUMBERS)
    assert config.uplink.encoding is config.downlink.encoding is Encoding.GAUSSIAN
    assert config.training.temperature == 1


def test_each_label_travels_in_its_own_right() -> None:
    config = configured(LABELS)
    assert format_codec(config.uplink) == format_codec(config.downlink) == "dense,4bit,log,entropy"


@pytest.mark.parametrize("target", [LABELS, NUMBERS], ids=["labels", "numbers"])
def test_what_is_about_classes_is_refused_at_once(target: Target) -> None:
    refused = [name for name in METHODS if target.kind not in METHODS.load(name).target_kinds]
    assert {"fedmd", "fedproto", "fedgkt", "class-logits", "feddf", "auto"} <= set(refused)
    for method in refused:
        with pytest.raises(ConfigError, match=r"is not one that learns targets|one of a fleet"):
            configured(target, method=method)
    for problem, options in _REFUSED[target.kind].items():
        with pytest.raises(ConfigError, match=problem):
            configured(target, **options)


_REFUSED: Mapping[TargetKind, Mapping[str, Mapping[str, Any]]] = {
    TargetKind.MULTI_LABEL: {
        "uplink": {"uplink": "topk1,4bit"},
        "fold": {"method_options": {"fold": "trust"}},
        "start_from": {"method_options": {"start_from": "task"}},
        "downlink": {"downlink": "dense,4bit,log,entropy,delta"},
    },
    TargetKind.REGRESSION: {
        "uplink": {"uplink": "uint8"},
        "temperature": {"temperature": 2.0},
        "privacy": {"privacy": "local", "noise_multiplier": 1.0},
    },
}


def test_many_classes_are_told_by_the_likeliest() -> None:
    few, many = (configured(SINGLE_LABEL, classes=classes) for classes in (128, 129))
    assert (few.uplink.k, few.downlink.k) == (0, 0)
    assert many.uplink.k == many.downlink.k > 0
    assert many.downlink.delta
    assert configured(SINGLE_LABEL, classes=1000, uplink="dense,4bit").uplink.k == 0

"""Teachers of a simulated fleet: estimators, ONNX files and modules with weights, frozen or learning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fedstill_proto.errors import FedstillError
from fedstill_server.export import export_student
from fedstill_server.families import initial_parameters
from fedstill_server.families.pictures import ImageClassifier
from fedstill_server.tasks.training import ServerTraining
from fedstill_server.teachers.onnx_file import OnnxTeacher
from fedstill_server.training.fitting import FitPlan, fit
from fedstill_server.training.networks import logits_of, parameters_of
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

import fedstill as fs
from tests.server.scripted_fleet import fleet_config

CENTRES = np.array([[2, 0], [0, 2], [-2, -2]], np.float32)


def _examples(rows: int, seed: int) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    y = random.integers(0, 3, rows)
    return (CENTRES[y] + random.normal(0, 0.4, (rows, 2))).astype(np.float32), y


def _fleet() -> fs.Fleet:
    devices = {f"d{i}": fs.Device(*_examples(24, i)) for i in range(3)}
    return fs.Fleet.from_arrays(devices, public=_examples(40, 10)[0], test=_examples(60, 11))


def _run(teacher: Any, out: Path, **more: Any) -> Any:
    return fs.simulate(_fleet(), students="mlp-8", teacher=teacher, rounds=1, out=out, processes=0, **more)


def test_an_estimator_teaches_as_it_is(tmp_path: Path) -> None:
    """The public set has no labels: what students know before the first round, they have from the teacher."""
    regression = LogisticRegression().fit(*_examples(200, 20))
    result = _run(regression, tmp_path / "run")
    assert result.final.teacher_accuracy > 0.95
    assert result.final.global_accuracy > 0.8


def test_an_onnx_file_teaches_by_its_path_and_must_stay_the_same(tmp_path: Path) -> None:
    parameters = initial_parameters("mlp-8", (2,), 3, 0)
    _, graph = export_student(family="mlp-8", input_shape=(2,), classes=3, parameters=parameters)
    file = tmp_path / "big.onnx"
    file.write_bytes(graph)
    result = _run(str(file), tmp_path / "run")
    x, y = _examples(60, 11)
    answers = OnnxTeacher.of_file(file).answer(x).logits
    assert result.final.teacher_accuracy == pytest.approx((answers.argmax(-1) == y).mean())
    with pytest.raises(FedstillError, match="there is no such file"):
        _run(str(tmp_path / "none.onnx"), tmp_path / "other")


class Answer:
    """What models of Hugging Face answer with."""

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits


class Pretrained(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 3)
        with torch.no_grad():
            self.layer.weight.copy_(torch.from_numpy(CENTRES) * 4)
            self.layer.bias.zero_()

    def forward(self, x: Tensor) -> Answer:
        return Answer(self.layer(x))


@pytest.mark.parametrize("frozen", [True, False])
def test_a_module_with_weights_is_frozen_or_learns(tmp_path: Path, frozen: bool) -> None:
    result = _run(fs.Teacher(Pretrained(), trained=True, frozen=frozen), tmp_path / "run")
    assert result.final.teacher_accuracy > 0.95
    assert result.final.global_accuracy > 0.8


def test_pictures_are_taught_by_a_convolutional_network() -> None:
    training = ServerTraining(fleet_config(input_shape=(3, 16, 16)))
    assert isinstance(training.teacher(), ImageClassifier)
    assert not isinstance(ServerTraining(fleet_config(input_shape=(9, 128))).teacher(), ImageClassifier)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_a_gpu_fits_the_same_bits_twice_and_nearly_those_of_the_processor() -> None:
    x, y = _examples(64, 0)

    def fitted(device: str) -> Any:
        torch.manual_seed(0)
        plan = FitPlan(epochs=2, batch_size=16, learning_rate=0.01, weight_decay=0.0, device=device)
        network = fit(nn.Linear(2, 3), x, None, plan=plan, seed=1, labels=y)
        return parameters_of(network), logits_of(network, x, device=device)

    (once, logits), (again, _), (here, _) = fitted("cuda"), fitted("cuda"), fitted("cpu")
    for name, array in once.items():
        np.testing.assert_array_equal(array, again[name])
        np.testing.assert_allclose(array, here[name], atol=1e-4)
    assert logits.shape == (64, 3)


def test_cuda_is_refused_where_there_is_none() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    plan = FitPlan(epochs=1, batch_size=4, learning_rate=0.1, weight_decay=0.0, device="cuda")
    with pytest.raises(FedstillError, match="--device cuda: torch finds no CUDA device"):
        fit(nn.Linear(2, 3), *_examples(4, 0)[:1], None, plan=plan, seed=0, labels=np.zeros(4, np.int64))

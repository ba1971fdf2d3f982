"""A deployed student answers, with the weights of its package."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from fedstill_client.model.predictor import PredictionError, Predictor
from fedstill_client.model.runtime import GraphError
from fedstill_proto.errors import FedstillError
from fedstill_proto.package.artifact import StudentPackage, load_student, save_student

from tests.client.samples import examples, mlp_logits, softmax, student, student_package


def test_answers_are_those_of_the_student(tmp_path: Path) -> None:
    package = student_package(3)
    save_student(tmp_path / "student", package.manifest, package.inference_graph, package.parameters)
    x, _ = examples(11)

    predictor = Predictor.load(tmp_path / "student")

    np.testing.assert_allclose(predictor.logits(x), mlp_logits(student(3), x), atol=1e-5)
    np.testing.assert_allclose(predictor.predict(x), softmax(mlp_logits(student(3), x)), atol=1e-5)


def test_the_packages_weights_take_the_place_of_the_graphs() -> None:
    exported = student_package(3)
    personal = StudentPackage(exported.manifest, exported.inference_graph, student(4))
    x, _ = examples(5)

    logits = Predictor(personal).logits(x)

    np.testing.assert_allclose(logits, mlp_logits(student(4), x), atol=1e-5)
    assert not np.allclose(logits, mlp_logits(student(3), x), atol=1e-3)


def test_no_examples_have_no_answers() -> None:
    assert Predictor(student_package()).predict(np.zeros((0, 6), np.float32)).shape == (0, 3)


@pytest.mark.parametrize(
    "x", [np.zeros((2, 7), np.float32), np.zeros(6, np.float32), np.zeros((2, 6), bool), np.array(1.0)]
)
def test_examples_that_the_student_does_not_take_are_refused(x: npt.NDArray[np.generic]) -> None:
    with pytest.raises(PredictionError, match=r"takes real numbers of shape \[n, 6\]"):
        Predictor(student_package()).logits(x)


def test_weights_that_the_graph_does_not_have_are_refused() -> None:
    exported = student_package()
    renamed = {f"other.{name}": array for name, array in exported.parameters.items()}
    specs = tuple(replace(spec, name=f"other.{spec.name}") for spec in exported.manifest.parameters)
    package = StudentPackage(replace(exported.manifest, parameters=specs), exported.inference_graph, renamed)

    with pytest.raises(GraphError, match=r"no weights named 'other\."):
        Predictor(package)


def test_an_altered_package_is_refused(tmp_path: Path) -> None:
    package = student_package()
    save_student(tmp_path / "student", package.manifest, package.inference_graph, package.parameters)
    file = tmp_path / "student" / "parameters.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x7f")

    with pytest.raises(FedstillError, match=r"parameters\.safetensors"):
        load_student(tmp_path / "student")

"""Distillation in one call: teachers, techniques and students as objects, examples in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

import fedstill as fs
from tests.api.own_parts import OwnNet


def examples(count: int, seed: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Points [n, 4] of three classes."""
    x = np.random.default_rng(seed).normal(size=(count, 4)).astype(np.float32)
    return x, (x[:, 0] > 0).astype(int) + (x[:, 1] > 0)


PUBLIC, TEST = examples(120, 0), examples(60, 1)
QUICK: dict[str, Any] = {"test": TEST, "student": "mlp-8", "epochs": 60, "batch_size": 16}


@pytest.fixture(scope="module")
def teacher() -> LogisticRegression:
    return LogisticRegression().fit(*PUBLIC)


def test_an_estimator_teaches_a_student_that_answers(teacher: LogisticRegression, tmp_path: Path) -> None:
    small = fs.distill(teacher, public=PUBLIC[0], out=tmp_path / "small", **QUICK)
    assert small.teacher_accuracy == pytest.approx(teacher.score(*TEST))
    assert small.accuracy > 0.6
    assert small.package == tmp_path / "small" / "student"
    answered = small.predict(TEST[0].tolist()).argmax(axis=1)
    assert float((answered == TEST[1]).mean()) == pytest.approx(small.accuracy)
    again = fs.distill(teacher, public=PUBLIC[0], **QUICK)
    np.testing.assert_array_equal(again.predict(TEST[0]), small.predict(TEST[0]))


def test_modules_techniques_and_students_are_objects() -> None:
    torch.manual_seed(0)
    network = OwnNet((4,), 3, width=12)

    class Halved(fs.techniques.KnowledgeDistillation):
        """kd, for whom half is enough."""

        name = "halved"
        source = "here"
        line = "kd, for whom half is enough"

    made = fs.distill(
        [network, fs.Teacher(OwnNet)],
        public=PUBLIC,
        test=TEST,
        student=fs.Student(OwnNet, name="tiny"),
        techniques=[Halved(weight=0.5)],
        epochs=2,
        combination="logits",
    )
    assert made.student.family == "tiny"
    assert repr(made).startswith("<Distilled tiny: accuracy ")


def test_labels_alone_are_learned_without_a_teacher() -> None:
    alone = fs.distill(None, public=PUBLIC, **QUICK)
    assert alone.teacher_accuracy is None
    assert alone.accuracy > 0.7


def test_a_quarter_is_held_out_to_measure_on(teacher: LogisticRegression) -> None:
    made = fs.distill(teacher, public=PUBLIC, student="mlp-8", epochs=1)
    assert (made.accuracy * 30) == pytest.approx(round(made.accuracy * 30))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"student": "mlp-smal"}, "students: 'mlp-smal' is unknown; did you mean mlp-small"),
        ({"techniques": ["kdd"]}, "'kdd' is unknown; did you mean"),
        ({"techniques": [object()]}, "techniques: .*derives from neither"),
        ({"techniques": ["kd", fs.techniques.KnowledgeDistillation()]}, "names one twice"),
        ({"epoch": 3}, "distill: option: 'epoch' is unknown; did you mean epochs"),
        ({"epochs": 0}, "epochs: 0 is not"),
        ({"teacher": "nowhere.pt"}, "teacher: 'nowhere.pt' is neither"),
        ({"teacher": nn.Linear(3, 2)}, "teacher: Linear: it raised RuntimeError: mat1 and mat2"),
        ({"teacher": lambda width: nn.Linear(width, 3)}, "it needs width"),
        ({"public": PUBLIC[0], "test": None}, "test: needed to measure the student"),
        ({"public": (PUBLIC[0], PUBLIC[1][:3])}, r"public: y has shape \[3\]"),
        ({"test": PUBLIC[0]}, r"test: give a tuple \(x, y\)"),
        ({"private": (PUBLIC[0][:, :2], PUBLIC[1])}, r"private: x has examples of shape \[2\]"),
    ],
)
def test_what_does_not_fit_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message) as refused:
        fs.distill(**{"teacher": "train:mlp-8", "public": PUBLIC, **QUICK, **arguments})
    assert isinstance(refused.value, fs.FedstillError)


def test_techniques_are_those_that_have_names() -> None:
    assert set(fs.techniques.__all__) >= {"KnowledgeDistillation", "FitNets", "Technique", "Recipe", "option"}
    for name in fs.techniques.__all__:
        assert getattr(fs.techniques, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'FitNet'"):
        _ = fs.techniques.FitNet


def test_a_student_s_package_scales_what_it_is_given(teacher: LogisticRegression) -> None:
    far = (PUBLIC[0] * 100 + 500, PUBLIC[1])
    as_bytes = (np.clip(PUBLIC[0] * 40 + 128, 0, 255).astype(np.uint8), PUBLIC[1])
    test = (TEST[0] * 100 + 500, TEST[1])
    options: dict[str, Any] = {"student": "mlp-8", "epochs": 60, "batch_size": 16}

    small = fs.distill(None, public=far, test=test, **options)
    of_bytes = fs.distill(None, public=as_bytes, **options)
    knows = fs.distill(LogisticRegression().fit(*far), public=far, test=test, **options | {"epochs": 1})

    assert small.accuracy > 0.6
    assert float((small.predict(test[0]).argmax(axis=1) == test[1]).mean()) == small.accuracy
    assert of_bytes.student.package.manifest.input_rule.element_type == "uint8"
    assert of_bytes.predict(as_bytes[0]).shape == (120, 3)
    assert knows.student.package.manifest.input_rule.changes_nothing
    assert knows.teacher_accuracy == pytest.approx(teacher.score(*TEST), abs=0.1)

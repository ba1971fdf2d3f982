"""Teachers of every kind, ensembles, and kept answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from fedstill_proto.errors import FedstillError
from fedstill_proto.package.artifact import save_student
from fedstill_server.distill.answers import AnswerFile
from fedstill_server.distill.engine import train
from fedstill_server.distill.errors import DistillError, StaleAnswers
from fedstill_server.distill.layers import inner_layers, parse_map
from fedstill_server.distill.teachers import (
    EnsembleTeacher,
    EstimatorTeacher,
    OnnxTeacher,
    TeacherModel,
    TorchTeacher,
)
from fedstill_server.distill.teachers.opening import open_teacher
from fedstill_server.distill.techniques.fitnets import FitNets
from fedstill_server.distill.techniques.kd import KnowledgeDistillation
from fedstill_server.export import export_student
from fedstill_server.state import digest_of
from fedstill_server.teachers.errors import TeacherError
from fedstill_server.teachers.registry import TEACHERS
from fedstill_server.training.networks import parameters_of
from sklearn.ensemble import RandomForestClassifier

from tests.server.distill_samples import CLASSES, corners, job, taught

X, Y = corners(30, seed=7)
FOREST = RandomForestClassifier(5, random_state=0).fit(X[Y < 3].reshape(-1, 16), Y[Y < 3])


def probabilities(logits: np.ndarray) -> np.ndarray:
    return torch.softmax(torch.from_numpy(logits), dim=-1).numpy()


@pytest.fixture(scope="module")
def teacher() -> TorchTeacher:
    return taught()


def test_the_same_network_answers_the_same_from_every_shelf(teacher: TorchTeacher, tmp_path: Path) -> None:
    parameters = parameters_of(teacher.network)
    manifest, graph = export_student(
        family="mlp-20-6", input_shape=(4, 4), classes=CLASSES, parameters=parameters
    )
    (tmp_path / "big.onnx").write_bytes(graph)
    save_student(tmp_path / "package", manifest, graph, parameters)
    safetensors.torch.save_file(teacher.network.state_dict(), tmp_path / "big.safetensors")
    imported = f"{__name__}:big_network@{tmp_path / 'big.safetensors'}"

    expected = teacher.answer(X).logits
    for place in (str(tmp_path / "big.onnx"), str(tmp_path / "package"), imported):
        np.testing.assert_allclose(opened(place).answer(X).logits, expected, atol=1e-5)
    assert opened(imported).digest == teacher.digest
    assert opened(str(tmp_path / "big.onnx")).layers == ()


def opened(place: str) -> TeacherModel:
    return open_teacher(place, input_shape=(4, 4), classes=CLASSES)


def big_network() -> torch.nn.Module:
    from fedstill_server.families import build_student

    return build_student("mlp-20-6", (4, 4), CLASSES)


def test_an_estimator_s_probabilities_are_its_soft_labels() -> None:
    forest = EstimatorTeacher(FOREST, classes=CLASSES)

    soft = probabilities(forest.answer(X).logits)

    np.testing.assert_allclose(soft[:, :3], FOREST.predict_proba(X.reshape(30, -1)), atol=1e-5)
    assert soft[:, 3].max() < 1e-6  # a class that the forest never saw
    assert opened(f"{__name__}:FOREST").digest == forest.digest
    other = RandomForestClassifier(5, random_state=1).fit(X.reshape(30, -1), Y)
    assert EstimatorTeacher(other, classes=CLASSES).digest != forest.digest


def forgetful() -> None:
    """A function of one's own that does not return a teacher."""
    raise ValueError("no weights")


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("nowhere", "neither an .onnx file"),
        ("nowhere.onnx", "cannot be read"),
        ("fedstill_server.families:unknown", "'unknown' is unknown; there are build_student"),
        ("fedstill_server.nothing:unknown", "there is no module 'fedstill_server.nothing'"),
        ("fedstill_server.families:FAMILIES", "a FamilyRegistry; a teacher is a torch module, an estimator"),
        (f"{__name__}:needs_a_width", "it needs width, and is called with input_shape and classes"),
        (f"{__name__}:an_object", "a object has no predict_proba"),
        (f"{__name__}:FOREST@weights", "takes no weights"),
        (
            f"{__name__}:forgetful",
            r"it raised ValueError: no weights \(.*test_distill_teachers.py, line \d+\)",
        ),
    ],
)
def test_what_is_no_teacher_is_said(place: str, message: str) -> None:
    with pytest.raises(FedstillError, match=message):
        opened(place)


def needs_a_width(width: int) -> torch.nn.Module:
    """A function that no one can call without knowing more."""
    return torch.nn.Linear(width, CLASSES)


def an_object() -> object:
    return object()


def shaped(input_shape: tuple[int, ...], classes: int) -> torch.nn.Module:
    """A network that is made for what it is to teach."""
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(input_shape[0] * input_shape[1], classes))


def test_a_teacher_is_made_for_its_task() -> None:
    assert opened(f"{__name__}:shaped").answer(X).logits.shape == (30, CLASSES)


def test_a_registered_teacher_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TEACHERS, "_registered", {})
    network = big_network()
    TEACHERS.register("big", network)

    assert opened("big").digest == TorchTeacher(network).digest
    with pytest.raises(DistillError, match="nor one of big"):
        opened("bigger")


def test_a_damaged_graph_is_refused() -> None:
    with pytest.raises(TeacherError, match="does not take it"):
        OnnxTeacher(b"not a graph")


def test_a_black_box_shows_no_layers() -> None:
    with pytest.raises(TeacherError, match="no layers"):
        EstimatorTeacher(FOREST, classes=CLASSES).answer(X, layers=["hidden.0"])
    with pytest.raises(DistillError, match="the teacher shows no inner layers"):
        train(job(teacher=EstimatorTeacher(FOREST, classes=CLASSES), techniques=(FitNets(),)))


def test_layers_are_mapped() -> None:
    student, teacher = ("a", "b"), ("1", "2", "3", "4")
    assert parse_map("uniform", student, teacher) == (("a", "2"), ("b", "4"))
    assert parse_map("uniform", teacher, student) == (("1", "a"), ("2", "a"), ("3", "b"), ("4", "b"))
    assert parse_map("last", student, teacher) == (("b", "4"),)
    assert parse_map("a=3, logits=logits", student, teacher) == (("a", "3"), ("logits", "logits"))
    assert inner_layers(big_network()) == ("hidden.0", "hidden.1")


class Fixed:
    """A teacher that answers every example alike."""

    def __init__(self, *logits: float) -> None:
        self.logits, self.layers, self.digest = np.array([logits], np.float32), (), str(logits)

    def answer(self, x: np.ndarray, *, layers: object = ()) -> object:
        from fedstill_server.distill.teachers import TeacherAnswers

        return TeacherAnswers(np.repeat(self.logits, len(x), axis=0))


def test_means_by_hand() -> None:
    teachers = [Fixed(np.log(0.9), np.log(0.1)), Fixed(np.log(0.5), np.log(0.5))]
    mean = EnsembleTeacher(teachers, temperature=1).answer(X[:1]).logits  # type: ignore[arg-type]
    assert probabilities(mean)[0] == pytest.approx([0.7, 0.3])
    logits = EnsembleTeacher(teachers, combination="logits").answer(X[:1]).logits  # type: ignore[arg-type]
    assert probabilities(logits)[0] == pytest.approx([0.75, 0.25])  # root of 9 : 1 is 3 : 1


def test_agreement_leaves_the_corrupted_teacher_out() -> None:
    good, bad = Fixed(4.0, 0, 0), Fixed(0, 0, 9.0)
    plain = EnsembleTeacher([good] * 4 + [bad], temperature=1)  # type: ignore[list-item]
    agreeing = EnsembleTeacher([good] * 4 + [bad], temperature=1, combination="agreement")  # type: ignore[list-item]
    assert probabilities(plain.answer(X[:1]).logits)[0, 2] > 0.2
    assert probabilities(agreeing.answer(X[:1]).logits)[0, 2] < 0.03
    assert plain.digest != agreeing.digest


def test_answers_are_kept_and_asked_once(teacher: TorchTeacher, tmp_path: Path) -> None:
    file = AnswerFile(tmp_path / "answers.safetensors")
    first = file.answers(teacher, X[:20], layers=["hidden.1"])
    asked: list[int] = []

    class Counting(TorchTeacher):
        def answer(self, x: np.ndarray, *, layers: object = ()) -> object:  # type: ignore[override]
            asked.append(len(x))
            return super().answer(x, layers=layers)  # type: ignore[arg-type]

    again = file.answers(Counting(teacher.network), X, layers=["hidden.1"])

    assert asked == [10]
    assert np.array_equal(again.logits[:20], first.logits)
    np.testing.assert_allclose(
        again.features["hidden.1"], teacher.answer(X, layers=["hidden.1"]).features["hidden.1"]
    )
    recalled = file.recalled(X[::-1].copy(), layers=["hidden.1"])
    assert np.array_equal(recalled.logits, again.logits[::-1])


def test_a_student_learns_from_kept_answers_alone(teacher: TorchTeacher, tmp_path: Path) -> None:
    one = job()
    file = AnswerFile(tmp_path / "answers.safetensors")
    answers = file.answers(teacher, one.x)
    kd = (KnowledgeDistillation(),)
    assert digest_of(train(job(answers=file.recalled(one.x), techniques=kd)).parameters) == digest_of(
        train(job(answers=answers, techniques=kd)).parameters
    )


def test_stale_and_damaged_answers_are_refused(teacher: TorchTeacher, tmp_path: Path) -> None:
    file = AnswerFile(tmp_path / "answers.safetensors")
    file.answers(teacher, X)
    changed = taught()
    with torch.no_grad():
        changed.network.output.bias[0] += 1e-3  # type: ignore[union-attr,index,operator]
    with pytest.raises(StaleAnswers, match="another teacher"):
        file.answers(TorchTeacher(changed.network), X)
    with pytest.raises(DistillError, match="no answers to 1 of 1"):
        file.recalled(X[:1] + 1)
    blob = file.path.read_bytes()
    for damaged in (blob[:-1], b"", blob.replace(b"fedstill-answers-1", b"fedstill-answers-9")):
        file.path.write_bytes(damaged)
        with pytest.raises(DistillError, match="not a file of a teacher's answers"):
            file.answers(teacher, X)

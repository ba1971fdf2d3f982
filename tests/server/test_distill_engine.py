"""The distiller: what it learns, what stays out of the student, and how it comes back from a kill."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fedstill_server.config.codec import ConfigError
from fedstill_server.distill.engine import EpochDone, train
from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.job import UNKNOWN
from fedstill_server.distill.layers import attention_parts, watched
from fedstill_server.distill.plan import DistillPlan
from fedstill_server.distill.registry import RECIPES, TECHNIQUES
from fedstill_server.distill.teachers import TorchTeacher
from fedstill_server.distill.technique import Technique
from fedstill_server.distill.techniques.averaged import AveragedTeacher
from fedstill_server.distill.techniques.exits import EarlyExits
from fedstill_server.distill.techniques.fitnets import FitNets
from fedstill_server.distill.techniques.forgetting import LearningWithoutForgetting, expanded
from fedstill_server.distill.techniques.kd import KnowledgeDistillation
from fedstill_server.distill.techniques.mutual import MutualLearning
from fedstill_server.distill.techniques.relational import RelationalDistillation
from fedstill_server.families import build_student, initial_parameters
from fedstill_server.losses import kd_loss
from fedstill_server.state import digest_of
from fedstill_server.training.checkpoint import CheckpointError
from fedstill_server.training.networks import accuracy_of, load_parameters, logits_of
from torch import nn

from tests.server.distill_samples import CLASSES, PLAN, corners, job, taught

KD = KnowledgeDistillation()


@pytest.fixture(scope="module")
def teacher() -> TorchTeacher:
    return taught()


@pytest.fixture(scope="module")
def convolutional() -> TorchTeacher:
    return taught("cnn-6-8", epochs=8)


def accuracy(family: str, parameters: dict[str, np.ndarray]) -> float:
    x, y = corners(400, seed=9)
    return accuracy_of(load_parameters(build_student(family, (4, 4), CLASSES), parameters), x, y)


def test_unlabelled_examples_teach_through_the_teacher(teacher: TorchTeacher) -> None:
    x, y = corners(300, seed=4)
    labels = np.where(np.arange(300) < 8, y, UNKNOWN)
    plan = replace(PLAN, epochs=15)

    plain = train(job(x=x[:8], labels=labels[:8], plan=replace(plan, epochs=285)))
    distilled = train(job(x=x, labels=labels, plan=plan, teacher=teacher, techniques=(KD,)))

    assert accuracy("mlp-6", distilled.parameters) > accuracy("mlp-6", plain.parameters) + 0.05


def test_the_first_step_is_the_loss_that_is_documented(teacher: TorchTeacher) -> None:
    """One batch of all examples and one epoch: the loss that is reported is that of the untrained student."""
    one = job(plan=replace(PLAN, epochs=1, batch_size=40), teacher=teacher, techniques=(KD,))
    reports: list[EpochDone] = []

    start = initial_parameters("mlp-6", (4, 4), CLASSES, 0)
    train(replace(one, start=start), watch=reports.append)

    student = load_parameters(build_student("mlp-6", (4, 4), CLASSES), start)
    mine, theirs = torch.from_numpy(logits_of(student, one.x)), torch.from_numpy(teacher.answer(one.x).logits)
    labelled = torch.from_numpy(one.labels != UNKNOWN)
    hard = torch.nn.functional.cross_entropy(mine[labelled], torch.from_numpy(one.labels)[labelled])
    soft = kd_loss(mine, theirs, temperature=PLAN.temperature)
    assert reports[0].parts == {
        "labels": pytest.approx(0.1 * hard.item(), rel=1e-5),
        "kd": pytest.approx(0.9 * soft.item(), rel=1e-5),
    }


OF_ANY_STUDENT = sorted(
    {*TECHNIQUES}
    - {*RECIPES, "attention", "attention-matrices", "exits", "gkd", "minillm", "hidden-states", "minilm"}
)


@pytest.mark.parametrize("name", OF_ANY_STUDENT)
def test_every_technique_teaches_a_student_that_is_only_itself(name: str, teacher: TorchTeacher) -> None:
    techniques = (TECHNIQUES.load(name)(), *(() if name == "kd" else (KD,)))
    trained = train(job(teacher=teacher, techniques=techniques))

    own = initial_parameters("mlp-6", (4, 4), CLASSES, 0)
    assert {n: a.shape for n, a in trained.parameters.items()} == {n: a.shape for n, a in own.items()}
    assert digest_of(trained.parameters) == digest_of(
        train(job(teacher=teacher, techniques=techniques)).parameters
    )
    plain = train(job(teacher=teacher, techniques=(KD,)))
    assert name == "kd" or digest_of(trained.parameters) != digest_of(plain.parameters)
    assert all(np.isfinite(array).all() for array in trained.parameters.values())


@pytest.mark.parametrize("name", ["attention", "fitnets", "rkd", "similarity", "pkt", "crd"])
def test_maps_of_convolutions_are_compared(name: str, convolutional: TorchTeacher) -> None:
    changes = {"layers": "conv1=conv1,conv2=conv2"}
    techniques = (TECHNIQUES.load(name)(**changes),)
    trained = train(job(family="cnn-3-4", teacher=convolutional, techniques=techniques))
    assert set(trained.parameters) == set(initial_parameters("cnn-3-4", (4, 4), CLASSES, 0))


def test_learned_layer_maps_prefer_some_layers(teacher: TorchTeacher) -> None:
    parts: list[EpochDone] = []
    techniques = (FitNets(layers="learned"),)
    train(job(teacher=teacher, techniques=techniques, plan=replace(PLAN, epochs=30)), watch=parts.append)
    assert parts[10].parts["fitnets"] < parts[0].parts["fitnets"]


def test_exits_are_students_of_their_own(teacher: TorchTeacher) -> None:
    x, y = corners(200, seed=6)
    plan = replace(PLAN, epochs=25)
    techniques = (KD, EarlyExits())
    made = train(job(family="mlp-8-7-6", x=x, labels=y, teacher=teacher, techniques=techniques, plan=plan))

    assert set(made.exits) == {"mlp-8", "mlp-8-7"}
    for family, parameters in made.exits.items():
        shapes = {name: array.shape for name, array in initial_parameters(family, (4, 4), CLASSES, 0).items()}
        assert {name: array.shape for name, array in parameters.items()} == shapes
        assert accuracy(family, parameters) > 0.6
        assert np.array_equal(parameters["hidden.0.weight"], made.parameters["hidden.0.weight"])


def test_new_classes_make_room_in_the_last_layer() -> None:
    old = initial_parameters("mlp-6", (4, 4), 3, 1)
    fresh = initial_parameters("mlp-6", (4, 4), 5, 2)

    grown = expanded(old, fresh)

    assert grown["output.weight"].shape == (5, 6)
    assert np.array_equal(grown["output.weight"][:3], old["output.weight"])
    assert np.array_equal(grown["output.bias"][3:], fresh["output.bias"][3:])
    with pytest.raises(DistillError, match="cannot become"):
        expanded(fresh, old)


def test_old_classes_are_remembered() -> None:
    """Classes 0 and 1 first, then only examples of 2 and 3."""
    x, y = corners(400, seed=5)
    plan = replace(PLAN, epochs=30)
    first = train(job(classes=2, x=x[y < 2], labels=y[y < 2], plan=plan))
    old = TorchTeacher(load_parameters(build_student("mlp-6", (4, 4), 2), first.parameters))
    start = expanded(first.parameters, initial_parameters("mlp-6", (4, 4), CLASSES, 0))
    later = job(x=x[y >= 2], labels=y[y >= 2], plan=replace(plan, soft_weight=0.7), start=start)

    forgetful = train(later)
    keeping = train(replace(later, teacher=old, techniques=(LearningWithoutForgetting(),)))

    def old_classes(parameters: dict[str, np.ndarray]) -> float:
        """The share of right answers between the classes 0 and 1."""
        held_x, held_y = corners(400, seed=9)
        logits = logits_of(load_parameters(build_student("mlp-6", (4, 4), CLASSES), parameters), held_x)
        return float((logits[held_y < 2, :2].argmax(-1) == held_y[held_y < 2]).mean())

    assert old_classes(keeping.parameters) > old_classes(forgetful.parameters) + 0.05


ALL_KINDS = (KD, FitNets(), AveragedTeacher(), MutualLearning(), RelationalDistillation())


def test_a_run_that_stopped_goes_on_bit_for_bit(teacher: TorchTeacher, tmp_path: Path) -> None:
    whole = train(job(teacher=teacher, techniques=ALL_KINDS))

    class Stop(Exception):
        pass

    def stop(report: EpochDone) -> None:
        if report.epoch == 3:
            raise Stop

    path = tmp_path / "checkpoint.safetensors"
    with pytest.raises(Stop):
        train(job(teacher=teacher, techniques=ALL_KINDS), checkpoint=path, watch=stop)
    epochs: list[int] = []
    again = train(
        job(teacher=teacher, techniques=ALL_KINDS), checkpoint=path, watch=lambda e: epochs.append(e.epoch)
    )

    assert epochs == [3, 4]
    assert digest_of(again.parameters) == digest_of(whole.parameters)


def _until_killed(path: Path) -> None:
    train(job(plan=replace(PLAN, epochs=4000)), checkpoint=path)


def test_a_kill_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    child = multiprocessing.get_context("fork").Process(target=_until_killed, args=(path,))
    child.start()
    deadline = time.monotonic() + 30
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join()

    first: list[int] = []

    class Seen(Exception):
        pass

    def seen(report: EpochDone) -> None:
        first.append(report.epoch)
        raise Seen

    with pytest.raises(Seen):
        train(job(plan=replace(PLAN, epochs=4000)), checkpoint=path, watch=seen)
    assert first[0] > 1


def test_a_checkpoint_of_another_job_is_refused(teacher: TorchTeacher, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    train(job(teacher=teacher, techniques=(KD,)), checkpoint=path)
    for other in (
        job(teacher=teacher, techniques=(KnowledgeDistillation(weight=2.0),)),
        job(teacher=teacher, techniques=(KD,), plan=replace(PLAN, seed=4)),
        job(teacher=teacher, techniques=(KD,), labels=np.zeros(40, np.int64)),
    ):
        with pytest.raises(CheckpointError, match="of another job"):
            train(other, checkpoint=path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CheckpointError, match=r"damaged.*delete it to start anew"):
        train(job(teacher=teacher, techniques=(KD,)), checkpoint=path)


def test_asked_online_with_no_noise_the_teacher_says_the_same(teacher: TorchTeacher) -> None:
    kept = train(job(teacher=teacher, techniques=(KD, FitNets())))
    online = train(job(teacher=teacher, techniques=(KD, FitNets()), plan=replace(PLAN, online=True)))
    for name, array in kept.parameters.items():
        np.testing.assert_allclose(online.parameters[name], array, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"techniques": (KD,)}, "ask for a teacher"),
        ({"labels": np.full(40, UNKNOWN)}, "none has a label"),
        ({"labels": np.full(40, 7)}, "labels: not from 0 to 3"),
        (
            {"techniques": (FitNets(layers="hidden.9=hidden.0"),)},
            "'hidden.9' is no layer of the network; there are hidden.0",
        ),
        ({"techniques": (FitNets(layers="hidden.0"),)}, "is not <student layer>=<teacher layer>"),
        ({"techniques": (EarlyExits(),)}, "mlp-6 has none"),
        (
            {"techniques": (TECHNIQUES.load("attention-matrices")(),)},
            "attention-matrices: the student shows none",
        ),
        ({"techniques": (TECHNIQUES.load("attention")(layers="logits"),)}, "no maps of convolutions"),
    ],
)
def test_what_cannot_be_is_said(changes: dict[str, object], message: str, teacher: TorchTeacher) -> None:
    given = {} if "ask" in message else {"teacher": teacher}
    with pytest.raises(DistillError, match=message):
        train(job(**given, **changes))


def test_a_plan_is_checked() -> None:
    for wrong in ({"temperature": 0.0}, {"soft_weight": 1.1}, {"epochs": 0}, {"learning_rate": float("inf")}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            DistillPlan(**wrong)  # type: ignore[arg-type]


def sentences(count: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of six words of a language in which word w is followed by w + 1, or by w + 2, of seven."""
    random = np.random.default_rng(seed)
    words = np.cumsum(np.c_[random.integers(0, 7, count), random.integers(1, 3, (count, 6))], axis=1) % 7
    return words[:, :-1].astype(np.int64), words[:, 1:].astype(np.int64)


OF_TEXT = (KD, TECHNIQUES.load("distilbert")(layers="norm=norm"), TECHNIQUES.load("attention-matrices")())  # type: ignore[call-arg]


@pytest.mark.parametrize("technique", OF_TEXT, ids=lambda one: one.name)
def test_a_student_of_text_learns_from_a_teacher_of_text(technique: Technique) -> None:
    x, y = sentences(64, seed=1)
    plan = DistillPlan(epochs=6, batch_size=16, online=True, temperature=2.0)
    taught_one = train(job(family="transformer", classes=7, x=x, labels=y, plan=replace(plan, online=False)))
    network = load_parameters(build_student("transformer", (6,), 7), taught_one.parameters)
    padded = np.where(np.arange(6) < 5, y, UNKNOWN)
    student = job(
        family="transformer",
        classes=7,
        x=x,
        labels=padded,
        plan=plan,
        teacher=TorchTeacher(network),
        techniques=(technique,),
    )
    seen: list[float] = []

    made = train(student, watch=lambda report: seen.append(report.parts[technique.name]))

    assert seen[-1] < 0.3 * seen[0]
    assert set(made.parameters) == set(taught_one.parameters)


def test_matrices_of_torch_s_own_attention_are_compared_with_those_of_one_head() -> None:
    class Looking(nn.Module):
        """[n, S, 4] -> [n, 3]; its attention has two heads, whose mean torch returns."""

        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
            self.output = nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            mixed, _ = self.attention(x, x, x)
            return self.output(mixed.mean(dim=1))

    network, x = Looking(), torch.rand(5, 6, 4)
    assert attention_parts(network) == ("attention",)
    with watched(network, ["attention"]) as seen:
        network(x)

    assert seen["attention"].shape == (5, 6, 6)
    torch.testing.assert_close(seen["attention"].sum(-1), torch.ones(5, 6))

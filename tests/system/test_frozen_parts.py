"""A frozen first part: examples go through it once, it travels once, and answers are what they were."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fedstill_client.agent.agent import Agent
from fedstill_client.home import AgentHome
from fedstill_client.model.forward import Forward
from fedstill_client.model.predictor import Predictor
from fedstill_client.model.private_stack import PrivateStack
from fedstill_client.model.trainer import Personalizer
from fedstill_client.packages import load_installed
from fedstill_client.packages.install import install
from fedstill_client.rounds.round import DeviceStack, perform_round
from fedstill_client.store import PrivateStore
from fedstill_proto.arrays import Parameters
from fedstill_proto.errors import FedstillError, WireError
from fedstill_proto.messages import (
    Optimizer,
    PublicSoftLabels,
    RoundTask,
    SummaryKind,
    SummaryRequest,
    TrainingPlan,
)
from fedstill_proto.package.artifact import TrainingArtifact, load_student, save_package
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels
from fedstill_server.export import ArtifactOptions, build_artifact
from fedstill_server.families import build_student, initial_parameters
from fedstill_server.publish.package import package_of
from fedstill_server.training.networks import load_parameters, logits_of
from scipy.special import softmax
from torch import Tensor, nn

import fedstill as fs
from fedstill.chosen import family_of_student

SHAPE, CLASSES, FAMILY = (2, 6, 6), 3, "frozen-net"


class Net(nn.Module):
    """A convolution, batch normalization, and a head on the mean of each channel."""

    def __init__(self, input_shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(input_shape[0], 20, 3, padding=1), nn.BatchNorm2d(20), nn.ReLU())
        self.output = nn.Linear(20, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.output(self.body(x).mean((2, 3)))
        return logits


family_of_student(fs.Student(Net, name=FAMILY, train="head"))
OPTIONS = ArtifactOptions(
    family=FAMILY,
    input_shape=SHAPE,
    classes=CLASSES,
    optimizer=Optimizer.SGD,
    soft_labels="dense",
    stack_size=1,
    step_rows=8,
)


def _examples(rows: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.normal(size=(rows, *SHAPE)).astype(np.float32), random.integers(0, CLASSES, rows)


@pytest.fixture(scope="module")
def artifact() -> TrainingArtifact:
    return build_artifact(OPTIONS)  # passes the gate: prefix and step beside torch in float64


def test_only_the_head_is_a_devices_own(artifact: TrainingArtifact) -> None:
    manifest = artifact.manifest
    assert [(spec.name, spec.shape) for spec in manifest.parameters] == [
        ("output.weight", (CLASSES, 20)),
        ("output.bias", (CLASSES,)),
    ]
    assert manifest.buffers == ()
    assert manifest.prefix_shape == (20,)
    assert [spec.shape for spec in manifest.frozen] == [(20, 2, 3, 3)]
    assert {part.name for part in manifest.parts} == {
        "training.onnx",
        "forward.onnx",
        "prefix.onnx",
        "frozen.safetensors",
    }


def test_a_step_of_the_head_by_hand(artifact: TrainingArtifact) -> None:
    # A head of zeros gives each class 1/3: the gradient of one row is (1/3 - one-hot) times its features.
    x, labels = _examples(1, seed=0)
    start = {name: np.zeros_like(value) for name, value in _start().items()}
    trained, _ = _trained(artifact, PrivateStack.of_one(x, labels), start, rate=0.5)
    features = _features(x)[0]
    expected = -0.5 * np.outer(1 / 3 - np.eye(CLASSES)[labels[0]], features)
    np.testing.assert_allclose(trained["output.weight"][0], expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(
        trained["output.bias"][0], -0.5 * (1 / 3 - np.eye(CLASSES)[labels[0]]), rtol=1e-5
    )


def test_with_the_cut_and_without_it_answers_are_the_same(artifact: TrainingArtifact) -> None:
    whole = build_artifact(replace(OPTIONS, cut=False), verify=False)
    assert whole.manifest.prefix_shape == ()
    private, start = (
        PrivateStack.of_one(*_examples(20, seed=1)),
        _start(),
    )
    one, other = (_round(each, private, start) for each in (artifact, whole))
    for name in start:
        np.testing.assert_allclose(one[0][name], other[0][name], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(one[1], other[1], rtol=1e-4, atol=1e-6)


def test_an_agent_and_the_simulator_give_the_same_bits(artifact: TrainingArtifact) -> None:
    # The simulator holds the examples of all devices in one table, and has computed what becomes of them.
    x, labels = _examples(24, seed=2)
    start = _start()
    alone, answers = _round(artifact, PrivateStack.of_one(x[8:20], labels[8:20]), start)
    two = build_artifact(replace(OPTIONS, stack_size=2), verify=False)
    personalizer, forward = Personalizer(two), Forward(two)
    prefix = forward.prefix
    prefix.know(x, prefix.fresh(x))
    rows = np.stack([np.arange(8, 20), np.arange(12)])
    private = PrivateStack(x, labels[rows], np.array([12, 12]), rows)
    stack = DeviceStack(["device", "other"], private)
    done = perform_round(stack, _task(start), personalizer, forward, _examples(12, seed=9)[0])
    for name, array in alone.items():
        np.testing.assert_array_equal(done.parameters[name][0], array[0])
    np.testing.assert_array_equal(forward.own(done.parameters, private)[0], answers[0])


def test_a_package_holds_the_frozen_part_once(artifact: TrainingArtifact, tmp_path: Path) -> None:
    x, _ = _examples(6, seed=3)
    start = _start(4)
    package = package_of(OPTIONS, start, package_version=1, public_x=x)
    assert package.prefix_graph == artifact.prefix_graph
    assert package.frozen.keys() == artifact.frozen.keys()  # the inference graph reads the same constants
    save_package(tmp_path / "package", package)
    loaded = load_student(tmp_path / "package")
    network = load_parameters(build_student(FAMILY, SHAPE, CLASSES), start)
    np.testing.assert_allclose(Predictor(loaded).logits(x), logits_of(network, x), rtol=1e-4, atol=1e-5)
    personal = _start(5)
    predictor = Predictor(loaded)
    predictor.swap(personal)
    network = load_parameters(network, personal)
    np.testing.assert_allclose(predictor.logits(x), logits_of(network, x), rtol=1e-4, atol=1e-5)

    file = tmp_path / "package" / "frozen.safetensors"
    altered = bytearray(file.read_bytes())
    altered[-1] ^= 1
    file.write_bytes(altered)
    with pytest.raises(WireError, match=r"frozen\.safetensors is not the file that the manifest describes"):
        load_student(tmp_path / "package")


def test_an_agent_learns_a_head(tmp_path: Path) -> None:
    x, labels = _examples(80, seed=11)
    x[:, 0] += labels[:, None, None].astype(np.float32)
    start = initial_parameters(FAMILY, SHAPE, CLASSES, 4)
    home = AgentHome(tmp_path)
    home.create()
    home.description.write_text(json.dumps({"name": "kitchen", "family": FAMILY, "owner_share": 0.0}))
    with PrivateStore.create(home) as store:
        install(home, store, package_of(OPTIONS, start, package_version=1, public_x=x[:8]))
    with Agent.open(tmp_path) as agent:
        agent.observe(x, labels)
        assert agent.personalize().result == "replaced"
        answers = agent.predict(x)
    with PrivateStore.open(home) as store:
        own = store.students(load_installed(home, store).manifest, 1).latest()
    assert own is not None
    assert own.parameters.keys() == start.keys()  # the head, and nothing else
    logits = logits_of(load_parameters(build_student(FAMILY, SHAPE, CLASSES), own.parameters), x)
    np.testing.assert_allclose(answers, softmax(logits, axis=1), rtol=1e-3, atol=1e-5)


def test_a_frozen_part_that_does_not_fit_is_refused(artifact: TrainingArtifact) -> None:
    name, array = next(iter(artifact.frozen.items()))
    with pytest.raises(FedstillError, match=f"frozen: not as the manifest says: {name}"):
        replace(artifact, frozen={name: array[:1]})
    with pytest.raises(FedstillError, match="it and the shape of what it makes belong together"):
        replace(artifact, prefix_graph=None)


def test_a_round_is_simulated(tmp_path: Path) -> None:
    x, y = _examples(60, seed=6)
    x[np.arange(60), 0, 0, 0] += y  # something to learn
    devices = [fs.Device(x[at : at + 20], y[at : at + 20]) for at in (0, 20)]
    fleet = fs.Fleet.from_arrays(devices, public=_examples(10, seed=7), test=_examples(10, seed=8))
    student = fs.Student(Net, name=FAMILY, train="head")
    result = fs.simulate(
        fleet,
        method="fedstill",
        students=[student],
        rounds=1,
        optimizer="sgd",
        batch_size=4,
        out=tmp_path / "run",
        processes=0,
    )
    assert len(result.rounds) == 1
    files = sorted(file.name for file in (tmp_path / "run" / "prefixed").rglob("*.npy"))
    assert files == ["global_x.npy", "x.npy"]


def _start(seed: int = 0) -> Parameters:
    return initial_parameters(FAMILY, SHAPE, CLASSES, seed)


def _features(x: np.ndarray) -> np.ndarray:
    network = build_student(FAMILY, SHAPE, CLASSES).eval()
    assert isinstance(network, Net)
    with torch.no_grad():
        features: np.ndarray = network.body(torch.from_numpy(x)).mean((2, 3)).numpy()
    return features


def _task(start: Parameters, *, rate: float = 0.1) -> RoundTask:
    soft = np.full((16, CLASSES), 1 / CLASSES, np.float32)
    return RoundTask(
        "run",
        1,
        FAMILY,
        TrainingPlan(
            epochs=2,
            batch_size=4,
            learning_rate=rate,
            optimizer=Optimizer.SGD,
            temperature=1.0,
            soft_weight=0.5,
            seed=0,
        ),
        SummaryRequest(SummaryKind.NONE),
        parameters=start,
        replace_student=True,
        soft_targets=PublicSoftLabels(np.arange(16), DenseSoftLabels(soft)),
        mixed_rows=4,
    )


def _round(
    artifact: TrainingArtifact, private: PrivateStack, start: Parameters
) -> tuple[Parameters, np.ndarray]:
    """The students after a round about 12 public rows and 4 that are mixed of them, and their answers."""
    forward = Forward(artifact)
    done = perform_round(
        DeviceStack(["device"], private),
        _task(start),
        Personalizer(artifact),
        forward,
        _examples(12, seed=9)[0],
    )
    return done.parameters, forward.own(done.parameters, private)


def _trained(
    artifact: TrainingArtifact, private: PrivateStack, start: Parameters, *, rate: float
) -> tuple[Parameters, np.ndarray]:
    task = replace(
        _task(start, rate=rate),
        soft_targets=None,
        training=replace(_task(start, rate=rate).training, epochs=1, soft_weight=0.0),
    )
    done = perform_round(DeviceStack(["device"], private), task, Personalizer(artifact), Forward(artifact))
    return done.parameters, done.loss

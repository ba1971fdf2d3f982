"""A student with batch normalization on a device, in a simulator's stack, and in a package's answers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from fedstill_client.agent.agent import Agent
from fedstill_client.home import AgentHome
from fedstill_client.model.forward import Forward
from fedstill_client.model.private_stack import PrivateStack
from fedstill_client.model.trainer import Personalizer
from fedstill_client.packages.install import install
from fedstill_client.rounds.round import DeviceStack, perform_round
from fedstill_client.store import PrivateStore
from fedstill_proto.arrays import Parameters
from fedstill_proto.messages import Optimizer, RoundTask, SummaryKind, SummaryRequest, TrainingPlan
from fedstill_proto.package.artifact import TrainingArtifact
from fedstill_server.export import ArtifactOptions, build_artifact
from fedstill_server.families import FAMILIES, build_student, initial_parameters
from fedstill_server.publish.package import package_of
from fedstill_server.training.networks import load_parameters, logits_of
from torch import Tensor, nn

SHAPE, CLASSES, FAMILY = (2, 5, 5), 3, "batch-normalized"


class Net(nn.Module):
    def __init__(self, input_shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(input_shape[0], 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()
        )
        self.output = nn.Linear(4 * 9, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.output(self.body(x))
        return logits


FAMILIES.register(FAMILY, Net)
OPTIONS = ArtifactOptions(
    family=FAMILY,
    input_shape=SHAPE,
    classes=CLASSES,
    optimizer=Optimizer.MOMENTUM,
    soft_labels="none",
    stack_size=1,
    step_rows=4,
)
START = initial_parameters(FAMILY, SHAPE, CLASSES, 0)
BUFFERS = ("body.1.running_mean", "body.1.running_var")


def _examples(rows: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.normal(2, 3, size=(rows, *SHAPE)).astype(np.float32), random.integers(0, CLASSES, rows)


def _round(artifact: TrainingArtifact, names: list[str], private: PrivateStack) -> Parameters:
    training = TrainingPlan(
        epochs=3,
        batch_size=4,
        learning_rate=0.05,
        optimizer=Optimizer.MOMENTUM,
        temperature=1.0,
        soft_weight=0.0,
        seed=7,
    )
    task = RoundTask(
        "run", 1, FAMILY, training, SummaryRequest(SummaryKind.NONE), parameters=START, replace_student=True
    )
    public, _ = _examples(4, seed=9)
    stack = DeviceStack(names, private)
    return dict(perform_round(stack, task, Personalizer(artifact), Forward(artifact), public).parameters)


def test_device_and_simulator_train_the_same_bits_and_an_agent_answers_by_them(tmp_path: Path) -> None:
    """Ten rows in steps of four: the last step of a pass has two rows that weigh, and two of padding."""
    one, two = (build_artifact(replace(OPTIONS, stack_size=size), verify=False) for size in (1, 2))
    x, labels = _examples(17, seed=1)
    alone = _round(one, ["device"], PrivateStack.of_one(x[:10], labels[:10]))
    rows = np.stack([np.arange(10, 20) % 17, np.arange(10)])
    together = _round(two, ["other", "device"], PrivateStack(x, labels[rows], np.array([7, 10]), rows))
    for name, array in alone.items():
        np.testing.assert_array_equal(together[name][1], array[0])
    assert all((alone[name] != START[name]).all() for name in BUFFERS)

    personal = {name: array[0] for name, array in alone.items()}
    package = package_of(OPTIONS, personal, package_version=1, public_x=x)
    home = AgentHome(tmp_path / "home")
    home.create()
    home.description.write_text(json.dumps({"name": "ann", "family": FAMILY, "owner_share": 0.0}))
    with PrivateStore.create(home) as store:
        install(home, store, package)
    with Agent.open(home.folder) as agent:
        answers = agent.predict(x)
    logits = logits_of(load_parameters(build_student(FAMILY, SHAPE, CLASSES), personal), x)
    simulated = Forward(one).own(alone, PrivateStack.of_one(x, labels))[0]
    np.testing.assert_allclose(simulated, logits, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(answers, _softmax(simulated), atol=1e-5)


def _softmax(logits: np.ndarray) -> np.ndarray:
    exponential = np.exp(logits - logits.max(-1, keepdims=True))
    shares: np.ndarray = exponential / exponential.sum(-1, keepdims=True)
    return shares

"""Pictures of bytes, channels last, classes with names: alike in simulator, server, package and agent."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fedstill_client.agent.agent import Agent
from fedstill_client.cli import app as agent_app
from fedstill_client.home import AgentHome
from fedstill_client.packages.install import install
from fedstill_client.store import PrivateStore
from fedstill_proto.package.artifact import load_student
from fedstill_proto.package.input_rule import InputRule
from fedstill_server.cli import cli as server_app
from fedstill_server.data.digits import digits_examples
from fedstill_server.publish.package import build_package
from fedstill_server.run_folder import read_fleet_config
from typer.testing import CliRunner

import fedstill as fs
from fedstill.models import PackagedStudent

FAMILY = "mlp-16"
QUICK: dict[str, Any] = {"rounds": 1, "processes": 0, "baselines": (), "tradeoff": False}
NAMES = np.array([f"number {digit}" for digit in range(10)])


def pictures(first: int, end: int) -> tuple[np.ndarray, np.ndarray]:
    """Digits as a camera gives them, bytes [n, 8, 8, 1] from 0 to 240, and what they are called."""
    x, y = digits_examples()
    return (x[first:end, :, :, None] * 240).astype(np.uint8), NAMES[y[first:end]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("pictures")
    for device, first in enumerate((0, 150)):
        (x, y), (x_test, y_test) = pictures(first, first + 100), pictures(first + 100, first + 150)
        np.savez(made / f"client_{device}.npz", x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    for name, rows in (("public", (300, 700)), ("global_test", (1300, 1500))):
        x, y = pictures(*rows)
        np.savez(made / f"{name}.npz", x=x, y=y)
    return made


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> fs.Result:
    out = tmp_path_factory.mktemp("run") / "run"
    return fs.simulate(fs.datasets.folder(folder), students=[FAMILY], out=out, **QUICK)


def test_api_command_line_package_and_agent_answer_alike(run: fs.Result, tmp_path: Path) -> None:
    x, y = pictures(1300, 1320)
    np.savez(tmp_path / "x.npz", x=x, y=y)
    expected = run.student(FAMILY).predict(x)

    words = ["predict", "--input", str(tmp_path / "x.npz"), "--json"]
    told = CliRunner().invoke(agent_app, [*words, "--student", str(run.folder / "students" / FAMILY)])
    config, package = read_fleet_config(run.folder), load_student(run.folder / "students" / FAMILY)
    public_x = np.zeros((4, 1, 8, 8), np.float32)
    published = build_package(config, FAMILY, package.parameters, package_version=1, public_x=public_x)
    home = AgentHome(tmp_path / "home")
    home.create()
    home.description.write_text(json.dumps({"name": "kitchen", "family": FAMILY, "owner_share": 0.0}))
    with PrivateStore.create(home) as store:
        install(home, store, published)
    with Agent.open(home.folder) as agent:
        answered = agent.predict(x)
        agent.observe(x, y)

    np.testing.assert_array_equal(PackagedStudent(package).predict(x), expected)
    np.testing.assert_array_equal(np.array(json.loads(told.stdout)["probabilities"], np.float32), expected)
    np.testing.assert_array_equal(answered, expected)
    assert json.loads(told.stdout)["labels"] == NAMES[expected.argmax(axis=1)].tolist()
    assert config.class_names == tuple(NAMES)
    assert (config.input_shape, config.input_rule.given_shape(config.input_shape)) == ((1, 8, 8), (8, 8, 1))


def test_bytes_learn_as_well_as_the_same_between_0_and_1(folder: Path, run: fs.Result) -> None:
    read = fs.datasets.folder(folder).data
    x, public_x, global_x = (part.copy() for part in (read.x, read.public_x, read.global_x))
    fleet = fs.Fleet(replace(read, x=x, public_x=public_x, global_x=global_x, input_rule=InputRule()))

    scaled = fs.simulate(fleet, students=[FAMILY], **QUICK)

    assert run.final.global_accuracy == scaled.final.global_accuracy > 0.5


def test_a_prepared_fleet_holds_what_networks_read(folder: Path, tmp_path: Path) -> None:
    fleet = tmp_path / "fleet"
    words = f"prepare {fleet} --public {folder / 'public.npz'} --families {FAMILY} --start random --json"
    CliRunner().invoke(server_app, ["init", str(fleet), "--host", "127.0.0.1", "--without-proxy"])

    prepared = CliRunner().invoke(server_app, words.split())

    assert prepared.exit_code == 0, prepared.output
    config = read_fleet_config(fleet)
    with np.load(fleet / "public.npz") as public, np.load(folder / "public.npz") as given:
        np.testing.assert_array_equal(public["x"], config.input_rule.apply(given["x"]))
    assert config.class_names == tuple(NAMES)

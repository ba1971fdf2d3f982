"""Several labels and numbers, from a person's data to an agent's answer; and what 1,000 classes cost."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fedstill_client.agent.agent import Agent
from fedstill_client.agent_types import PersonalizeOptions
from fedstill_client.cli import app as agent_app
from fedstill_client.home import AgentHome
from fedstill_client.packages.install import install
from fedstill_client.store import PrivateStore
from fedstill_proto.errors import InvalidValue
from fedstill_proto.package.artifact import save_student
from fedstill_proto.soft_labels.codec_spec import parse_codec
from fedstill_server.config.run_options import RunOptions
from fedstill_server.fleet.folder import FleetFolder, FleetSettings
from fedstill_server.fleet.preparing import PublicData, prepare_fleet
from fedstill_server.publish.package import build_package
from fedstill_server.publish.students import newest_state
from fedstill_server.tasks import load_public
from fedstill_sim.cli import app as sim_app
from typer.testing import CliRunner

import fedstill as fs

Examples = tuple[np.ndarray, np.ndarray]
LABELS, NUMBERS = "multi-label", "regression"
SETTINGS = FleetSettings(host="127.0.0.1", port=9443, superlink_port=9444, proxy=False)
each_target = pytest.mark.parametrize("target", [LABELS, NUMBERS])


def examples(target: str, count: int, seed: int) -> Examples:
    """Three labels, or two numbers of different units, that linear functions of five numbers decide."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(count, 5)).astype(np.float32)
    if target == LABELS:
        return x, (x[:, :3] > 0).astype(np.int64)
    return x, 100 + np.stack([20 * x[:, 0], x[:, 1] - x[:, 2]], axis=1)


def fleet_of(target: str) -> fs.Fleet:
    devices = [fs.Device(*examples(target, 60, seed)) for seed in range(3)]
    return fs.Fleet.from_arrays(
        devices, public=examples(target, 60, 8), test=examples(target, 60, 9), target=target
    )


@each_target
def test_a_fleet_learns_it(target: str) -> None:
    options = {"rounds": 1, "processes": 0, "tradeoff": False}
    result = fs.simulate(fleet_of(target), students=["mlp-8"], baselines=["local", "fedavg"], **options)
    for baseline in result.baselines.values():
        assert baseline.final.personal_accuracy is not None
        assert baseline.final.personal_accuracy > 0.5
    found = result.evaluation
    assert found["target"] == target
    if target == LABELS:
        assert result.final.personal_accuracy > 0.8  # of labels, each by itself
        assert min(found["personal"].values()) > 0.8
        assert found["global"].keys() == {"macro_f1", "micro_f1", "mean_average_precision"}
    else:
        assert found["personal"]["r2"] > 0.5
        rmse = found["global"]["rmse"]  # in units of a person
        assert rmse[0] > 5 * rmse[1]


@each_target
def test_a_folder_becomes_a_run_by_a_command(target: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for device in range(2):
        (x, y), (x_test, y_test) = examples(target, 40, device), examples(target, 20, 5 + device)
        np.savez(data / f"client_{device}.npz", x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    for name, seed in {"public": 8, "global_test": 9}.items():
        x, y = examples(target, 40, seed)
        np.savez(data / f"{name}.npz", x=x, y=y)
    words = ["run", "--data", data, "--families", "mlp-8", "--rounds", 1, "--processes", 0]
    words += ["--baselines", "none", "--out", tmp_path / "run"]

    done = CliRunner().invoke(sim_app, [str(word) for word in (*words, "--target", target)])

    assert done.exit_code == 0, done.output
    assert f"{target}, own examples: {'macro f1' if target == LABELS else 'rmse'}" in done.output
    assert (tmp_path / "run" / "report.html").is_file()
    if target == NUMBERS:
        refused = CliRunner().invoke(sim_app, [str(word) for word in (*words, "--force", "--target", LABELS)])
        assert refused.exit_code == 2
        assert "must be 0 and 1" in refused.output


@each_target
def test_a_package_carries_it_to_an_agent(target: str, tmp_path: Path) -> None:
    """An operator's files, a package, a device that answers, keeps examples and learns, and a command."""
    x, y = examples(target, 80, 1)
    np.savez(tmp_path / "public.npz", x=x, y=y)
    fleet = FleetFolder.create(tmp_path / "fleet", SETTINGS)
    asked = RunOptions(families=("mlp-8",), rounds=1, target=target)
    given = PublicData(public=tmp_path / "public.npz", test=tmp_path / "public.npz")
    prepared = prepare_fleet(fleet, asked, given)
    assert prepared.accuracy["mlp-8"] > 0.7
    config, state = prepared.config, newest_state(fleet.folder)
    public = load_public(fleet.folder, config)
    package = build_package(config, "mlp-8", state.students["mlp-8"], package_version=1, public_x=public.x)
    home = AgentHome(tmp_path / "home")
    home.create()
    home.description.write_text(json.dumps({"name": "kitchen", "family": "mlp-8"}))
    with PrivateStore.create(home) as store:
        install(home, store, package)

    with Agent.open(home.folder) as agent:
        said = agent.predict(x)
        assert agent.status().target == target
        if target == LABELS:
            assert said.shape == (80, 3)
            assert ((said > 0.5) == y).mean() > 0.7
        else:
            assert said.shape == (80, 2, 2)  # mean and standard deviation in the user's units
            assert np.abs(said[..., 0] - y).mean(axis=0)[0] < 15
            assert (said[..., 1] > 0).all()
        with pytest.raises(InvalidValue, match="labels"):
            agent.observe(x[:1], np.zeros((1, 5)))
        agent.observe(x, y if target == LABELS else y + 40)  # this owner's numbers are higher
        learned = agent.personalize(PersonalizeOptions(epochs=10))
        assert learned.result == "replaced", learned.words
        if target == NUMBERS:
            assert (agent.predict(x)[..., 0] - said[..., 0]).mean() > 10

    folder = tmp_path / "student"
    save_student(folder, replace(package.manifest, parts=()), package.inference_graph, package.parameters)
    np.savez(tmp_path / "asked.npz", x=x[:2])
    words = ["predict", "--student", folder, "--input", tmp_path / "asked.npz", "--json"]
    answered = CliRunner().invoke(agent_app, [str(word) for word in words])
    assert answered.exit_code == 0, answered.output
    found = json.loads(answered.stdout)
    assert set(found) == ({"labels", "probabilities"} if target == LABELS else {"means", "deviations"})
    np.testing.assert_allclose(
        found["probabilities"] if target == LABELS else found["means"],
        said[:2] if target == LABELS else said[:2, :, 0],
        rtol=1e-4,
    )


def test_numbers_without_public_labels_have_no_units() -> None:
    x, y = examples(NUMBERS, 20, 1)
    with pytest.raises(fs.FedstillError, match="needs public labels"):
        fs.Fleet.from_arrays([fs.Device(x, y)], public=x, target=NUMBERS)
    y[3, 1] = np.nan
    with pytest.raises(fs.FedstillError, match=r"row 3, label 1: nan is not finite"):
        fs.Fleet.from_arrays([fs.Device(x, y)], public=(x, y), target=NUMBERS)
    with pytest.raises(fs.FedstillError, match=r"row 0, label 0: 2 is neither 0 nor 1"):
        fs.Fleet.from_arrays([fs.Device(x, np.full((20, 2), 2))], public=x, target=LABELS)


def test_a_round_of_1_000_classes_is_small() -> None:
    """A student of 277 kB would get 3.28 MB of soft labels a round if each class took a byte."""
    random = np.random.default_rng(0)
    logits = 3 * random.normal(size=(320, 1000))
    soft = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    uplink = parse_codec("topk4,4bit,log,entropy")
    assert len(uplink.encode(soft.astype(np.float32)).values) < 4000  # under 13 bytes a public example

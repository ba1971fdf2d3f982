"""Runs of fleets in memory: what becomes of arguments, and that a run is the command's, bit for bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fedstill_server.methods import METHODS
from fedstill_sim.cli import app
from fedstill_sim.results.json_files import read_json
from typer.testing import CliRunner

import fedstill as fs
from tests.api.own_parts import OwnNet, Patient

MADE = OwnNet((4,), 3)
FAST: dict[str, Any] = {"rounds": 1, "processes": 0, "tradeoff": False, "round_epochs": 1}


def examples(count: int, seed: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Points [n, 4] of three classes that a line keeps apart."""
    x = np.random.default_rng(seed).normal(size=(count, 4))
    return x, (x[:, 0] > 0).astype(int) + (x[:, 1] > 0)


@pytest.fixture(scope="module")
def fleet() -> fs.Fleet:
    devices = {name: fs.Device(*examples(24, seed)) for seed, name in enumerate(("ann", "bob", "cy"))}
    return fs.Fleet.from_arrays(devices, public=examples(40, 7), test=examples(30, 8), name="points")


def test_a_run_of_own_parts(fleet: fs.Fleet, tmp_path: Path) -> None:
    seen: list[int] = []
    students = [fs.Student(OwnNet, devices=("bob",)), "mlp-small"]
    method = Patient(warm_up=2, server_step=0.3)
    result = fs.simulate(
        fleet, students=students, method=method, **FAST, on_round=lambda one: seen.append(one.round)
    )
    assert seen == [1]
    assert [one.family for one in result.run.devices] == ["mlp-small", "OwnNet", "mlp-small"]
    assert result.config["fleet"]["own_families"] == {"OwnNet": "tests.api.own_parts:OwnNet"}
    chosen = result.config["fleet"]["method"]
    assert chosen["name"] == "tests.api.own_parts:Patient"
    assert (chosen["options"]["warm_up"], chosen["options"]["server_step"]) == (2, 0.3)
    assert result.baselines == {}

    student = result.student("OwnNet")
    x, y = fleet.data.global_x, fleet.data.global_y
    probabilities = student.predict(x.tolist())
    assert probabilities.shape == (30, 3)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    accuracy = float((probabilities.argmax(axis=1) == y).mean())
    assert accuracy == pytest.approx(result.run.students["OwnNet"].global_accuracy)

    ann = result.student(device="ann")
    assert ann.family == "mlp-small"
    everyone, own = result.student("mlp-small").predict(x), ann.predict(x)
    assert own.shape == everyone.shape
    assert not np.allclose(own, everyone)
    with pytest.raises(fs.FedstillError, match="device: 'an' is unknown; did you mean ann"):
        result.student(device="an")

    kept = fs.simulate(fleet, students=students, method=method, **FAST).student("OwnNet").save(tmp_path)
    assert (kept / "manifest.json").is_file()


@pytest.mark.parametrize("trained", [False, True])
def test_a_teacher_of_ones_own_learns_and_stays_as_it_was(fleet: fs.Fleet, trained: bool) -> None:
    before = {name: value.clone() for name, value in MADE.state_dict().items()}
    teacher = fs.Teacher(MADE, trained=trained)
    result = fs.simulate(fleet, students=[OwnNet, "mlp-small"], teacher=teacher, **FAST)
    chosen = result.config["fleet"]["teacher"]
    assert (chosen["network"], chosen["trained"], len(chosen["digest"])) == ("OwnNet-teacher", trained, 64)
    assert all(torch.equal(value, before[name]) for name, value in MADE.state_dict().items())


def test_a_temporary_folder_goes_with_its_result(fleet: fs.Fleet) -> None:
    result = fs.simulate(fleet, students=["mlp-8"], **FAST)
    folder = result.folder
    assert folder.is_dir()
    del result
    assert not folder.exists()


def test_what_no_other_process_could_import_is_known_in_this_one(fleet: fs.Fleet) -> None:
    class Inner(OwnNet):
        pass

    class Still(fs.methods.Fedstill):
        """fedstill that stands still."""

    method = Still()
    result = fs.simulate(fleet, students=Inner, method=method, **FAST)
    assert result.config["fleet"]["method"]["name"] == "Still"
    assert (result.config["fleet"]["families"], result.config["fleet"]["own_families"]) == (["Inner"], {})
    assert result.student().predict(fleet.data.global_x[:1]).shape == (1, 3)


def test_the_same_call_goes_on_in_its_folder(fleet: fs.Fleet, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(finished: object) -> None:
        raise Stop

    arguments: dict[str, Any] = {"students": ["mlp-8"], **FAST, "rounds": 3, "out": tmp_path / "run"}
    with pytest.raises(Stop):
        fs.simulate(fleet, **arguments, on_round=stop)
    seen: list[int] = []
    result = fs.simulate(fleet, **arguments, on_round=lambda one: seen.append(one.round))
    assert seen == [2, 3]
    once = fs.simulate(fleet, **{**arguments, "out": tmp_path / "once"})
    assert [one.consensus_digest for one in result.rounds] == [one.consensus_digest for one in once.rounds]

    with pytest.raises(fs.FedstillError, match=r"holds a run of other data .* force=True"):
        fs.simulate(fleet, **{**arguments, "seed": 1})
    again = fs.simulate(fleet, **{**arguments, "rounds": 1}, seed=1, force=True)
    assert again.run.seed == 1


def test_a_run_is_the_command_s_bit_for_bit(tmp_path: Path) -> None:
    words = "run digits --devices 3 --rounds 2 --families mlp-8,mlp-small --seed 1 --epochs 2 --processes 0"
    words += " --baselines local --no-tradeoff --no-report --quiet"
    done = CliRunner().invoke(app, [*words.split(), "--out", str(tmp_path / "run")])
    assert done.exit_code == 0, done.output
    command = read_json(tmp_path / "run" / "result.json")
    result = fs.simulate(
        fs.datasets.digits(devices=3, seed=1),
        students=["mlp-8", "mlp-small"],
        rounds=2,
        seed=1,
        epochs=2,
        baselines=["local"],
        processes=0,
        tradeoff=False,
    )
    ours = json.loads(json.dumps(result.to_json()))
    assert ours["config"]["fleet"] == command["config"]["fleet"]
    for one, other in ((ours, command), (ours["baselines"]["local"], command["baselines"]["local"])):
        assert one["rounds"] == other["rounds"]
        assert one["devices"] == other["devices"]
    assert ours["students"] == command["students"]


# What is refused, before anything is trained


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"students": ["mlp-smal"]}, "students: 'mlp-smal' is unknown; did you mean mlp-small"),
        ({"students": ["no_module:Net"]}, "students: .*there is no module 'no_module'"),
        ({"students": ["mlp-8", "mlp-8"]}, "students: 'mlp-8' is named twice"),
        ({"students": ["gru-8-8"]}, "gru-8-8"),
        ({"students": [3]}, "int: a int; a family is a function or a class"),
        ({"students": [lambda input_shape, classes: MADE]}, "'<lambda>' is not .* letters"),
        (
            {"students": [fs.Student("mlp-8", devices=("anne",))]},
            "device: 'anne' is unknown",
        ),
        ({"students": [fs.Student("mlp-8", devices=("ann",))]}, "none is left for device 'bob'"),
        (
            {"students": [fs.Student("mlp-8", devices=("ann",)), fs.Student("mlp-9", devices=("ann",))]},
            "device 'ann' has both mlp-8 and mlp-9",
        ),
        ({"method": "fedstil"}, "method: 'fedstil' is unknown; did you mean fedstill"),
        ({"method": "no_module:Mine"}, "there is no module 'no_module'"),
        ({"method": 3}, "method: 3 is no method"),
        ({"method": "next-words"}, "next-words"),
        ({"teacher": "mlp-wid"}, "teacher: 'mlp-wid' is unknown; did you mean mlp-wide"),
        ({"teacher": 3}, "a int; a teacher is a torch module"),
        ({"baselines": ["locl"]}, "baselines: 'locl' is unknown; did you mean local"),
        ({"rounds": 0}, "rounds: 0"),
        ({"epoch": 3}, "simulate: option: 'epoch' is unknown; did you mean epochs"),
        ({"epochs": -1}, "epochs"),
        ({"uplink": "dense,5bits"}, "^uplink: "),
        ({"privacy": "central"}, "^privacy central: say how private, by one of epsilon and noise_multiplier"),
        ({"learning_rate": -1}, "^learning_rate: -1"),
        ({"stragglers": 2}, "^stragglers: 2"),
        ({"engine": "flower", "stragglers": 0.1}, "stragglers is a matter of virtual time"),
        ({"on_round": 3}, "on_round: 3 is neither a function nor a callback"),
        ({"on_round": [print, "print"]}, "on_round: 'print' is neither"),
    ],
)
def test_what_does_not_fit_is_refused(
    fleet: fs.Fleet, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], message: str
) -> None:
    def trained(*_: Any, **__: Any) -> None:
        raise AssertionError("a run was started")

    monkeypatch.setattr("fedstill_sim.runner.in_memory.run_fleet", trained)
    with pytest.raises(fs.FedstillError, match=message):
        fs.simulate(fleet, **{"students": ["mlp-8"], **arguments})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fs.methods.Fedstill(server_step=-1), "server_step: -1 is not a number above 0"),
        (lambda: fs.methods.Fedstill(server_stepp=1), "server_stepp"),
        (lambda: fs.datasets.digits(devices=0), "devices must be at least 1"),
        (lambda: fs.datasets.digits(dirichlet=-1), "alpha must be above 0"),
        (lambda: fs.datasets.folder("nowhere"), "not a folder"),
        (
            lambda: fs.simulate(fs.datasets.keyboard(devices=2, seed=1), seed=2),
            "made with seed=1",
        ),
    ],
)
def test_what_cannot_be_made_is_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises((fs.FedstillError, TypeError), match=message):
        make()


def test_methods_are_those_that_have_names() -> None:
    places = {place.rpartition(":")[2] for place in METHODS._built_in.values()}
    assert set(fs.methods.__all__) == places | {"Method", "option"}
    for name in fs.methods.__all__:
        assert getattr(fs.methods, name).__name__ == name
    assert fs.methods.Fedstill is METHODS.load("fedstill")
    with pytest.raises(AttributeError, match="no attribute 'Fedstil'"):
        _ = fs.methods.Fedstil

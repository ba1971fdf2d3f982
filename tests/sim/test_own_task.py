"""A task from outside: examples/own_task is simulated, prepared and refused as the built-in ones are."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from fedstill_proto.errors import FedstillError
from fedstill_server.config.run_options import RunOptions
from fedstill_server.fleet.folder import FleetFolder, FleetSettings
from fedstill_server.fleet.preparing import PublicData, prepare_fleet
from fedstill_server.publish.students import newest_state
from fedstill_server.run_folder import read_fleet_config
from fedstill_server.tasks import task_of
from fedstill_sim.config import data_request, read_config, requested_data, resolve
from fedstill_sim.data.digits import load_digits
from fedstill_sim.progress import SilentProgress
from fedstill_sim.request import RunRequest
from fedstill_sim.runner.in_memory import run_fleet
from fedstill_sim.runner.run import continue_run, start_run
from fedstill_sim.tasks import simulation_of
from fedstill_sim.tasks.interface import DataRequest
from fedstill_sim.terminal import print_run
from rich.console import Console

sys.path.append(str(Path(__file__).parents[2] / "examples" / "own_task"))

import windows

windows.register()
SHORT = {"rounds": 2, "baselines": (), "processes": 0, "families": ("mlp-32",)}


class Unregistered(windows.WindowTask):
    """A task that only its module knows."""

    steps = 3


def asked(**changes: object) -> RunRequest:
    return RunRequest(**{"task": "windows", **SHORT, **changes})  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Walkers in the files of one's own data."""
    data = windows.walkers(devices=2)
    made = tmp_path / "walkers"
    made.mkdir()
    for device in range(data.devices):
        train, test = data.train[device], data.test[device]
        np.savez(
            made / f"client_{device}.npz",
            x_train=data.x[train],
            y_train=data.y[train],
            x_test=data.x[test],
            y_test=data.y[test],
        )
    np.savez(made / "public.npz", x=data.public_x, y=data.public_y)
    np.savez(made / "global_test.npz", x=data.global_x, y=data.global_y)
    return made


def test_it_is_simulated_like_any_other(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    start_run(asked(data=str(folder)), run, force=False)
    result = continue_run(run, SilentProgress(), report=True)

    config = read_config(run)
    assert (config.fleet.task.name, config.fleet.task.options) == ("windows", {"steps": 40})
    assert config.fleet.teacher.hidden == (32,)
    assert config.simulation.tradeoff == ()
    assert len(result.rounds) == 2
    assert result.final.personal_accuracy > 0.5  # of three motions
    late = result.evaluation["windows_late"]
    assert set(late) == {"client-0", "client-1"}
    assert all(0 <= wait <= 4 for wait in late.values())
    shown = io.StringIO()
    print_run(Console(file=shown, width=200), result, run)
    assert "a new motion is told" in shown.getvalue()
    teacher = newest_state(run).teacher
    assert teacher["hidden.weight"].shape == (32, 3 * 17)  # of the example's own network
    assert simulation_of("windows").load(data_request(config)).devices == 2


def test_its_data_are_checked_by_its_form(folder: Path, tmp_path: Path) -> None:
    x = np.load(folder / "public.npz")["x"]
    np.savez(folder / "public.npz", x=x * 100, y=np.load(folder / "public.npz")["y"])
    start_run(asked(data=str(folder), normalize="none"), tmp_path / "run", force=False)
    with pytest.raises(FedstillError, match=r"public\.npz: x holds .*; the sensor reads up to 8"):
        continue_run(tmp_path / "run", SilentProgress(), report=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"families": ("gru",)}, "--families: 'gru' is of text, and the devices learn windows"),
        ({"method": "next-words"}, "--method: 'next-words' is not of windows"),
        ({"task": "windws"}, "--task: 'windws' is unknown; did you mean windows"),
    ],
)
def test_what_does_not_suit_it_is_refused(folder: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(FedstillError, match=message):
        asked(data=str(folder), **changes)


def test_it_is_named_by_where_it_lies(folder: Path) -> None:
    """Without being registered, as module:Class; the simulator's side is then that of arrays."""
    request = asked(task=f"{__name__}:Unregistered", data=str(folder))
    config = resolve(request, requested_data(request)).fleet
    assert config.task.name == f"{__name__}:Unregistered"
    assert isinstance(task_of(config), Unregistered)
    assert config.teacher.epochs == 3


def test_arrays_of_another_shape_are_none_of_its() -> None:
    data = load_digits(devices=2, families=("mlp-32",))
    with pytest.raises(FedstillError, match=r"input_shape: \(8, 8\) is not \(3, 32\)"):
        resolve(asked(), data)


def test_a_real_fleet_is_prepared_for_it(tmp_path: Path) -> None:
    data = windows.walkers(devices=1)
    public, test = tmp_path / "public.npz", tmp_path / "test.npz"
    np.savez(public, x=data.public_x, y=data.public_y)
    np.savez(test, x=data.global_x, y=data.global_y)
    settings = FleetSettings(host="127.0.0.1", port=8443, superlink_port=8000)
    fleet = FleetFolder.create(tmp_path / "fleet", settings)
    given = PublicData(public=public, test=test, task=windows.WindowTask(steps=30))

    prepared = prepare_fleet(fleet, RunOptions(families=("mlp-32",)), given)

    config = read_fleet_config(fleet.folder)
    assert (config.task.name, config.teacher.epochs) == ("windows", 30)
    assert prepared.accuracy["teacher"] > 0.8
    document = json.loads((fleet.folder / "config.json").read_text())
    assert document["fleet"]["task"] == {"name": "windows", "options": {"steps": 30}}


def test_a_fleet_in_memory_learns_it(tmp_path: Path) -> None:
    data = simulation_of("windows").load(DataRequest(devices=3, families=("mlp-32",)))
    assert (data.devices, data.label_shape, data.class_counts().shape) == (3, (), (3, 3))
    result = run_fleet(data, resolve(asked(rounds=1), data), tmp_path / "run")
    assert set(result.evaluation["windows_late"]) == set(data.device_names)

"""A fleet whose arrays are in memory is run, followed by callbacks, and gone on with in its folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from fedstill_sim.callbacks.interface import RoundFunction
from fedstill_sim.config import RunConfig, resolve
from fedstill_sim.data.fleet import DeviceRows, FleetData
from fedstill_sim.folder import FolderError
from fedstill_sim.request import RunRequest
from fedstill_sim.results.run_result import RoundResult
from fedstill_sim.runner.in_memory import run_fleet


def two_clouds(devices: int, *, seed: int = 0) -> FleetData:
    """Devices that tell two clouds of points apart."""
    generator = np.random.default_rng(seed)

    def points(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = generator.integers(0, 2, count)
        return (generator.normal(size=(count, 4)) + 2 * labels[:, None]).astype(np.float32), labels

    x, y = points(20 * devices)
    rows = np.split(np.arange(len(x)), devices)
    (public_x, public_y), (global_x, global_y) = points(40), points(40)
    return FleetData(
        name="clouds",
        description="clouds: made up",
        classes=2,
        device_names=tuple(f"device-{device}" for device in range(devices)),
        families=("mlp-small",) * devices,
        x=x,
        y=y,
        train=DeviceRows.of([part[:15] for part in rows]),
        test=DeviceRows.of([part[15:] for part in rows]),
        public_x=public_x,
        public_y=public_y,
        global_x=global_x,
        global_y=global_y,
    )


def config_of(data: FleetData, *, rounds: int = 2) -> RunConfig:
    asked = RunRequest(
        method="fedstill", dataset="digits", rounds=rounds, baselines=(), tradeoff=False, processes=0
    )
    return resolve(asked, data)


def test_arrays_are_run_round_by_round_and_not_twice(tmp_path: Path) -> None:
    data = two_clouds(3)
    heard: list[RoundResult] = []
    callbacks = [RoundFunction(heard.append)]
    result = run_fleet(data, config_of(data), tmp_path / "run", callbacks=callbacks, report=True)
    assert heard == list(result.rounds)
    assert result.final.global_accuracy is not None
    assert result.final.global_accuracy > 0.8
    assert (tmp_path / "run" / "report.html").is_file()
    again = run_fleet(two_clouds(3), config_of(data), tmp_path / "run", callbacks=callbacks)
    assert again == result
    assert len(heard) == 2


def test_a_stopped_run_goes_on(tmp_path: Path) -> None:
    data = two_clouds(3)
    heard: list[int] = []

    def stop_once(result: RoundResult) -> None:
        heard.append(result.round)
        if heard == [1]:
            raise KeyboardInterrupt

    callbacks = [RoundFunction(stop_once)]
    with pytest.raises(KeyboardInterrupt):
        run_fleet(data, config_of(data), tmp_path / "run", callbacks=callbacks)
    stopped = run_fleet(data, config_of(data), tmp_path / "run", callbacks=callbacks)
    assert heard == [1, 2]
    whole = run_fleet(data, config_of(data), tmp_path / "whole")
    assert stopped.rounds == whole.rounds
    assert stopped.students == whole.students


def test_a_folder_of_another_run_is_not_touched_unless_forced(tmp_path: Path) -> None:
    data, folder = two_clouds(2), tmp_path / "run"
    first = run_fleet(data, config_of(data, rounds=1), folder)
    other = two_clouds(2, seed=1)
    for changed, rounds in [(other, 1), (data, 2)]:
        with pytest.raises(FolderError, match="force=True"):
            run_fleet(changed, config_of(changed, rounds=rounds), folder)
    replaced = run_fleet(other, config_of(other, rounds=1), folder, force=True)
    assert replaced.rounds != first.rounds
    config = config_of(other, rounds=1)
    engine = dataclasses.replace(config.simulation.engine, processes=2)
    many = dataclasses.replace(config, simulation=dataclasses.replace(config.simulation, engine=engine))
    assert run_fleet(other, many, folder) == replaced


def test_a_folder_of_other_files_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    data = two_clouds(2)
    with pytest.raises(FolderError, match="no run's"):
        run_fleet(data, config_of(data), tmp_path, force=True)
    assert (tmp_path / "letter.txt").read_text() == "dear"

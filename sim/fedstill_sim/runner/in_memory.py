"""Runs of data that a program holds in memory, in place of data that a command names."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path

import numpy as np

from fedstill_sim.callbacks.interface import Callback
from fedstill_sim.config import EngineConfig, RunConfig, read_config, write_config
from fedstill_sim.data.fleet import DeviceRows, FleetData, load_fleet
from fedstill_sim.folder import CONFIG_FILE, DATA_FOLDER, FolderError, clear_folder
from fedstill_sim.progress import RunProgress, SilentProgress
from fedstill_sim.results.run_result import RunResult
from fedstill_sim.runner.run import continue_run, keep_data


def run_fleet(
    data: FleetData,
    config: RunConfig,
    folder: Path,
    *,
    callbacks: Sequence[Callback] = (),
    progress: RunProgress | None = None,
    report: bool = False,
    force: bool = False,
    executor: Executor | None = None,
) -> RunResult:
    """Run a fleet whose data is in memory; the same call with the same folder goes on where it was stopped.

    Args:
        data: The fleet's examples; they are written to <folder>/data.
        config: What to do with them, resolved.
        folder: The run's folder: a new or empty one, or one that this very run was started in.
        callbacks: Told of the run's rounds.
        progress: Told of phases and of all rounds, those of baselines included; by default nothing is shown.
        report: Whether report.html is written.
        force: Replace another run that the folder holds.
        executor: As for `continue_run`.

    Returns:
        What is in <folder>/result.json.

    Raises:
        FolderError: The folder holds something else.
    """
    if not _holds(folder, data, config):
        _make_room(folder, force=force)
        write_config(config, folder)
    if not (folder / DATA_FOLDER).exists():
        keep_data(folder, data)
    return continue_run(
        folder, progress or SilentProgress(), report=report, callbacks=callbacks, executor=executor
    )


def _holds(folder: Path, data: FleetData, config: RunConfig) -> bool:
    """Whether the folder is that of this run; the engine's processes are no matter of the result."""
    if not (folder / CONFIG_FILE).is_file() or _of_any_size(read_config(folder)) != _of_any_size(config):
        return False
    return not (folder / DATA_FOLDER).exists() or _same(load_fleet(folder / DATA_FOLDER), data)


def _of_any_size(config: RunConfig) -> RunConfig:
    asked = config.simulation.engine
    engine = EngineConfig(name=asked.name, device=asked.device)
    return dataclasses.replace(config, simulation=dataclasses.replace(config.simulation, engine=engine))


def _make_room(folder: Path, *, force: bool) -> None:
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not (folder / CONFIG_FILE).is_file():
        raise FolderError(f"{folder} holds files that are no run's; name a new or empty folder")
    if not force:
        raise FolderError(
            f"{folder} holds a run of other data or another configuration; name another folder, or replace "
            "the run with force=True"
        )
    clear_folder(folder)


def _same(kept: FleetData, data: FleetData) -> bool:
    return all(
        _equal(getattr(kept, field.name), getattr(data, field.name))
        for field in dataclasses.fields(FleetData)
    )


def _equal(kept: object, given: object) -> bool:
    if isinstance(kept, DeviceRows) and isinstance(given, DeviceRows):
        return np.array_equal(kept.rows, given.rows) and np.array_equal(kept.offsets, given.offsets)
    if isinstance(kept, np.ndarray) and isinstance(given, np.ndarray):
        return np.array_equal(kept, given)
    if isinstance(kept, Sequence) and isinstance(given, Sequence) and not isinstance(kept, str | tuple):
        return kept == given  # names and families, whatever holds them
    if isinstance(given, Sequence) and isinstance(kept, tuple) and not isinstance(given, str | tuple):
        return given == kept
    return type(kept) is type(given) and kept == given

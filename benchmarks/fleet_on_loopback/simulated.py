"""The same fleet in the simulator: the devices' own examples, the run's own configuration, no network."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from fedstill_client.store import PrivateStore
from fedstill_proto.system.sealed import write_sealed_json
from fedstill_server.app import app
from fedstill_server.rounds.round_record import RoundRecord
from fedstill_server.rounds.run_store import RunStore
from fedstill_server.run_folder import CONFIG_FILE, FOLDER_KEY, read_fleet_config
from fedstill_server.state import FleetState
from fedstill_sim.data.fleet import DeviceRows, FleetData, save_fleet
from fedstill_sim.engine.cohort import CohortEngine
from fedstill_sim.engine.grid import InProcessGrid
from fedstill_sim.runner.artifacts import prepare_artifacts
from fedstill_sim.runner.installed import packages_installed

from benchmarks.fleet_on_loopback.fleet import Fleet

_STACK_SIZE = 2  # unlike a device's


def simulate(fleet: Fleet, folder: Path) -> tuple[FleetState, list[RoundRecord]]:
    """Run all rounds of a real fleet in `folder` by the cohort engine."""
    data = _as_stored(fleet)
    save_fleet(data, folder / "data")
    config = read_fleet_config(fleet.folder)
    config = dataclasses.replace(config, public_set="data/public.npz", test_set=None)
    write_sealed_json(folder / CONFIG_FILE, {"fleet": config.to_json()})
    sizes = dict.fromkeys(config.families, _STACK_SIZE)
    prepare_artifacts(folder, config, devices=data.devices, stack_sizes=sizes)
    with packages_installed(folder), CohortEngine(folder, stack_sizes=sizes, processes=0) as engine:
        grid = InProcessGrid(devices=data.devices, handlers=engine.handlers)
        app(grid, grid.context(run_config={FOLDER_KEY: str(folder)}))
    return last_rounds(folder)


def last_rounds(folder: Path) -> tuple[FleetState, list[RoundRecord]]:
    """Read the last state of a run, and its rounds."""
    store = RunStore(folder)
    try:
        last = store.latest()
        assert last is not None
        return last.state, store.records()
    finally:
        store.close()


def _as_stored(fleet: Fleet) -> FleetData:
    """Read the examples that each device trains on, and those that it holds out."""
    parts, examples, labels, first = ("training", "held-out"), [], [], 0
    rows: dict[str, list[np.ndarray]] = {part: [] for part in parts}
    for agent in fleet.agents.values():
        with PrivateStore.open(agent.home) as store:
            for part in parts:
                stored = store.examples(part)  # type: ignore[arg-type]
                rows[part].append(np.arange(first, first + len(stored.labels)))
                examples.append(stored.x)
                labels.append(stored.labels)
                first += len(stored.labels)
    return dataclasses.replace(
        fleet.data,
        x=np.concatenate(examples),
        y=np.concatenate(labels),
        train=DeviceRows.of(rows["training"]),
        test=DeviceRows.of(rows["held-out"]),
    )

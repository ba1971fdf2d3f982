"""What a run will cost, from two small runs of its kind in a folder that is thrown away."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from fedstill_proto.arrays import IntArray

from fedstill_sim.config import RunConfig, requested_data, resolve, write_config
from fedstill_sim.costs.estimate import START, CostEstimate, estimated
from fedstill_sim.costs.observed import Observations
from fedstill_sim.data.columns.families import FamilyColumn
from fedstill_sim.data.fleet import DeviceRows, FleetData
from fedstill_sim.engine.groups import worthwhile_processes
from fedstill_sim.progress import RunProgress, SilentProgress
from fedstill_sim.request import RunRequest
from fedstill_sim.runner.beside import processes_beside
from fedstill_sim.runner.footprint import FleetShape, Footprint, check_footprint, footprint_of, student_widths
from fedstill_sim.runner.run import continue_run, keep_data
from fedstill_sim.workers.pool import usable_cores

MOST_DEVICES = 96  # of a measured fleet
_DEVICES_A_STACK = 16
_ROUNDS = 2  # of a measured run: in the first, devices get more
_SMALLER = 3  # times as few devices has the first of the two


def calibrated(request: RunRequest, folder: Path, progress: RunProgress) -> CostEstimate:
    """Estimate what a run will cost on this machine; what its kind takes is measured once.

    Args:
        request: The run, which is not started.
        folder: Its folder, which stays as it is; its disk is looked at.
        progress: Told what is measured.

    Raises:
        ConfigError: The request cannot be met.
        FootprintError: The run takes more memory or disk than there is.
    """
    began = time.monotonic()
    progress.phase("reading the data")
    data = requested_data(request)
    reading = time.monotonic() - began
    config = resolve(request, data)
    footprint = _footprint(config, data)
    check_footprint(footprint, folder)
    known = Observations(config.simulation.command)
    most = min(data.devices, MOST_DEVICES)
    if not any(one.devices >= most for one in known.read()):
        fewest = len(set(data.families.names))
        for devices in sorted({max(fewest, most // _SMALLER), most}):
            progress.phase(f"measuring {_ROUNDS} rounds of {devices} devices")
            _measure(request, first_devices(data, devices))
    estimate = estimated(
        known.read(),
        devices=data.devices,
        rounds=config.fleet.rounds,
        baselines=config.simulation.baselines,
        beside=processes_beside(config, data),
    )
    assert estimate is not None  # what was measured is kept
    return dataclasses.replace(
        estimate,
        seconds=_in_order({**estimate.seconds, "data": reading}),
        peak_memory_bytes=footprint.memory_bytes,
        disk_bytes=footprint.disk_bytes,
    )


def _footprint(config: RunConfig, data: FleetData) -> Footprint:
    """What a run takes of memory and disk, as `run` itself reckons before its first round."""
    engine, stacks = config.simulation.engine, data.devices // _DEVICES_A_STACK
    small = worthwhile_processes(stacks) or min(usable_cores(), 1 + stacks)
    return footprint_of(
        config,
        FleetShape.of(data, student_widths(config)),
        processes=small if engine.processes is None else engine.processes,
    )


def _in_order(seconds: Mapping[str, float]) -> dict[str, float]:
    """The phases in the order in which they come."""
    order = (START, "data", "teacher and first students", "artifacts", "preparation", "rounds")
    return {name: seconds[name] for name in (*order, *seconds) if name in seconds}


def _measure(request: RunRequest, data: FleetData) -> None:
    """Run the first rounds of a small fleet, which notes what they took."""
    config = resolve(dataclasses.replace(request, rounds=_ROUNDS), data)
    with tempfile.TemporaryDirectory(prefix="fedstill-dry-run-") as folder:
        write_config(config, Path(folder))
        keep_data(Path(folder), data)
        continue_run(Path(folder), SilentProgress(), report=False)


def first_devices(data: FleetData, devices: int) -> FleetData:
    """Return a fleet of some devices, evenly spaced; a device more of each family that these leave out."""
    if devices >= data.devices:
        return data
    chosen = np.linspace(0, data.devices - 1, devices).round().astype(np.int64)
    codes, first = np.unique(data.families.codes, return_index=True)
    kept = np.union1d(chosen, first[~np.isin(codes, data.families.codes[chosen])])
    names = data.families.names
    return dataclasses.replace(
        data,
        device_names=tuple(data.device_names[device] for device in kept.tolist()),
        families=FamilyColumn.of([names[code] for code in data.families.codes[kept].tolist()]),
        train=_of(data.train, kept),
        test=_of(data.test, kept),
    )


def _of(rows: DeviceRows, devices: IntArray) -> DeviceRows:
    return DeviceRows.of([rows.rows[rows.offsets[d] : rows.offsets[d + 1]] for d in devices.tolist()])

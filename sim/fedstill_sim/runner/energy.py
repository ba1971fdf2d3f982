"""What a run has cost its devices' batteries: counted from what each did, in columns beside the result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import IntArray
from fedstill_server.rounds.round_record import RoundRecord

from fedstill_sim.config import RunConfig
from fedstill_sim.data.fleet import FleetData
from fedstill_sim.energy.coefficients import PHASES, receiving_j, sending_j
from fedstill_sim.results.run_result import EnergyResult
from fedstill_sim.runner.in_time import WORK_FILE, VirtualFleet
from fedstill_sim.traces.columns import DAY_S, Floats

ENERGY_FILE = "energy.npz"
# Of a fleet without a trace: WiFi, as fast as LTE's median (Huang et al. 2012).
_DOWN_MBPS, _UP_MBPS = 13.0, 6.0


def run_energy(
    folder: Path,
    config: RunConfig,
    data: FleetData,
    *,
    stack_sizes: dict[str, int],
    records: list[RoundRecord],
    counted: npt.NDArray[np.int32],
) -> EnergyResult:
    """Count the joules of a run, and write each device's into ENERGY_FILE.

    Args:
        folder: The run.
        config: Its configuration.
        data: Its data.
        stack_sizes: Of its artifacts, by family.
        records: Its rounds.
        counted: How often each device's answer counted [devices].

    Returns:
        The sums. Where time passes by a trace, every task is counted: of devices that were interrupted, too.
        Otherwise those whose answers counted are.
    """
    tasks, worked, answers = _counts(folder, counted.astype(np.int64))
    joules = _joules(config, VirtualFleet(folder, config, data, stack_sizes), records, tasks, worked, answers)
    columns: dict[str, Any] = {"tasks": tasks, "answers": answers, **joules}
    np.savez(folder / ENERGY_FILE, **columns)
    whole = np.sum(list(joules.values()), axis=0)
    days = (records[-1].clock_s or 0.0) / DAY_S if records else 0.0
    share = config.simulation.energy.battery_share(whole)
    return EnergyResult(
        joules={phase: float(values.sum()) for phase, values in joules.items()},
        joules_per_task=float(whole.sum()) / max(int(tasks.sum()), 1),
        tasks=int(tasks.sum()),
        joules_per_gflop=config.simulation.energy.joules_per_gflop,
        battery_wh=config.simulation.energy.battery_wh,
        battery_share=float(share.mean()),
        busiest_battery_share=float(share.max()),
        days=days or None,
        file=ENERGY_FILE,
    )


def _counts(folder: Path, counted: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """(tasks, those that were worked, those that were answered) by device."""
    path = folder / WORK_FILE
    if not path.exists():
        return counted, counted, counted
    with np.load(path, allow_pickle=False) as kept:
        return kept["tasks"], kept["worked"], kept["answers"]


def _joules(
    config: RunConfig,
    fleet: VirtualFleet,
    records: list[RoundRecord],
    tasks: IntArray,
    worked: IntArray,
    answers: IntArray,
) -> dict[str, Floats]:
    """Joules by phase [devices]."""
    rule, work = config.simulation.energy, fleet.work()
    devices = len(tasks)
    down = sum(record.downlink_bytes for record in records) / max(sum(record.asked for record in records), 1)
    replies = sum(record.replied + record.overdue for record in records)
    up = sum(record.uplink_bytes for record in records) / max(replies, 1)
    down_mbps, up_mbps = np.full(devices, _DOWN_MBPS), np.full(devices, _UP_MBPS)
    network = np.zeros(devices, np.uint8)
    if config.simulation.trace is not None:
        trace = config.simulation.trace.trace(devices, seed=config.fleet.seed)
        down_mbps, up_mbps, network = trace.down_mbps, trace.up_mbps, trace.network
    values = (
        rule.computing_j(work.training * worked),
        rule.computing_j(work.answering * worked),
        receiving_j(np.asarray(down * tasks, np.float64), down_mbps, network, tasks.astype(np.float64)),
        sending_j(np.asarray(up * answers, np.float64), up_mbps, network, answers.astype(np.float64)),
    )
    return dict(zip(PHASES, values, strict=True))

"""Which devices of a run are measured, and which keep their students."""

from __future__ import annotations

from fedstill_proto.arrays import IntArray

from fedstill_sim.config import RunConfig, goes_on
from fedstill_sim.data.columns.samples import sampled_devices
from fedstill_sim.data.fleet import FleetData


def measured_devices(config: RunConfig, data: FleetData) -> IntArray:
    """The devices [n] that are measured, rising: the same in each round, and under each baseline."""
    return sampled_devices(data.families, most=config.simulation.evaluate_devices, seed=config.fleet.seed)


def keeping_devices(config: RunConfig, data: FleetData) -> IntArray | None:
    """The devices [n] that keep their students when a round is over, rising; None is all of them.

    Those that are measured need theirs until that is done, whatever is kept of the run.
    """
    if config.simulation.keep_students == "all" or goes_on(config.fleet):
        return None
    measured = measured_devices(config, data)
    return None if len(measured) == data.devices else measured

"""Which devices of a fleet are measured, or keep their students, where not all of them do."""

from __future__ import annotations

import numpy as np
from fedstill_proto.arrays import IntArray
from fedstill_server.config.codec import ConfigError
from fedstill_server.randomness import generator

from fedstill_sim.data.columns.families import FamilyColumn

MOST_MEASURED = 10_000
"""Devices that are measured where nobody says how many."""


def measured_number(asked: str | None) -> int | None:
    """How many devices somebody asks to be measured; None is all.

    Raises:
        ConfigError: It is no number of devices.
    """
    if asked is None:
        return MOST_MEASURED
    if asked.strip() == "all":
        return None
    if not asked.strip().isdecimal() or int(asked) < 1:
        raise ConfigError(f"--evaluate-devices: {asked!r} is not all, and not a number of at least 1")
    return int(asked)


def sampled_devices(families: FamilyColumn, *, most: int | None, seed: int) -> IntArray:
    """Draw devices of a fleet without replacement, of each family its share to the nearest device.

    Args:
        families: The family of each device.
        most: How many are drawn; None, or as many as there are, is all.
        seed: The run's; the same draws the same devices, whatever the round.

    Returns:
        The devices [n], rising.
    """
    devices = len(families)
    if most is None or most >= devices:
        return np.arange(devices)
    counts = np.bincount(families.codes, minlength=len(families.names))
    exact = counts * (most / devices)
    wanted = np.floor(exact).astype(np.int64)
    # The largest remainders are rounded up, so that all shares are `most` together.
    last = np.argsort(-(exact - wanted), kind="stable")[: most - int(wanted.sum())]
    wanted[last] += 1
    random = generator(seed, 0, "measured devices")
    drawn = [
        random.choice(np.flatnonzero(families.codes == code), int(number), replace=False, shuffle=False)
        for code, number in enumerate(wanted)
        if number
    ]
    return np.sort(np.concatenate(drawn)).astype(np.int64)

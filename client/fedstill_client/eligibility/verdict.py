"""The verdict on a moment of a device, in words that name the reading and the rule."""

from __future__ import annotations

import time
from pathlib import Path

from fedstill_client.eligibility.conditions import Conditions, LoadMeter
from fedstill_client.eligibility.rules import Rules

_CHECK_EVERY_S = 1.0


def verdict(rules: Rules, now: Conditions) -> str | None:
    """Why the device may not work now; None when it may. What cannot be read is not held against it."""
    if rules.external_power and now.external_power is False:
        return "the device runs on its battery"
    if now.battery_percent is not None and now.battery_percent < rules.min_battery_percent:
        return f"the battery is at {now.battery_percent:.0f} %, the rule is {rules.min_battery_percent:.0f} %"
    if rules.unmetered_network and now.metered:
        return "the network is metered"
    if now.other_load > rules.max_other_load:
        return (
            f"other programs keep {now.other_load:.0%} of the processors busy, "
            f"the rule is {rules.max_other_load:.0%}"
        )
    if now.free_memory_mb < rules.min_free_memory_mb:
        return (
            f"{now.free_memory_mb:.0f} MB of memory are free, the rule is {rules.min_free_memory_mb:.0f} MB"
        )
    if now.free_disk_mb < rules.min_free_disk_mb:
        return f"{now.free_disk_mb:.0f} MB of disk are free, the rule is {rules.min_free_disk_mb:.0f} MB"
    if rules.max_temperature_c and (now.temperature_c or 0) > rules.max_temperature_c:
        return f"the processor is at {now.temperature_c:.0f} °C, the rule is {rules.max_temperature_c:.0f} °C"
    return None


class Eligibility:
    """Asks the system again and again; call it as often as you like, it looks once a second."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._load = LoadMeter()
        self._checked_at = time.monotonic() - _CHECK_EVERY_S
        self._reason: str | None = None

    def __call__(self) -> str | None:
        """Why the device may not work now; None when it may."""
        if time.monotonic() - self._checked_at >= _CHECK_EVERY_S:
            now = Conditions.read(self._folder, load=self._load)
            self._reason = verdict(Rules.read(self._folder), now)
            self._checked_at = time.monotonic()
        return self._reason

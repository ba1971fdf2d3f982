"""The verdict on a moment of a device, in words that name the reading and the rule."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from fedstill_client.eligibility.conditions import Conditions, LoadMeter
from fedstill_client.eligibility.rules import Rules

_CHECK_EVERY_S = 1.0


@dataclass(frozen=True)
class Reading:
    """A rule, what it allows, what was read, and why that keeps the device from working, if it does."""

    rule: str
    allowed: str
    found: str
    refusal: str | None = None


def readings(rules: Rules, now: Conditions) -> list[Reading]:
    """Each rule with its reading. What cannot be read is not held against the device."""
    power = {True: "on external power", False: "the device runs on its battery", None: "there is no battery"}
    found = power[now.external_power]
    on_battery = rules.external_power and now.external_power is False
    listed = [Reading("external_power", _asked(rules.external_power), found, found if on_battery else None)]

    percent, least = now.battery_percent, rules.min_battery_percent
    found = "there is no battery" if percent is None else f"the battery is at {percent:.0f} %"
    low = percent is not None and percent < least
    refusal = f"{found}, the rule is {least:.0f} %" if low else None
    listed.append(Reading("min_battery_percent", f"{least:.0f} % at the least", found, refusal))

    metered = {True: "the network is metered", False: "the network is not metered", None: "not known"}
    found = metered[now.metered]
    costly = rules.unmetered_network and now.metered
    listed.append(
        Reading("unmetered_network", _asked(rules.unmetered_network), found, found if costly else None)
    )

    found = f"other programs keep {now.other_load:.0%} of the processors busy"
    busy = now.other_load > rules.max_other_load
    refusal = f"{found}, the rule is {rules.max_other_load:.0%}" if busy else None
    listed.append(Reading("max_other_load", f"{rules.max_other_load:.0%} at most", found, refusal))

    for rule, of, free_mb, least in (
        ("min_free_memory_mb", "memory", now.free_memory_mb, rules.min_free_memory_mb),
        ("min_free_disk_mb", "disk", now.free_disk_mb, rules.min_free_disk_mb),
    ):
        found = f"{free_mb:.0f} MB of {of} are free"
        refusal = f"{found}, the rule is {least:.0f} MB" if free_mb < least else None
        listed.append(Reading(rule, f"{least:.0f} MB at the least", found, refusal))

    degrees, most = now.temperature_c, rules.max_temperature_c
    found = "there is no sensor" if degrees is None else f"the processor is at {degrees:.0f} °C"
    hot = bool(most) and (degrees or 0) > most
    allowed = f"{most:.0f} °C at most" if most else "any"
    listed.append(
        Reading("max_temperature_c", allowed, found, f"{found}, the rule is {most:.0f} °C" if hot else None)
    )
    return listed


def verdict(rules: Rules, now: Conditions) -> str | None:
    """Why the device may not work now; None when it may. What cannot be read is not held against it."""
    return next((one.refusal for one in readings(rules, now) if one.refusal is not None), None)


def _asked(rule: bool) -> str:
    return "asked for" if rule else "not asked for"


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

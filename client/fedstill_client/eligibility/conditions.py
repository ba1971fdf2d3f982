"""What the device is like now, read from the system: psutil, and /sys where psutil says nothing.

None stands for what cannot be read: a board without a battery, a container without sensors.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import psutil

SYSTEM = Path("/")
# Interfaces of mobile networks: point-to-point links and wireless wide area networks.
_METERED_NAMES = ("ppp", "wwan", "rmnet", "wwp")
_NMCLI_TIMEOUT_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """A moment of a device."""

    external_power: bool | None
    battery_percent: float | None
    metered: bool | None
    other_load: float  # share of all processors that other programs keep busy
    free_memory_mb: float
    free_disk_mb: float
    temperature_c: float | None

    @classmethod
    def read(cls, folder: Path, *, load: LoadMeter, system: Path = SYSTEM) -> Conditions:
        """The device whose files are in `folder`; `system` is the root that /sys and /proc are read under."""
        power, percent = _power(system)
        return cls(
            external_power=power,
            battery_percent=percent,
            metered=_metered(system),
            other_load=load.other_load(),
            free_memory_mb=psutil.virtual_memory().available / 2**20,
            free_disk_mb=shutil.disk_usage(folder).free / 2**20,
            temperature_c=_temperature(system),
        )


class LoadMeter:
    """What other programs do between two looks: all busy processor time without this process's own."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._last = self._look()

    def other_load(self) -> float:
        """Share of all processors since the last look, 0 to 1."""
        busy, total, own = self._look()
        busy_before, total_before, own_before = self._last
        passed = total - total_before
        if passed <= 0:
            return 0.0
        self._last = busy, total, own
        return min(max((busy - busy_before - (own - own_before)) / passed, 0.0), 1.0)

    def _look(self) -> tuple[float, float, float]:
        """Seconds of all processors: busy, in all, and this process's own with its children."""
        times, own = psutil.cpu_times(), self._process.cpu_times()
        # The time of guests is in `user` already.
        total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        idle = times.idle + getattr(times, "iowait", 0.0)
        return total - idle, total, own.user + own.system


def _power(system: Path) -> tuple[bool | None, float | None]:
    """Whether the device is on external power, and how full its battery is."""
    online: list[bool] = []
    charging: list[bool] = []
    percents: list[float] = []
    for supply in sorted((system / "sys/class/power_supply").glob("*")):
        kind = _text(supply / "type")
        if kind == "Battery" and _text(supply / "scope") != "Device":  # not that of a mouse
            charging.append(_text(supply / "status") in ("Charging", "Full", "Not charging"))
            percent = _number(supply / "capacity")
            percents += [] if percent is None else [percent]
        elif kind in ("Mains", "USB", "Wireless"):
            online.append(_text(supply / "online") == "1")
    if not charging:
        return None, None  # no battery: it could not run without power
    return any(online) or all(charging), min(percents, default=None)


def _metered(system: Path) -> bool | None:
    """Whether the interface of the default route costs by the byte; NetworkManager knows best."""
    interface = _default_interface(system / "proc/net/route")
    if interface is None:
        return None
    if interface.startswith(_METERED_NAMES):
        return True
    return _asked_of_network_manager(interface) if system == SYSTEM else None


def _default_interface(routes: Path) -> str | None:
    for line in (_text(routes) or "").splitlines()[1:]:
        columns = line.split()
        if len(columns) > 7 and columns[1] == "00000000" and columns[7] == "00000000":
            return columns[0]
    return None


def _asked_of_network_manager(interface: str) -> bool | None:
    command = shutil.which("nmcli")
    if command is None:
        return None
    try:
        done = subprocess.run(
            [command, "-g", "GENERAL.METERED", "device", "show", interface],
            capture_output=True,
            text=True,
            timeout=_NMCLI_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    word = done.stdout.strip().partition(" ")[0]
    return {"yes": True, "no": False}.get(word)


def _temperature(system: Path) -> float | None:
    """The hottest thermal zone."""
    zones = (system / "sys/class/thermal").glob("thermal_zone*/temp")
    degrees = [value / 1000 for zone in zones if (value := _number(zone)) is not None]
    return max(degrees, default=None)


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None


def _number(file: Path) -> float | None:
    try:
        return float(_text(file) or "")
    except ValueError:
        return None

"""1,000 hostile messages a second from one device for a minute: rounds, memory and disk, before and during.

A real fleet on loopback, with nginx, Flower's SuperLink and ServerApp, and honest agents; then one more
registered device floods the server (see fleet_on_loopback/flooder.py). Prints the rounds that went on, and
the most memory and disk that the server's processes took, beside what they take in peace.

The verdict: rounds go on with every honest device's answer, the ServerApp grows by less than 100 MB, and the
disk by less than 100 MB.

    python benchmarks/flood.py
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parent.parent))  # it is started by its file's name

from benchmarks.fleet_on_loopback.fleet import Fleet, Shape, bring_up, read_port
from benchmarks.fleet_on_loopback.processes import LOOPBACK, wait_until

_MB = 1_000_000
_GROWTH_LIMIT_MB = 100.0
_BEGINS_WITHIN_S = 120.0
_EVERY_S = 0.5


@dataclass
class Taken:
    """The most that the server took, in MB."""

    serverapp_mb: float = 0.0
    superlink_mb: float = 0.0
    proxy_mb: float = 0.0
    proxy_disk_mb: float = 0.0
    superlink_disk_mb: float = 0.0

    def look(self, fleet: Fleet) -> None:
        """Measure once more."""
        now = {
            "serverapp_mb": _memory_mb(fleet, 1),
            "superlink_mb": _memory_mb(fleet, 0),
            "proxy_mb": _memory_mb(fleet, 2),
            "proxy_disk_mb": _disk_mb(fleet.folder / "nginx"),
            "superlink_disk_mb": sum(
                file.stat().st_size for file in fleet.folder.glob("superlink.db*") if file.exists()
            )
            / _MB,
        }
        for name, value in now.items():
            setattr(self, name, max(getattr(self, name), value))


def watch(fleet: Fleet, seconds: float) -> tuple[Taken, dict[str, Any]]:
    """Measure for so long; returns what was taken, and the rounds that ended meanwhile."""
    taken, before, end = Taken(), len(fleet.records()), time.monotonic() + seconds
    while time.monotonic() < end:
        taken.look(fleet)
        time.sleep(_EVERY_S)
    ended = fleet.records()[before:]
    return taken, {
        "rounds": len(ended),
        "accepted": [record.accepted for record in ended],
        "seconds_a_round": round(sum(record.seconds for record in ended) / max(len(ended), 1), 1),
    }


def flood(fleet: Fleet, *, rate: float, seconds: float) -> tuple[Taken, dict[str, Any]]:
    """Let the last device flood the server, and measure meanwhile."""
    home, port = list(fleet.agents.values())[-1].home, read_port(fleet.folder / "enrolment")
    command = [sys.executable, "-m", "benchmarks.fleet_on_loopback.flooder", str(home.folder)]
    command += [f"{LOOPBACK}:{port}", "--rate", str(rate), "--seconds", str(seconds)]
    log = fleet.folder.parent / "flooder.log"
    with (
        log.open("w") as output,
        subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, cwd=Path(__file__).parent.parent
        ) as process,
    ):
        try:
            wait_until(lambda: "begins" in log.read_text(), seconds=_BEGINS_WITHIN_S, what="the flood")
            taken, rounds = watch(fleet, seconds)
            process.wait(60)
        finally:
            process.kill()
    said = [line for line in log.read_text().splitlines() if line.startswith('{"event": "ended"')]
    assert said, log.read_text()[-2000:]
    document: dict[str, Any] = json.loads(said[-1])
    return taken, rounds | {name: value for name, value in document.items() if name != "event"}


def examine(*, honest: int, rate: float, seconds: float) -> dict[str, Any]:
    """Bring a fleet up, watch it in peace, then flooded."""
    shape = Shape(
        devices=honest + 1, rounds=1000, families=("mlp-small",), goal_count=honest, deadline_s=20.0
    )
    with tempfile.TemporaryDirectory(prefix="fs") as folder, bring_up(Path(folder) / "real", shape) as fleet:
        for agent in list(fleet.agents.values())[:-1]:
            agent.start()
        fleet.server.wait_for("round", seconds=240.0)
        peace, quiet = watch(fleet, seconds / 2)
        taken, flooded = flood(fleet, rate=rate, seconds=seconds)
    growth = {
        "serverapp_mb": taken.serverapp_mb - peace.serverapp_mb,
        "proxy_disk_mb": taken.proxy_disk_mb - peace.proxy_disk_mb,
        "superlink_disk_mb": taken.superlink_disk_mb - peace.superlink_disk_mb,
    }
    messages = sum(flooded["statuses"].values())
    wrong = [f"{name} grew by {value:.0f}" for name, value in growth.items() if value > _GROWTH_LIMIT_MB]
    if flooded["rounds"] == 0 or min(flooded["accepted"]) < honest:
        wrong.append(f"rounds: {flooded['accepted']} answers counted of {honest}")
    if messages < 0.8 * rate * seconds:
        wrong.append(f"only {messages / seconds:.0f} hostile messages a second were answered")
    return {
        "honest_devices": honest,
        "messages_a_second": messages / seconds,
        "in_peace": vars(peace) | quiet,
        "flooded": vars(taken) | flooded,
        "wrong": wrong,
        "holds": not wrong,
    }


def as_text(result: dict[str, Any]) -> str:
    """Return the result in a few lines."""
    peace, flooded = result["in_peace"], result["flooded"]
    lines = [
        f"{result['messages_a_second']:.0f} hostile messages a second answered, by status: "
        f"{flooded['statuses']}",
        f"{flooded['sent_bytes'] / _MB:.0f} MB sent, {flooded['huge_bytes_taken'] / _MB:.0f} MB of replies "
        f"of 300 MiB taken, {flooded['keyless_bytes'] / _MB:.0f} MB sent under nobody's key",
        f"{'':24}{'in peace':>12}{'flooded':>12}",
        *(
            f"{label:24}{peace[name]:12.1f}{flooded[name]:12.1f}"
            for label, name in (
                ("rounds ended", "rounds"),
                ("seconds a round", "seconds_a_round"),
                ("ServerApp, MB", "serverapp_mb"),
                ("SuperLink, MB", "superlink_mb"),
                ("nginx, MB", "proxy_mb"),
                ("nginx's disk, MB", "proxy_disk_mb"),
                ("SuperLink's disk, MB", "superlink_disk_mb"),
            )
        ),
        f"answers counted in each round meanwhile: {flooded['accepted']} of {result['honest_devices']}",
        *(f"WRONG {problem}" for problem in result["wrong"]),
        "verdict: " + ("holds" if result["holds"] else "DOES NOT HOLD"),
    ]
    return "\n".join(lines)


def _memory_mb(fleet: Fleet, child: int) -> float:
    """The largest resident memory of a child of the server and of those below it, in MB."""
    entries = json.loads((fleet.folder / "logs" / "children.json").read_text())
    if child >= len(entries):
        return 0.0
    sizes = [0]
    with contextlib.suppress(psutil.NoSuchProcess):
        own = psutil.Process(entries[child]["pid"])
        for process in (own, *own.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                sizes.append(process.memory_info().rss)
    return max(sizes) / _MB


def _disk_mb(folder: Path) -> float:
    total = 0
    for file in folder.rglob("*"):
        with contextlib.suppress(OSError):
            total += file.stat().st_size
    return total / _MB


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--honest", type=int, default=3, help="honest devices")
    parser.add_argument("--rate", type=float, default=1000.0, help="hostile messages a second")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args(arguments)
    result = examine(honest=options.honest, rate=options.rate, seconds=options.seconds)
    print(json.dumps(result, indent=1) if options.json else as_text(result))
    return 0 if result["holds"] else 1


if __name__ == "__main__":
    sys.exit(main())

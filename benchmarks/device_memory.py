"""Memory of a device in all its processes: while it waits for a round, while apps ask, and while it learns.

A fleet of one device on loopback, over TLS, with rounds one after the other; the device is `fedstill-agent
run`. The proportional set sizes (PSS) of its processes are added every 50 ms. "waiting" is the median over
the seconds before any app asked, "asked" the same after one has, "learning" the peak from then to the end of
the rounds; with --no-apps the device answers no app. The verdict: waiting 120 MB at most, learning 200.

    python benchmarks/device_memory.py [--no-apps]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parent.parent))  # it is started by its file's name

from fedstill_client import AgentClient
from fedstill_client.fleet.connection import Standing, read_connection

from benchmarks.fleet_on_loopback.fleet import Fleet, Shape, bring_up
from benchmarks.fleet_on_loopback.processes import Agent, end_afterwards, wait_until

WAITING_LIMIT_MB, LEARNING_LIMIT_MB = 120.0, 200.0  # of 10^6 bytes
_EVERY_S, _WATCHED_S = 0.05, 8.0
_ROUNDS = 3


def pss_mb(pid: int) -> dict[str, float]:
    """Read the PSS of a process and all below it, by what each runs, in megabytes (10^6 bytes)."""
    found: dict[str, float] = {}
    with contextlib.suppress(psutil.NoSuchProcess):
        own = psutil.Process(pid)
        for process in (own, *own.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess, OSError):
                lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
                kilobytes = next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
                name = next((word for word in process.cmdline() if word.startswith("fedstill_")), "run")
                found[name] = found.get(name, 0.0) + kilobytes * 1024 / 1e6
    return found


@contextlib.contextmanager
def watched(pid: int) -> Iterator[list[dict[str, float]]]:
    """Look at a process tree's memory until the block ends."""
    looks: list[dict[str, float]] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_EVERY_S):
            looks.append(pss_mb(pid))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield looks
    finally:
        ended.set()
        thread.join()


def middle(looks: list[dict[str, float]]) -> dict[str, float]:
    """The look whose sum is the median."""
    return sorted(looks, key=lambda look: sum(look.values()))[len(looks) // 2]


def measure(fleet: Fleet, agent: Agent, *, apps: bool) -> dict[str, dict[str, float]]:
    """Start the device, and watch it; the server is stopped meanwhile, and goes on for the rounds."""

    def lets_in() -> bool:
        found = read_connection(agent.home)
        return found is not None and found.standing is Standing.CONNECTED

    superlink = psutil.Process(fleet.superlink_pid)
    agent.start()
    with watched(agent.pid) as looks:
        wait_until(lets_in, seconds=60, what="the device's connection")
        server = psutil.Process(fleet.server.pid)
        rounds = [child for child in server.children(recursive=True) if child.pid != superlink.pid]
        for process in rounds:
            process.suspend()  # no round begins
        time.sleep(_WATCHED_S)
        figures = {"waiting": middle(looks[-int(_WATCHED_S / 2 / _EVERY_S) :])}
        if apps:
            with AgentClient(agent.home.folder) as client:
                status = client.status()
                client.predict(np.zeros((2, *status.input_shape), np.float32))
            del looks[:]
            time.sleep(_WATCHED_S / 2)
            figures["asked"] = middle(looks)
        del looks[:]
        for process in rounds:
            process.resume()
        fleet.server.wait_for("round", count=_ROUNDS, seconds=240)
        figures["learning"] = max(looks, key=lambda look: sum(look.values()))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--no-apps", action="store_true", help="the device answers no app")
    parser.add_argument("--family", default="mlp-small")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    options = ("--no-apps",) if given.no_apps else ()
    shape = Shape(devices=1, rounds=_ROUNDS, families=(given.family,), epochs=20, proxy=False)
    with tempfile.TemporaryDirectory(prefix="fs") as folder, bring_up(Path(folder), shape) as fleet:
        agent = Agent(next(iter(fleet.agents.values())).home, *options)
        with end_afterwards(agent):
            figures = measure(fleet, agent, apps=not given.no_apps)
    sums = {name: sum(look.values()) for name, look in figures.items()}
    waiting = max(sums["waiting"], sums.get("asked", 0.0))
    verdicts = {
        "waiting": waiting <= WAITING_LIMIT_MB,
        "learning": sums["learning"] <= LEARNING_LIMIT_MB,
    }
    if given.json:
        print(json.dumps({"pss_mb": figures, "sums_mb": sums, "verdicts": verdicts}))
    else:
        for name, look in figures.items():
            parts = ", ".join(f"{part} {size:.0f}" for part, size in look.items())
            print(f"{name}: {sums[name]:.0f} MB PSS in {len(look)} processes ({parts})")
        print(f"waiting at most {WAITING_LIMIT_MB:.0f}, learning {LEARNING_LIMIT_MB:.0f}: {verdicts}")
    sys.exit(0 if all(verdicts.values()) else 1)


if __name__ == "__main__":
    main()

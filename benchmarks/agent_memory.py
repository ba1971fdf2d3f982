"""Memory of the agent while it serves and while it personalizes, for a student of 25,000 parameters.

Starts `fedstill-agent serve` on a real home and reads the service's proportional set size (PSS: its own
pages, and its share of those that it shares with others) from /proc/PID/smaps_rollup every 20 ms, while an
app predicts and observes, and then while the service learns. Peaks are printed, the resident set beside them,
which counts shared pages in full.

    python benchmarks/agent_memory.py --json
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from device_homes import make_home, sample
from fedstill_client import AgentClient
from fedstill_client.agent_types import PersonalizeOptions
from fedstill_client.home import AgentHome
from fedstill_client.service.endpoint import is_listening
from rich.console import Console
from rich.table import Table

SERVING_LIMIT_MB, PERSONALIZING_LIMIT_MB = 150.0, 200.0  # of 10^6 bytes
FAMILY, INPUTS = "mlp-small", 384  # 25,290 parameters
_EVERY_SECONDS = 0.02
_LEARNING_SECONDS = 3.0


@dataclass
class Peak:
    """The largest memory seen, in megabytes (10^6 bytes)."""

    pss_mb: float = 0.0
    rss_mb: float = 0.0

    def take(self, process: int) -> None:
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name in ("Pss", "Rss"):
                field = f"{name.lower()}_mb"
                setattr(self, field, max(getattr(self, field), int(rest.split()[0]) * 1024 / 1e6))


@contextmanager
def peak_while(process: int) -> Iterator[Peak]:
    """Watch another process's memory until the block ends."""
    peak, done = Peak(), threading.Event()

    def watch() -> None:
        while not done.wait(_EVERY_SECONDS):
            peak.take(process)

    peak.take(process)
    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


@contextmanager
def service(home: AgentHome, *options: str) -> Iterator[int]:
    """Run a home's service until the block ends; yields its process id."""
    command = [sys.executable, "-m", "fedstill_client.cli", "serve", "--home", str(home.folder), *options]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        while not is_listening(home.socket):
            if process.poll() is not None:
                raise SystemExit(f"the service ended with {process.returncode}: {' '.join(command)}")
            time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def measure(home: AgentHome, *, inputs: int, predictions: int) -> dict[str, object]:
    x, labels = sample(256, inputs, seed=7)
    with service(home) as process, AgentClient(home.folder, timeout_seconds=60) as agent:
        with peak_while(process) as serving:
            for row in range(predictions):
                agent.predict(x[row % 256 : row % 256 + 1])
            agent.predict(x)
            for row in range(50):
                agent.observe(x[row : row + 1], labels[row : row + 1])
        with peak_while(process) as personalizing:
            started, learned = time.monotonic(), agent.personalize(PersonalizeOptions(epochs=30, seed=0))
            seed = 1
            # Long enough for its peak to be seen: one learning may be over before the second look.
            while time.monotonic() - started < _LEARNING_SECONDS:
                learned = agent.personalize(PersonalizeOptions(epochs=30, seed=seed))
                seed += 1
        status = agent.status()
    return {
        "family": status.family,
        "parameters": status.parameters,
        "serving": vars(serving),
        "personalizing": vars(personalizing),
        "learning": {"result": learned.result, "steps": learned.steps, "seconds": learned.seconds},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--family", default=FAMILY)
    parser.add_argument("--inputs", type=int, default=INPUTS, help="numbers in an example")
    parser.add_argument("--predictions", type=int, default=2000)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fs") as folder:
        home = make_home(Path(folder) / "h", family=given.family, inputs=given.inputs)
        report = measure(home, inputs=given.inputs, predictions=given.predictions)
    verdicts = {
        "serving": report["serving"]["pss_mb"] <= SERVING_LIMIT_MB,
        "personalizing": report["personalizing"]["pss_mb"] <= PERSONALIZING_LIMIT_MB,
    }
    report["verdicts"] = verdicts
    if given.json:
        print(json.dumps(report))
    else:
        _print(report)
    sys.exit(0 if all(verdicts.values()) else 1)


def _print(report: dict[str, object]) -> None:
    table = Table("agent", "PSS, MB", "resident, MB", "limit, MB (PSS)", "holds", box=None)
    limits = {"serving": SERVING_LIMIT_MB, "personalizing": PERSONALIZING_LIMIT_MB}
    for part, limit in limits.items():
        peak = report[part]
        holds = "yes" if report["verdicts"][part] else "NO"
        table.add_row(part, f"{peak['pss_mb']:.1f}", f"{peak['rss_mb']:.1f}", f"{limit:.0f}", holds)
    Console().print(f"{report['family']}, {report['parameters']} parameters, learning: {report['learning']}")
    Console().print(table)


if __name__ == "__main__":
    main()

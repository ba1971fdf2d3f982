"""A device at work, for each student family: how fast it answers and learns, and what it takes.

Each family is put into a home as a device has it (example of 64 numbers, 10 classes, as the digits students),
and measured on one thread:

  predict     one example, in microseconds, median and 99th percentile: the bare student (predictor), the
              agent in its own process, and the agent's service through its socket
  learning    steps a second of the training graph, and of a whole personalization with its judging
  package     bytes on disk
  memory      peak PSS of the service over all of this (see agent_memory.py)

The verdict: batch-1 predict p99 under 1 ms in process and under 3 ms through the socket.

    python benchmarks/device.py --json --output device.json
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from agent_memory import service, watched
from device_homes import CLASSES, make_home, sample
from fedstill_client import AgentClient
from fedstill_client.agent import Agent
from fedstill_client.agent_values import LearningWishes
from fedstill_client.home import AgentHome
from fedstill_client.packages.install import load_installed
from fedstill_client.predictor import Predictor
from fedstill_client.store import PrivateStore
from fedstill_proto.artifact import StudentPackage
from rich.console import Console
from rich.table import Table

INPUTS = 64
IN_PROCESS_LIMIT_MS, SOCKET_LIMIT_MS = 1.0, 3.0  # of the 99th percentile
_WARM_UP = 100
Figures = dict[str, Any]


def latency(answer: Callable[[np.ndarray], object], calls: int) -> Figures:
    """Median and 99th percentile of one example's answer, in microseconds."""
    x, _ = sample(256, INPUTS, seed=7)
    taken = np.zeros(calls)
    for call in range(-_WARM_UP, calls):
        row = x[call % 256][None]
        started = time.perf_counter_ns()
        answer(row)
        if call >= 0:
            taken[call] = (time.perf_counter_ns() - started) / 1e3
    p50, p99 = np.percentile(taken, (50, 99))
    return {"p50_us": float(p50), "p99_us": float(p99), "calls": calls}


def measure(home: AgentHome, family: str, *, calls: int) -> Figures:
    with PrivateStore.open(home) as store:
        package = load_installed(home, store)
    figures: Figures = {
        "family": family,
        "parameters": package.manifest.parameter_count,
        "package_bytes": sum(part.size_bytes for part in package.manifest.parts),
        "parts_bytes": {part.name: part.size_bytes for part in package.manifest.parts},
        "predictor": latency(Predictor(package, threads=1).predict, calls),
    }
    with Agent.open(home.folder) as agent:
        figures["agent"] = latency(agent.predict, calls)
    with service(home) as process, AgentClient(home.folder) as client, watched(process) as peak:
        figures["socket"] = latency(client.predict, calls)
        learned = client.personalize(LearningWishes(epochs=30))
    figures["learning"] = {
        "result": learned.result,
        "steps": learned.steps,
        "steps_a_second": learned.steps / max(learned.seconds, 1e-9),
        "training_steps_a_second": training_rate(package),
    }
    figures["peak_pss_mb"] = peak.pss_mb
    figures["verdicts"] = {
        "in process": max(figures[part]["p99_us"] for part in ("predictor", "agent"))
        < 1e3 * IN_PROCESS_LIMIT_MS,
        "socket": figures["socket"]["p99_us"] < 1e3 * SOCKET_LIMIT_MS,
    }
    return figures


def training_rate(package: StudentPackage, *, epochs: int = 40) -> float:
    """Steps a second of the training graph, with its batches, without any judging."""
    from fedstill_client.batches import plan_batches
    from fedstill_client.order import device_ids
    from fedstill_client.personalizer import Personalizer
    from fedstill_client.private_stack import PrivateStack
    from fedstill_proto.messages import RoundTask, SummaryKind, SummaryRequest, TrainingPlan

    manifest = package.manifest
    plan = TrainingPlan(epochs, min(16, manifest.step_rows), 0.002, manifest.optimizer, 2.0, 0.0, 0)
    task = RoundTask("benchmark", 1, manifest.family, plan, SummaryRequest(SummaryKind.NONE))
    private = PrivateStack.of_one(*sample(240, INPUTS))
    steps = plan_batches(private, device_ids(["benchmark"]), task, manifest=manifest)
    personalizer = Personalizer(package.artifact, threads=1)
    personalizer.train(package.parameters, steps)  # warm
    started = time.perf_counter()
    personalizer.train(package.parameters, steps)
    return steps.steps / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--families", nargs="+", default=["mlp-small", "mlp-wide", "cnn", "cnn-norm"])
    parser.add_argument("--calls", type=int, default=3000, help="answers timed for each figure")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--output", type=Path, help="write the figures there, too")
    given = parser.parse_args()
    report = []
    for family in given.families:
        with tempfile.TemporaryDirectory(prefix="fs") as folder:
            home = make_home(Path(folder) / "h", family=family, inputs=INPUTS)
            report.append(measure(home, family, calls=given.calls))
    text = json.dumps({"inputs": INPUTS, "classes": CLASSES, "families": report}, indent=1)
    if given.output is not None:
        given.output.write_text(text + "\n")
    if given.json:
        print(text)
    else:
        _print(report)
    sys.exit(0 if all(all(figures["verdicts"].values()) for figures in report) else 1)


def _print(report: list[Figures]) -> None:
    columns = ("family", "parameters", "predictor", "agent", "socket", "steps/s", "learning steps/s")
    table = Table(*columns, "package KB", "PSS MB", "bars", box=None, title="predict: p50 / p99 in µs")
    for figures in report:
        learning = figures["learning"]
        times = [
            f"{figures[part]['p50_us']:.0f} / {figures[part]['p99_us']:.0f}"
            for part in ("predictor", "agent", "socket")
        ]
        table.add_row(
            figures["family"],
            str(figures["parameters"]),
            *times,
            f"{learning['training_steps_a_second']:.0f}",
            f"{learning['steps_a_second']:.0f}",
            f"{figures['package_bytes'] / 1e3:.0f}",
            f"{figures['peak_pss_mb']:.1f}",
            "hold" if all(figures["verdicts"].values()) else "MISSED",
        )
    Console(width=140).print(table)


if __name__ == "__main__":
    main()

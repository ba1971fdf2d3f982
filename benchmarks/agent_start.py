"""What a command of fedstill-agent costs before and beside its answer, in seconds of processor.

    python benchmarks/agent_start.py

Each command is a process of its own, as a person or a script starts it: its time in user mode and in the
system, the least of several runs. `predict` answers 25 examples of a small student: from a student folder,
from an agent's home, and with the service that runs there. What is refused, a wrong name or path, is timed
beside them. The bar is 0.4 s for each; the exit code is 1 where one misses it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from device_homes import make_home, sample
from fedstill_client.home import AgentHome
from fedstill_client.packages.install import load_installed
from fedstill_client.store import PrivateStore
from fedstill_proto.package.artifact import save_student
from rich.console import Console
from rich.table import Table

BAR_S = 0.4
_INPUTS, _ANSWERED = 64, 25
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def processor_seconds(command: list[str], *, runs: int, returns: int) -> float:
    """Measure the least user and system time of a command, which must end with this exit code."""
    least = float("inf")
    for _ in range(runs):
        child = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, **_ONE_THREAD}
        )
        assert child.stderr is not None
        said = child.stderr.read()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != returns:
            raise SystemExit(f"{' '.join(command)} ended with {child.returncode}: {said.decode()[:400]}")
        least = min(least, usage.ru_utime + usage.ru_stime)
    return least


@contextmanager
def service(home: AgentHome) -> Iterator[None]:
    """Run the agent's service of a home until the block ends, as `fedstill-agent serve` does."""
    process = subprocess.Popen([*AGENT, "serve", "--home", str(home.folder)], stderr=subprocess.DEVNULL)
    try:
        ends = time.monotonic() + 60
        while not home.socket.exists():
            if time.monotonic() > ends or process.poll() is not None:
                raise SystemExit("the agent's service did not start")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait()


AGENT = [sys.executable, "-m", "fedstill_client.cli"]


def processor_figures(folder: Path, *, runs: int) -> dict[str, float]:
    """Measure the processor seconds of each command."""
    home = make_home(folder / "home", family="mlp-small", inputs=_INPUTS, examples=50)
    with PrivateStore.open(home) as store:
        package = load_installed(home, store)
    save_student(folder / "student", package.manifest, package.inference_graph, package.parameters)
    np.savez(folder / "x.npz", x=sample(_ANSWERED, _INPUTS)[0])

    def seconds(*arguments: object, returns: int = 0) -> float:
        return processor_seconds([*AGENT, *map(str, arguments)], runs=runs, returns=returns)

    examples = ("--input", folder / "x.npz")
    figures = {
        "--help": seconds("--help"),
        "predict --help": seconds("predict", "--help"),
        "--version": seconds("--version"),
        "predict --student": seconds("predict", "--student", folder / "student", *examples),
        "predict --home": seconds("predict", "--home", home.folder, *examples),
        "a wrong command": seconds("predcit", returns=2),
        "a wrong option": seconds("predict", "--inptu", "x.npz", returns=2),
        "a wrong path": seconds("predict", "--student", folder / "studnet", *examples, returns=2),
        "a wrong name": seconds("serve", "--precision", "int9", returns=2),
    }
    with service(home):
        figures["predict --home, service runs"] = seconds("predict", "--home", home.folder, *examples)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=5, help="processes for each command")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = processor_figures(Path(folder), runs=arguments.runs)
    missed = [name for name, seconds in figures.items() if seconds > BAR_S]
    if arguments.json:
        print(json.dumps({"bar_s": BAR_S, "seconds": figures, "missed": missed}))
    else:
        table = Table("command", "processor s", f"bar {BAR_S} s")
        for name, seconds in figures.items():
            table.add_row(name, f"{seconds:.2f}", "missed" if name in missed else "met")
        Console().print(table)
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()

"""What `pip install .` puts on a device: a clean virtual environment without any extra, measured.

Makes the environment in a temporary folder, installs this checkout into it as a device would, and looks at
what is there: megabytes on disk, the largest packages, and the seconds and memory that an app's import of
fedstill_client takes, and the agent's and a round's. The verdict holds only if neither torch nor onnx nor
anything else of the server's is there, and `fedstill-agent --help` works.

    python benchmarks/install_size.py --json

With --thin it is the locked install of requirements/device.txt, and a fleet of two such devices on loopback
does two whole rounds; the verdict is at most 220 MB beside what an empty environment has.

    python benchmarks/install_size.py --thin
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

CHECKOUT = Path(__file__).resolve().parents[1]
ABSENT = ("torch", "onnx", "onnxscript", "sklearn", "matplotlib", "ray", "pandas", "scipy")
IMPORTS = {
    "an app (AgentClient)": "from fedstill_client import AgentClient",
    "the agent": "from fedstill_client.agent.agent import Agent",
    "a round (ClientApp)": "from fedstill_client.app import app",
}
_OWN_VARIABLES = ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
THIN_LIMIT_MB = 220.0  # of 10^6 bytes, beside an empty environment
_RUNS = 5
_MEASURED = """
import json, resource, time
started = time.perf_counter()
{statement}
seconds = time.perf_counter() - started
peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
print(json.dumps({{"seconds": seconds, "peak_mb": peak_mb}}))
"""
_PACKAGES = """
import json
from importlib import metadata
sizes = {}
for found in metadata.distributions():
    files = [found.locate_file(file) for file in found.files or ()]
    sizes[found.metadata["Name"]] = sum(file.stat().st_size for file in files if file.is_file())
print(json.dumps(sizes))
"""
_ABSENT = (
    "import importlib.util, json; print(json.dumps([n for n in {names} if importlib.util.find_spec(n)]))"
)


class Installed:
    """An environment that this checkout is installed in."""

    def __init__(self, folder: Path, *, thin: bool = False) -> None:
        self.folder = folder
        venv.create(folder, with_pip=True)
        before = _size_mb(folder)
        install = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        if thin:
            install += ("--no-deps", "--no-compile", "-r", str(CHECKOUT / "requirements" / "device.txt"))
        self._run(*install, str(CHECKOUT))
        self.size_mb, self.pip_mb = _size_mb(folder), before

    def measure(self) -> dict[str, Any]:
        packages = json.loads(self._run("-c", _PACKAGES))
        unwanted = json.loads(self._run("-c", _ABSENT.format(names=ABSENT)))
        helped = self._run("-m", "fedstill_client.cli", "--help")
        return {
            "environment_mb": self.size_mb,
            "of_which_pip_mb": self.pip_mb,  # an empty environment
            "packages": len(packages),
            "largest_mb": self.largest_mb(),
            "imports": {name: self._imported(statement) for name, statement in IMPORTS.items()},
            "unwanted": unwanted,
            "verdicts": {"no server's packages": not unwanted, "the command works": "observe" in helped},
        }

    def largest_mb(self) -> dict[str, float]:
        """Return the megabytes of the ten largest packages."""
        packages = json.loads(self._run("-c", _PACKAGES))
        largest = sorted(packages.items(), key=lambda item: -item[1])
        return {name: size / 1e6 for name, size in largest[:10]}

    def _imported(self, statement: str) -> dict[str, float]:
        """Measure medians; the first run, which writes byte code, does not count."""
        program = _MEASURED.format(statement=statement)
        runs = [json.loads(self._run("-c", program)) for _ in range(_RUNS + 1)][1:]
        return {name: statistics.median(run[name] for run in runs) for name in runs[0]}

    def _run(self, *arguments: str) -> str:
        # Nothing of the environment that this runs in: what is measured stands alone.
        kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        python = str(self.folder / "bin" / "python")
        done = subprocess.run([python, *arguments], capture_output=True, text=True, cwd="/", env=kept)
        if done.returncode:
            raise SystemExit(f"{' '.join(arguments)[:200]} failed:\n{done.stderr[-2000:]}")
        return done.stdout


def _size_mb(folder: Path) -> float:
    """Measure a folder's size on disk in megabytes (10^6 bytes); a file with two names counts once."""
    blocks = {entry.lstat().st_ino: entry.lstat().st_blocks for entry in folder.rglob("*")}
    return sum(blocks.values()) * 512 / 1e6


def thin_figures(folder: Path) -> dict[str, Any]:
    """Make the thin install, and have a fleet of two devices do two rounds with its programs."""
    sys.path.insert(0, str(CHECKOUT))
    from benchmarks.fleet_on_loopback.fleet import Shape, bring_up
    from benchmarks.fleet_on_loopback.processes import Agent, end_afterwards

    installed = Installed(folder / "venv", thin=True)
    (folder / "run").mkdir()
    shape = Shape(devices=2, rounds=2, families=("mlp-small",), proxy=False)
    with bring_up(folder / "run", shape) as fleet:
        programs = installed.folder / "bin"
        agents = [Agent(one.home, programs=programs) for one in fleet.agents.values()]
        with end_afterwards(*agents), _nothing_of_this_environment():
            for agent in agents:
                agent.start()
            fleet.server.wait_for("round", count=shape.rounds, seconds=300)
        accepted = [record.accepted for record in fleet.records()]
    return {
        "environment_mb": installed.size_mb,
        "of_which_pip_mb": installed.pip_mb,
        "with_byte_code_mb": _size_mb(installed.folder),  # of what has run by now
        "largest_mb": installed.largest_mb(),
        "accepted": accepted,
        "verdicts": {
            "at most 220 MB": installed.size_mb - installed.pip_mb <= THIN_LIMIT_MB,
            "whole rounds": accepted == [2, 2],
        },
    }


@contextlib.contextmanager
def _nothing_of_this_environment() -> Iterator[None]:
    """Start processes that find no package by the variables of the one that measures."""
    kept = {name: os.environ.pop(name) for name in _OWN_VARIABLES if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(kept)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--thin", action="store_true", help="the locked install of a device")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fs") as folder:
        report = thin_figures(Path(folder)) if given.thin else Installed(Path(folder) / "venv").measure()
    if given.json or given.thin:
        print(json.dumps(report, indent=1))
    else:
        _print(report)
    sys.exit(0 if all(report["verdicts"].values()) else 1)


def _print(report: dict[str, Any]) -> None:
    console = Console(highlight=False)
    size, pip = report["environment_mb"], report["of_which_pip_mb"]
    console.print(f"environment: {size:.0f} MB on disk, of which an empty one with pip is {pip:.0f} MB")
    console.print(f"{report['packages']} packages; the largest:")
    largest = Table("package", "MB", box=None)
    for name, mb in report["largest_mb"].items():
        largest.add_row(name, f"{mb:.1f}")
    console.print(largest)
    imports = Table("import of", "seconds", "peak MB (resident)", box=None)
    for name, figures in report["imports"].items():
        imports.add_row(name, f"{figures['seconds']:.2f}", f"{figures['peak_mb']:.0f}")
    console.print(imports)
    unwanted = ", ".join(report["unwanted"]) or "none"
    console.print(f"packages of the server's that are there: {unwanted}")
    console.print("PASSED" if all(report["verdicts"].values()) else "FAILED")


if __name__ == "__main__":
    main()

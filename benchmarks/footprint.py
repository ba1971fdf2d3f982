"""What a very large fleet takes: seconds, memory, disk and the size of its report, beside the estimate of it.

    python benchmarks/footprint.py --devices 1000000 --cohort 2000 --rounds 3

Each round asks `--cohort` devices, so that what grows with the fleet is seen apart from their training.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from fedstill_sim.config import read_config
from fedstill_sim.data.fleet import load_fleet
from fedstill_sim.folder import DATA_FOLDER
from fedstill_sim.results.readable import readable_bytes, readable_seconds
from fedstill_sim.results.run_result import RESULT_FILE, read_result
from fedstill_sim.runner.footprint import FleetShape, footprint_of, student_widths

_RUN = "import sys; from fedstill_sim.cli import app; app(sys.argv[1:])"


def run(devices: int, *, cohort: int, rounds: int, folder: Path) -> float:
    """Make a run in a process of its own; returns its seconds of processor."""
    words = ["run", "digits", "--devices", str(devices), "--examples-per-device", "16", "--quiet"]
    words += ["--families", "mlp-small", "--goal-count", str(cohort), "--rounds", str(rounds)]
    words += ["--epochs", "1", "--baselines", "none", "--out", str(folder)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", _RUN, *words], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print a line a figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--devices", type=int, default=1_000_000)
    parser.add_argument("--cohort", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder, started = Path(temporary) / "run", time.perf_counter()
        processor = run(options.devices, cohort=options.cohort, rounds=options.rounds, folder=folder)
        took = time.perf_counter() - started
        largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
        config, result = read_config(folder), read_result(folder / RESULT_FILE)
        shape = FleetShape.of(load_fleet(folder / DATA_FOLDER), student_widths(config))
        estimate = footprint_of(config, shape, processes=result.engine.processes)
        on_disk = sum(512 * path.lstat().st_blocks for path in folder.rglob("*"))
        lines = {
            "devices": f"{options.devices:,}, {options.cohort:,} asked in each of {options.rounds} rounds",
            "accuracy": f"{100 * (result.final.personal_accuracy or 0):.1f} %, "
            + (result.final.measured_on(options.devices) or "all measured"),
            "took": f"{readable_seconds(took)}, {processor:.0f} s of processor",
            "largest process": f"{readable_bytes(largest)}, {largest / options.devices:,.0f} B a device; "
            f"estimated {readable_bytes(estimate.main_bytes)}",
            "all processes": f"{result.engine.peak_memory_mb:,.0f} MB; estimated "
            f"{readable_bytes(estimate.memory_bytes)}",
            "disk": f"{readable_bytes(on_disk)}; estimated {readable_bytes(estimate.disk_bytes)}",
            "result.json": readable_bytes((folder / RESULT_FILE).stat().st_size),
            "report.html": readable_bytes((folder / "report.html").stat().st_size),
        }
    for name, value in lines.items():
        print(f"{name:16s} {value}")


if __name__ == "__main__":
    main()

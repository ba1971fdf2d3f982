"""A million devices on this machine: seconds, processor time, busy cores, memory and bytes of a whole run.

The run is that of the public command, `fedstill-sim run`, in a process of its own, which is watched:
processor seconds of the main process and of its workers, and the most memory that all of them hold at one
time. Devices hold 16 digits each and are of one small family, unless told otherwise.

    python benchmarks/million.py --devices 1000000 --rounds 1 --method class-logits
    python benchmarks/million.py --devices 1000000 --rounds 1 --method fedstill

With `--against FOLDER`, a checkout of another commit, both do the same rounds in turns, and the ratio of the
seconds of their rounds is printed, with the digests of their consensus:

    python benchmarks/million.py --devices 1000 --rounds 2 --method fedstill --default --against ../before
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PACKAGES = ("", "proto", "server", "client", "sim")
_LOOK_EVERY_S = 0.5
_BEGUN, _DONE = (
    re.compile(r": \d+ rounds( \(about [^)]*\))?$", re.MULTILINE),
    "exporting the students",
)  # what a run tells
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True)
class Watched:
    """What a run took.

    Attributes:
        wall_s: From its start to its end.
        rounds_s: Of its rounds alone.
        phases_s: By phase of the run.
        parts_s: By part of the rounds.
        main_cpu_s: Processor seconds of the main process, before and after its rounds, too.
        worker_cpu_s: Those of its workers.
        main_share: The main process's share of all processor seconds during the rounds.
        busy: Processor seconds a second of a core during the rounds.
        peak_mb: The most memory that all processes held at one time.
        main_peak_mb: The most that the main process held.
        uplink_bytes: All answers, as they would have been sent.
        downlink_bytes: All tasks.
        digests: The consensus of each round.
    """

    wall_s: float
    rounds_s: float
    phases_s: dict[str, float]
    parts_s: dict[str, float]
    main_cpu_s: float
    worker_cpu_s: float
    main_share: float
    busy: float
    peak_mb: float
    main_peak_mb: float
    uplink_bytes: int
    downlink_bytes: int
    digests: tuple[str, ...]


class Watch:
    """Looks at a process and its children, twice a second."""

    def __init__(self, process: int, log: Path) -> None:
        self._process, self._log, self._over = process, log, threading.Event()
        self.peak_mb = self.main_peak_mb = 0.0
        self.cpu: dict[int, float] = {}  # seconds of each process so far
        self.during: list[tuple[float, float, float]] = []  # time, main, workers: during the rounds
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop looking."""
        self._over.set()
        self._thread.join()

    @property
    def worker_cpu_s(self) -> float:
        """Processor seconds of all children."""
        return sum(seconds for process, seconds in self.cpu.items() if process != self._process)

    def _is_in_rounds(self) -> bool:
        told = self._log.read_text()
        return bool(_BEGUN.search(told)) and _DONE not in told

    def _look(self) -> None:
        while not self._over.wait(_LOOK_EVERY_S):
            memory = 0.0
            for process in [self._process, *_children(self._process)]:
                seen = _seen(process)
                if seen is None:
                    continue
                self.cpu[process] = seen[0]
                memory += seen[1]
                if process == self._process:
                    self.main_peak_mb = max(self.main_peak_mb, seen[1])
            self.peak_mb = max(self.peak_mb, memory)
            if self._is_in_rounds():
                main = self.cpu.get(self._process, 0.0)
                self.during.append((time.perf_counter(), main, self.worker_cpu_s))


def _children(process: int) -> list[int]:
    try:
        threads = Path(f"/proc/{process}/task").iterdir()
        listed = " ".join((thread / "children").read_text() for thread in threads)
    except OSError:
        return []
    return [int(child) for child in listed.split()]


def _seen(process: int) -> tuple[float, float] | None:
    """Processor seconds and resident megabytes of a process that there is."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return None
    return (int(fields[11]) + int(fields[12])) / _TICKS, pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def watched(checkout: Path, command: list[str], folder: Path, *, processes: int) -> Watched:
    """Do a run with a checkout's own code."""
    paths = [str(checkout / package) for package in PACKAGES]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    environment["PYTHONUNBUFFERED"] = "1"  # what it tells is read while it runs
    program = [sys.executable, "-c", "from fedstill_sim.cli import main; main()", *command]
    began = time.perf_counter()
    told = folder.parent / f"{folder.name}.log"
    with told.open("w") as log:
        run = subprocess.Popen(
            [*program, "--out", str(folder)], env=environment, stdout=log, stderr=subprocess.STDOUT
        )
        watch = Watch(run.pid, told)
        code = run.wait()
    wall_s = time.perf_counter() - began
    watch.end()
    if code:
        sys.exit(told.read_text()[-4000:])
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    timing, rounds = result["timing"], result["rounds"]
    (first_s, first_main, first_workers), (last_s, last_main, last_workers) = (
        (watch.during[0], watch.during[-1]) if watch.during else ((0.0,) * 3, (1.0,) * 3)
    )
    main_s, workers_s = last_main - first_main, last_workers - first_workers
    return Watched(
        wall_s=wall_s,
        rounds_s=sum(timing["round_seconds"]),
        phases_s=timing["phase_seconds"],
        parts_s=timing["round_part_seconds"],
        main_cpu_s=watch.cpu.get(run.pid, 0.0),
        worker_cpu_s=watch.worker_cpu_s,
        main_share=main_s / max(main_s + workers_s, 1e-9),
        busy=(main_s + workers_s) / max((last_s - first_s) * max(processes, 1), 1e-9),
        peak_mb=watch.peak_mb,
        main_peak_mb=watch.main_peak_mb,
        uplink_bytes=sum(one["uplink_bytes"] for one in rounds),
        downlink_bytes=sum(one["downlink_bytes"] for one in rounds),
        digests=tuple(one["consensus_digest"][:12] for one in rounds),
    )


def command_of(asked: argparse.Namespace) -> list[str]:
    """The run's command line, but for its folder."""
    command = ["run", "digits", "--devices", str(asked.devices), "--rounds", str(asked.rounds)]
    command += ["--method", asked.method, "--baselines", "none", "--processes", str(asked.processes)]
    if not asked.default:
        command += ["--families", "mlp-small", "--examples-per-device", "16"]
    return command


def main() -> None:
    """Do the runs, and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--devices", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--method", default="class-logits")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--default", action="store_true", help="the data set's families and examples")
    parser.add_argument("--against", type=Path, help="a checkout of another commit")
    parser.add_argument("--turns", type=int, default=1, help="runs of each, in turns")
    parser.add_argument("--out", type=Path, help="keep the runs' folders below this one")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    here = Path(__file__).resolve().parents[1]
    checkouts = {"this": here} | ({} if asked.against is None else {"against": asked.against.resolve()})
    found: dict[str, list[Watched]] = {name: [] for name in checkouts}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) if asked.out is None else asked.out
        folder.mkdir(parents=True, exist_ok=True)
        for turn in range(asked.turns):
            for name, checkout in checkouts.items():
                own = command_of(asked) + (["--no-tradeoff"] if name == "against" else [])
                run = watched(checkout, own, folder / f"{name}-{turn}", processes=asked.processes)
                found[name].append(run)
                print(json.dumps({"checkout": name, **asdict(run)}) if asked.json else _told(name, run))
    if asked.against is not None:
        mine, theirs = (statistics.median(run.rounds_s for run in found[name]) for name in checkouts)
        same = {run.digests for runs in found.values() for run in runs}
        print(
            f"rounds: {theirs:.1f} s against {mine:.1f} s, {theirs / mine:.2f} times as fast; consensus ",
            end="",
        )
        print("the same" if len(same) == 1 else f"not the same: {sorted(same)}")


def _told(name: str, run: Watched) -> str:
    phases = ", ".join(f"{phase} {seconds:.1f}" for phase, seconds in run.phases_s.items())
    parts = ", ".join(f"{part} {seconds:.1f}" for part, seconds in run.parts_s.items())
    return (
        f"{name}: {run.wall_s:.1f} s, of which rounds {run.rounds_s:.1f} s\n"
        f"  phases (s): {phases}\n"
        f"  parts of the rounds (s): {parts}\n"
        f"  processor: main {run.main_cpu_s:.1f} s, workers {run.worker_cpu_s:.1f} s; during the "
        f"rounds main {100 * run.main_share:.1f} %, cores {100 * run.busy:.0f} % busy\n"
        f"  memory: {run.peak_mb:.0f} MB in all at one time, main {run.main_peak_mb:.0f} MB\n"
        f"  bytes: up {run.uplink_bytes:,}, down {run.downlink_bytes:,}\n"
        f"  consensus: {' '.join(run.digests)}"
    )


if __name__ == "__main__":
    main()

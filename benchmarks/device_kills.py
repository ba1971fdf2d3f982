"""kill -9 at 200 random points of what a device does: does it start again, whole, and has it lost nothing?

Each trial copies a device (a real home: signed package, private store, student, ledger, a learning under
way), lets a separate process do one operation on it, and kills that with SIGKILL. Half of the kills come by
the clock, after a random part of the time that the operation takes; the other half strike in it at a random
call that touches the disk, before or after it, so that short moments are hit as often as long ones. Then the
device is opened, and held against what the process had acknowledged, or let out, before it died:

  observe      examples in batches: no acknowledged one is lost or changed, no batch is there by half
  personalize  the old student answers or the new one; a learning goes on, to the same bits
  install      the old package or the new one is in use, verified; it can be installed afterwards
  rebase       the owner's student of before answers, or the re-based one; it can be done afterwards
  enrol        the same command given again ends it, with the same key
  swap         students in each other's place, while the agent answers: no mixture
  round        the ledger has every release of which a byte has left; the round, asked again, is the same
  forget       all is there or nothing, and then no byte of it is on the disk

    python benchmarks/device_kills.py --kills 200 --seed 0
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from fedstill_client.home import AgentHome
from fedstill_proto.errors import FedstillError
from kills.forget import Forget
from kills.install import Enrol, Install
from kills.observe import Observe
from kills.operation import Operation, Problem, Whole, Words, say
from kills.personalize import Personalize
from kills.place import Place
from kills.rebase import Rebase
from kills.rounds import Rounds
from kills.swap import Swap
from rich.console import Console
from rich.table import Table

OPERATIONS: dict[str, Operation] = {
    each.name: each
    for each in (Observe(), Personalize(), Install(), Rebase(), Enrol(), Swap(), Rounds(), Forget())
}
# Calls of C that put something on the disk, let it out, or look at what is there.
_DISK_CALLS = {"execute", "fetchall", "fsync", "write", "flush", "rename", "replace", "unlink", "remove"}
_DISK_CALLS |= {"rmdir", "mkdir", "open", "close", "symlink", "chmod", "flock"}
FAMILY, INPUTS, EXAMPLES = "mlp-small", 64, 300


@dataclass
class Tally:
    """The results of killing one operation."""

    operation: str
    seconds: float  # that it takes without a kill
    steps: int  # calls that touch the disk
    by_clock: int = 0
    by_step: int = 0
    states: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


class Trials:
    """Kills one operation again and again, each time on another copy of the device."""

    def __init__(self, operation: Operation, place: Place, scratch: Path) -> None:
        self._operation, self._place, self._scratch = operation, place, scratch
        home = place.copy(scratch / f"{operation.name}-whole")
        output, seconds, _ = self._run(home, "count")
        *lines, counted = Words.of(output).whole
        self.whole = Whole(home, Words(lines), seconds, int(counted["steps"]))
        self.tally = Tally(operation.name, self.whole.seconds, self.whole.steps)

    def kill(self, draw: random.Random, *, by_clock: bool) -> None:
        """Make a trial; by the clock, make it again where the operation had ended before the kill."""
        while True:
            home = self._place.copy(self._scratch / f"{self._operation.name}-{time.monotonic_ns()}")
            if by_clock:
                point = f"{draw.random() * self.whole.seconds:.6f} s"
                output, _, killed = self._run(home, "clock", after=float(point.split()[0]))
            else:
                point = f"step {draw.randrange(self.whole.steps)}"
                output, _, killed = self._run(home, point.split()[1])
            if killed:
                break
            shutil.rmtree(home.folder)
        self.tally.by_clock += by_clock
        self.tally.by_step += not by_clock
        try:
            state = self._operation.look(home, self._place, Words.of(output), self.whole)
            self.tally.states[state] += 1
        except (Problem, FedstillError) as problem:
            self.tally.problems.append(f"killed at {point}: {type(problem).__name__}: {problem}"[:400])
        shutil.rmtree(home.folder, ignore_errors=True)

    def _run(self, home: AgentHome, mode: str, *, after: float | None = None) -> tuple[bytes, float, bool]:
        """Let a process do the operation; return what it wrote, its seconds, and whether a kill ended it."""
        command = [sys.executable, __file__, "--work", self._operation.name, mode]
        command += [str(home.folder), str(self._place.folder)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0) as process:
            assert process.stdout is not None
            ready = process.stdout.readline()
            started = time.perf_counter()
            if after is not None:
                time.sleep(after)
                process.kill()
            output = process.stdout.read()
            code = process.wait()
        if not ready or code not in (0, -signal.SIGKILL):
            raise SystemExit(f"{self._operation.name}: the process failed with {code}, without a kill")
        return output, time.perf_counter() - started, code == -signal.SIGKILL


def work(name: str, mode: str, home: AgentHome, place: Place) -> None:
    """Run in the process that is killed. mode: "clock", "count" the steps, or the step to die at."""
    operation, steps = OPERATIONS[name], Steps(None if mode in ("clock", "count") else int(mode))
    say(ready=True)
    if mode != "clock":
        sys.setprofile(steps)
    operation.work(home, place)
    sys.setprofile(None)
    if mode == "count":
        say(steps=steps.seen)


class Steps:
    """A profiler that counts what touches the disk, before and after each call, and dies at one of them."""

    def __init__(self, last: int | None) -> None:
        self.seen, self._last = 0, last

    def __call__(self, frame: FrameType, event: str, called: Any) -> None:
        if event in ("c_call", "c_return") and getattr(called, "__name__", "") in _DISK_CALLS:
            if self.seen == self._last:
                os.kill(os.getpid(), signal.SIGKILL)
            self.seen += 1


def run(place: Place, scratch: Path, *, kills: int, seed: int, names: list[str]) -> list[Tally]:
    """Deal the kills to the operations in turn, half of them by the clock."""
    draw = random.Random(seed)
    trials = [Trials(OPERATIONS[name], place, scratch) for name in names]
    for number in range(kills):
        turn, which = divmod(number, len(trials))
        trials[which].kill(draw, by_clock=(turn + which) % 2 == 0)
    return [each.tally for each in trials]


def build(folder: Path) -> None:
    """Build the place in a process that loads torch."""
    from device_homes import package

    Place(folder).build(lambda version: package(FAMILY, INPUTS, version), examples=EXAMPLES)


def report(tallies: list[Tally], seconds: float) -> None:
    columns = ("operation", "seconds", "disk steps", "kills", "by clock", "at a step", "states found")
    table = Table(*columns, "problems", box=None)
    for tally in tallies:
        states = ", ".join(f"{state} {count}" for state, count in sorted(tally.states.items()))
        kills = tally.by_clock + tally.by_step
        row = (f"{tally.seconds:.2f}", tally.steps, kills, tally.by_clock, tally.by_step)
        table.add_row(tally.operation, *map(str, row), states, str(len(tally.problems)))
    console = Console(width=120)
    console.print(table)
    for tally in tallies:
        for problem in tally.problems:
            console.print(f"{tally.operation}: {problem}", markup=False, highlight=False)
    kills = sum(tally.by_clock + tally.by_step for tally in tallies)
    verdict = "FAILED" if any(tally.problems for tally in tallies) else "PASSED"
    console.print(f"{kills} kills in {seconds:.0f} s: {verdict}", highlight=False)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of the points")
    parser.add_argument("--operations", nargs="+", choices=OPERATIONS, default=list(OPERATIONS))
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    parser.add_argument("--work", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--build", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        name, mode, home, folder = given.work
        work(name, mode, AgentHome(Path(home)), Place(Path(folder)))
        return 0
    if given.build:
        build(given.build)
        return 0
    with tempfile.TemporaryDirectory(prefix="fs") as folder:
        place = Place(Path(folder) / "place")
        subprocess.run([sys.executable, __file__, "--build", str(place.folder)], check=True)
        started = time.perf_counter()
        tallies = run(place, Path(folder), kills=given.kills, seed=given.seed, names=given.operations)
    seconds = time.perf_counter() - started
    passed = not any(tally.problems for tally in tallies)
    if given.json:
        operations = [vars(tally) | {"states": dict(tally.states)} for tally in tallies]
        print(json.dumps({"passed": passed, "seconds": round(seconds, 1), "operations": operations}))
    else:
        report(tallies, seconds)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())

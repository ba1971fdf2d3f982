"""How long `make demo` takes, and until its first line: wall and processor seconds, cold and warm.

Each run is a process of its own. A cold one has an empty cache of graphs; a warm one has what the run before
it left. With --against, runs of another checkout (a git worktree, say) stand between this one's, so that
both meet the same load, and the ratio of the medians is printed. The verdict holds where a warm and a cold
run take at most half of the other checkout's wall seconds, and the first line is there within two seconds.

    python benchmarks/demo_time.py --runs 3 --against /tmp/before
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

CHECKOUT = Path(__file__).resolve().parents[1]
DEMO = ("run", "digits", "--devices", "10", "--rounds", "20", "--seed", "0")
PACKAGES = ("", "proto", "server", "client", "sim")
MOST_OF_BEFORE = 0.5
FIRST_LINE_S = 2.0
_COMMAND = "from fedstill_sim.cli import main; main()"


class Spent(NamedTuple):
    """The seconds of one run."""

    first_line: float
    wall: float
    processor: float


def demo(checkout: Path, cache: Path, words: Sequence[str]) -> Spent:
    """Run the demo of a checkout, and return what it took."""
    path = os.pathsep.join(str(checkout / package) for package in PACKAGES)
    environment = {**os.environ, "PYTHONPATH": path, "FEDSTILL_CACHE": str(cache)}
    with tempfile.TemporaryDirectory() as folder:
        before, began, first = _processor(), time.monotonic(), None
        process = subprocess.Popen(
            [sys.executable, "-c", _COMMAND, *words, "--out", str(Path(folder) / "demo")],
            cwd=checkout,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert process.stdout is not None
        for _ in process.stdout:
            first = first or time.monotonic() - began
        if process.wait() != 0 or first is None:
            raise SystemExit(f"{checkout}: the demo ended with exit code {process.returncode}")
        return Spent(first, time.monotonic() - began, _processor() - before)


def _processor() -> float:
    """Processor seconds of all processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measured(checkouts: Sequence[Path], runs: int, words: Sequence[str]) -> dict[str, list[list[Spent]]]:
    """Cold and warm runs of each checkout, in turn."""
    found: dict[str, list[list[Spent]]] = {kind: [[] for _ in checkouts] for kind in ("cold", "warm")}
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as caches:
            for kind, spent in found.items():
                for number, checkout in enumerate(checkouts):
                    spent[number].append(demo(checkout, Path(caches) / str(number), words))
                    print(f"{kind} {checkout}: {spent[number][-1]}", file=sys.stderr)
    return found


def main() -> int:
    """Print the medians, their ratios and the verdict."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", type=Path, help="another checkout")
    parser.add_argument("--runs", type=int, default=3, help="of each kind")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("words", nargs="*", default=DEMO, help="after --, another run than the demo")
    asked = parser.parse_args()
    checkouts = [CHECKOUT, *([asked.against.resolve()] if asked.against else [])]
    found = measured(checkouts, asked.runs, asked.words)
    document, good = {}, True
    for kind, of_each in found.items():
        medians = [Spent(*map(statistics.median, zip(*runs, strict=True))) for runs in of_each]
        own = medians[0]
        figures = own._asdict()
        text = f"{kind}: first line after {own.first_line:.1f} s, "
        text += f"{own.wall:.1f} s, processor {own.processor:.1f} s"
        good = good and own.first_line <= FIRST_LINE_S
        if asked.against:
            wall, processor = own.wall / medians[1].wall, own.processor / medians[1].processor
            figures |= {"wall_ratio": wall, "processor_ratio": processor}
            text += f"; {wall:.2f} of the other's seconds ({medians[1].wall:.1f}), "
            text += f"{processor:.2f} of its processor's"
            good = good and wall <= MOST_OF_BEFORE
        document[kind] = figures
        if not asked.json:
            print(text)
    if asked.json:
        print(json.dumps(document, indent=1))
    else:
        print("holds" if good else "does not hold")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

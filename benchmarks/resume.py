"""Does a run that is killed at a random point and resumed end like one that was not?

One run is left alone. Each try starts the same run in a process of its own, kills that process (SIGKILL, by
its id: no clean-up, no goodbye) at a random moment after its folder exists, resumes it, and compares the two
result.json, times aside. A try whose run ended before the kill is done again, killed sooner.

    python benchmarks/resume.py --tries 20 --json
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fedstill_sim.folder import CONFIG_FILE
from fedstill_sim.results.json_files import read_json
from fedstill_sim.results.run_result import RESULT_FILE, without_times

COMMAND = [sys.executable, "-c", "from fedstill_sim.cli import main; main()"]


@dataclass(frozen=True)
class Try:
    """One kill: after how many seconds, with how many rounds committed, and what differed in the end."""

    killed_after_seconds: float
    rounds_done: int  # of the run's own, not of its baselines
    differences: tuple[str, ...]  # places in result.json; none is what is asked for


@dataclass(frozen=True)
class Whole:
    """The run that nobody killed."""

    words: Sequence[str]
    result: Any
    seconds: float  # from the first sign of its folder to the end


def run_undisturbed(words: Sequence[str], folder: Path) -> Whole:
    """Make a run that nobody kills."""
    process = start_run(words, folder)
    begun = wait_for_folder(process, folder)
    wait_for_success(process)
    return Whole(words, without_times(read_json(folder / RESULT_FILE)), time.monotonic() - begun)


def kill_and_resume(whole: Whole, folder: Path, *, moment: float) -> Try | None:
    """Kill a run at a moment (0 to 1 of the whole run's time) and resume it; None if it was over by then."""
    process = start_run(whole.words, folder)
    begun = wait_for_folder(process, folder)
    time.sleep(moment * whole.seconds)
    process.kill()
    process.communicate()
    if (folder / RESULT_FILE).exists():
        return None
    seconds = time.monotonic() - begun
    rounds = rounds_done(folder)
    wait_for_success(launch(["resume", str(folder), "--no-report"]))
    found = without_times(read_json(folder / RESULT_FILE))
    return Try(seconds, rounds, tuple(differences(whole.result, found)))


def rounds_done(folder: Path) -> int:
    """Count the rounds that the server had committed."""
    names = (path.stem for path in folder.glob("server/checkpoints/round-*.safetensors"))
    return max((int(name.removeprefix("round-")) for name in names), default=0)


def differences(one: Any, other: Any, place: str = "result") -> Iterator[str]:
    """Return where two documents differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            yield from differences(one.get(key), other.get(key), f"{place}.{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, pair in enumerate(zip(one, other, strict=True)):
            yield from differences(*pair, f"{place}[{index}]")
    elif one != other:
        yield f"{place}: {one!r} became {other!r}"


def start_run(words: Sequence[str], folder: Path) -> subprocess.Popen[str]:
    """Start the run in a process of its own."""
    return launch(["run", *words, "--no-report", "--out", str(folder)])


def launch(words: Sequence[str]) -> subprocess.Popen[str]:
    """Start a command of fedstill-sim in a process of its own."""
    return subprocess.Popen(
        [*COMMAND, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    )


def wait_for_folder(process: subprocess.Popen[str], folder: Path) -> float:
    """Wait until there is something to resume, and return that time."""
    while not (folder / CONFIG_FILE).exists():
        if process.poll() is not None:
            wait_for_success(process)
        time.sleep(0.005)
    return time.monotonic()


def wait_for_success(process: subprocess.Popen[str]) -> None:
    """Wait for a command that must succeed."""
    _, errors = process.communicate()
    if process.returncode != 0:
        raise SystemExit(f"fedstill-sim ended with {process.returncode}:\n{errors}")


def benchmark(words: Sequence[str], *, tries: int, seed: int, folder: Path) -> dict[str, Any]:
    """Compare all tries with one whole run."""
    generator = random.Random(seed)
    whole = run_undisturbed(words, folder / "whole")
    done: list[Try] = []
    latest = 1.0
    while len(done) < tries:
        run = folder / "killed"
        shutil.rmtree(run, ignore_errors=True)
        one = kill_and_resume(whole, run, moment=generator.uniform(0, latest))
        if one is None:
            latest *= 0.9
            continue
        done.append(one)
        print(f"{len(done)}/{tries}: {one}", file=sys.stderr)
    return {
        "command": ["fedstill-sim", "run", *words],
        "tries": [asdict(one) for one in done],
        "same": sum(not one.differences for one in done),
        "of": tries,
        "passed": all(not one.differences for one in done),
        "whole_run_seconds": whole.seconds,
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tries", type=int, default=20)
    parser.add_argument("--method", default="public-logits")
    parser.add_argument("--devices", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--baselines", default="fedavg")
    parser.add_argument("--seed", type=int, default=0, help="of the run, and of the moments")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of a line")
    options = parser.parse_args()
    words = ["digits"]
    for name in ("method", "devices", "rounds", "processes", "baselines", "seed"):
        words += [f"--{name}", str(getattr(options, name))]
    with tempfile.TemporaryDirectory(prefix="fedstill-resume-") as folder:
        result = benchmark(words, tries=options.tries, seed=options.seed, folder=Path(folder))
    if options.json:
        print(json.dumps(result, indent=1))
    else:
        verdict = "PASSED" if result["passed"] else "FAILED"
        print(f"{verdict}: {result['same']} of {result['of']} killed runs ended as the one left alone")
    return 0 if result["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())

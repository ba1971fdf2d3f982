"""How many device updates a second: the cohort engine against Flower's simulation, JAX and a torch loop.

Users hold 32 to 64 digits each. A round is FedAvg's: every user trains one epoch (batches of 16 in stored
order, plain SGD 0.1, cross-entropy) from the global student, and the mean becomes the next one. Engines run
in processes of their own and take turns, so that what else the machine does hits all of them; the first turn
warms up. `all` adds the cohort engine on one core, and prints ratios. All must reach the same global weights,
but for the roof: the matrix products of the work alone, on one core. JAX (one core, too) is in the extra
`jax`; where it is missing, `all` says so and goes on.

    python benchmarks/simulation.py --model mlp --cohort 1000 --rounds 3 --engine all --json
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import importlib.util
import json
import multiprocessing
import os
import statistics
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from averaging.clock import Clock, Outcome
from averaging.workload import FAMILIES, Workload
from fedstill_client.model.placed import COMPUTES_ON, CPU, NoComputeDevice, check_compute_device
from fedstill_sim.engine.memory import peak_memory_mb

ENGINES = ("cohort", "loop", "flower", "jax", "roof")
ONE_CORE, ROOF = "cohort-one-core", "roof"
TURN_SECONDS = 0.5  # an engine with short rounds does several in its turn
AGREEMENT = 1e-4
BARS = {
    ("cohort", "flower"): {"mlp": 500, "cnn": 100},
    (ONE_CORE, "loop"): {"mlp": 4, "cnn": 3},
    (ONE_CORE, "jax"): {"mlp": 1.5, "cnn": 1.5},
    (ONE_CORE, ROOF): {"mlp": 0.5, "cnn": 0.3},
}


@dataclass
class Contestant:
    """An engine in its own process; turns are the seconds of each round, by turn."""

    name: str
    process: multiprocessing.process.BaseProcess
    connection: Connection
    turns: list[list[float]]

    def take_turn(self) -> None:
        """Run one round, or as many as fill the least time."""
        rounds: list[float] = []
        while not rounds or (self.name != "flower" and sum(rounds) < TURN_SECONDS):
            self._expect("ready")
            self.connection.send(True)
            rounds.append(self._receive())
        self.turns.append(rounds)

    def finish(self) -> Outcome:
        """End the engine."""
        self._expect("ready")
        self.connection.send(False)
        outcome: Outcome = self._receive()
        self.process.join()
        return outcome

    def _receive(self) -> Any:
        try:
            return self.connection.recv()
        except EOFError:
            raise SystemExit(f"{self.name}: its process ended early; what it said is above") from None

    def _expect(self, word: str) -> None:
        found = self._receive()
        if found != word:
            raise RuntimeError(f"{self.name}: expected {word!r}, got {found!r}")


def enter(name: str, work: Workload) -> Contestant:
    """Start an engine in a process of its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    if name == ONE_CORE:
        work = dataclasses.replace(work, processes=0)
    process = context.Process(target=serve, args=(name.removesuffix("-one-core"), work, theirs))
    process.start()
    theirs.close()
    return Contestant(name, process, ours, [])


def serve(engine: str, work: Workload, connection: Connection) -> None:
    """Run an engine in its own process."""
    clock = Clock(connection, rounds=work.rounds + 1)
    module = importlib.import_module(f"averaging.{engine}")
    peak = PeakMemory()
    clock.before_end = peak.look
    module.run(work, clock)
    assert clock.weights is not None
    connection.send(Outcome(clock.weights, peak.largest()))


class PeakMemory:
    """Peak memory of this process and its descendants, sampled while they live."""

    def __init__(self) -> None:
        self._seen: dict[int, float] = {}

    def look(self) -> None:
        import psutil  # type: ignore[import-untyped]

        for process in psutil.Process().children(recursive=True):
            self._seen[process.pid] = max(self._seen.get(process.pid, 0.0), peak_memory_mb(process.pid))

    def largest(self) -> list[float]:
        return [peak_memory_mb(), *sorted(self._seen.values(), reverse=True)]


def engine_figures(contestant: Contestant, outcome: Outcome, work: Workload) -> dict[str, Any]:
    """Summarize an engine's turns; the first does not count."""
    rounds = [seconds for turn in contestant.turns[1:] for seconds in turn]
    return {
        "updates_per_second": work.users / statistics.median(rounds),
        "seconds_per_round": statistics.median(rounds),
        "rounds_measured": len(rounds),
        "peak_rss_mb": {
            "this_process": outcome.memory_mb[0],
            "largest_other_process": max(outcome.memory_mb[1:], default=0.0),
            "sum": sum(outcome.memory_mb),
        },
    }


def ratios(contestants: list[Contestant]) -> dict[str, float]:
    """Compute how many times faster an engine is, as the median over turns."""
    turns = {one.name: [statistics.median(turn) for turn in one.turns[1:]] for one in contestants}
    return {
        f"{fast}/{slow}": statistics.median(b / a for a, b in zip(turns[fast], turns[slow], strict=True))
        for fast in ("cohort", ONE_CORE)
        for slow in ("loop", "flower", "jax", ROOF)
        if fast in turns and slow in turns
    }


def benchmark(work: Workload, engines: list[str]) -> dict[str, Any]:
    """Run all engines, in turns."""
    contestants = [enter(name, work) for name in engines]
    for _ in range(work.rounds + 1):
        for contestant in contestants:
            contestant.take_turn()
    outcomes = {one.name: one.finish() for one in contestants}
    first = outcomes[next((name for name in engines if name != ROOF), ROOF)].weights
    figures = {one.name: engine_figures(one, outcomes[one.name], work) for one in contestants}
    difference = {
        name: float(abs(outcome.weights - first).max())
        for name, outcome in outcomes.items()
        if name != ROOF  # it learns nothing
    }
    alone = {"engine": engines[0], **figures[engines[0]]} if len(engines) == 1 else {}
    return {
        **alone,
        "model": work.model,
        "cohort": work.users,
        "rounds": work.rounds,
        "cores": os.cpu_count(),
        "engines": figures,
        "ratios": ratios(contestants),
        "max_abs_weight_difference": difference,
        "engines_agree": max(difference.values(), default=0.0) <= AGREEMENT,
    }


def as_table(result: dict[str, Any]) -> str:
    """Return the result as a small table."""
    lines = [f"{result['model']}, {result['cohort']} users a round"]
    for name, figures in result["engines"].items():
        memory = figures["peak_rss_mb"]
        lines.append(
            f"  {name:16s}{figures['updates_per_second']:9,.0f} updates/s   peak memory: "
            f"{memory['this_process']:.0f} MB, largest worker {memory['largest_other_process']:.0f} MB, "
            f"all {memory['sum']:.0f} MB"
        )
    bars = {f"{fast}/{slow}": bar[result["model"]] for (fast, slow), bar in BARS.items()}
    for pair, ratio in result["ratios"].items():
        asked = f"   (asked for: {bars[pair]})" if pair in bars else ""
        lines.append(f"  {pair:24s}{ratio:8.2f} times{asked}")
    worst = max(result["max_abs_weight_difference"].values(), default=0.0)
    verdict = "agree" if result["engines_agree"] else "DISAGREE"
    lines.append(f"  engines {verdict}: weights differ by at most {worst:.1e}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=sorted(FAMILIES), default="mlp")
    parser.add_argument("--cohort", type=int, default=1000, help="users that train in a round")
    parser.add_argument("--rounds", type=int, default=3, help="measured turns, after one that warms up")
    parser.add_argument("--engine", choices=[*ENGINES, "all"], default="all")
    parser.add_argument(
        "--processes", type=int, help="of the cohort engine: one a core unless said, 0 is inline"
    )
    parser.add_argument("--threads", type=int, default=1, help="of torch in the loop engine")
    parser.add_argument("--device", choices=COMPUTES_ON, default=CPU, help="of the cohort engine")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of a table")
    options = parser.parse_args()
    if options.cohort < 1 or options.rounds < 1:
        parser.error("--cohort and --rounds must be at least 1")
    # Every engine's processes use one thread each unless they set more themselves.
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    try:
        check_compute_device(options.device)
    except NoComputeDevice as error:
        parser.error(str(error))
    work = Workload(
        options.model,
        options.cohort,
        options.rounds,
        options.seed,
        options.processes,
        options.threads,
        options.device,
    )
    engines = ["cohort", ONE_CORE, *ENGINES[1:]] if options.engine == "all" else [options.engine]
    if "jax" in engines and importlib.util.find_spec("jax") is None:
        reason = "jax is not installed: pip install 'fedstill[jax]'"
        if options.engine == "jax":
            parser.error(reason)
        print(f"{reason}; without it", file=sys.stderr)
        engines.remove("jax")
    result = benchmark(work, engines)
    print(json.dumps(result, indent=1) if options.json else as_table(result))
    return 0 if result["engines_agree"] else 1


if __name__ == "__main__":
    sys.exit(main())

"""Several methods over several seeds: one run folder each, then what they say together."""

from __future__ import annotations

import dataclasses
import datetime
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedstill_server.config_json import from_json, to_json

from fedstill_sim.compare_report import REPORT_FILE, write_comparison_report
from fedstill_sim.comparison import (
    COMPARISON_FILE,
    Comparison,
    ComparisonTiming,
    compared,
    read_comparison,
    write_comparison,
)
from fedstill_sim.folder import CONFIG_FILE, claim_folder
from fedstill_sim.progress import RunProgress
from fedstill_sim.request import RequestError, RunRequest, check_names, method_names, option_words
from fedstill_sim.result import RESULT_FILE, RunResult, read_json, read_result, write_json
from fedstill_sim.run import continue_run, start_run

_COMPARISON = "comparison"  # the key of config.json that tells a comparison from a run
_SECONDS_FILE = "seconds.json"


@dataclass(frozen=True, kw_only=True)
class CompareRequest:
    """Which methods, how many seeds, and the run that each of them makes."""

    methods: tuple[str, ...]
    seeds: int
    run: RunRequest

    def __post_init__(self) -> None:
        check_names("--methods", self.methods, method_names())
        if len(self.methods) < 2:
            raise RequestError(
                "--methods: name at least two to compare; for a single one there is `fedstill-sim run`"
            )

    def command(self) -> str:
        """The command line that asks for this, without --out."""
        words = option_words(self.run, skip=("method", "seed", "baselines", "tradeoff"))
        words += ["--methods", ",".join(self.methods), "--seeds", str(self.seeds)]
        return shlex.join(["fedstill-sim", "compare", *words, "--out", "DIR"])

    def runs(self) -> list[RunRequest]:
        """Seed by seed, so that what a stopped comparison has is balanced."""
        return [
            dataclasses.replace(self.run, method=method, seed=seed, baselines=(), tradeoff=False)
            for seed in range(self.seeds)
            for method in self.methods
        ]


def start_comparison(request: CompareRequest, folder: Path, *, force: bool) -> None:
    """Claim the folder and write down what is to be compared."""
    claim_folder(folder, force=force)
    write_json(folder / CONFIG_FILE, {_COMPARISON: {"command": request.command(), **to_json(request)}})


def is_comparison(folder: Path) -> bool:
    """Whether config.json describes a comparison (and not a run)."""
    path = folder / CONFIG_FILE
    return path.is_file() and _COMPARISON in read_json(path)


def continue_comparison(folder: Path, progress: RunProgress, *, report: bool) -> Comparison:
    """Make every run that is not finished, then compare.json and the report."""
    if (folder / COMPARISON_FILE).exists():
        comparison = read_comparison(folder / COMPARISON_FILE)
    else:
        comparison = _compare(folder, progress)
    if report:
        progress.phase("writing the report")
        write_comparison_report(comparison, folder / REPORT_FILE)
    return comparison


def _compare(folder: Path, progress: RunProgress) -> Comparison:
    config = read_json(folder / CONFIG_FILE)
    request = _read_request(config[_COMPARISON], where=f"{folder / CONFIG_FILE}: {_COMPARISON}")
    results: dict[str, list[RunResult]] = {method: [] for method in request.methods}
    for run in request.runs():
        results[run.method].append(
            _finished(run, folder / "runs" / f"{run.method}-seed{run.seed}", folder, progress)
        )
    comparison = compared(results, config=config, timing=_timing(folder, results))
    write_comparison(comparison, folder / COMPARISON_FILE)
    return comparison


def _finished(request: RunRequest, run_folder: Path, folder: Path, progress: RunProgress) -> RunResult:
    if (run_folder / RESULT_FILE).exists():
        return read_result(run_folder / RESULT_FILE)
    began = time.monotonic()
    progress.phase(f"{request.method}, seed {request.seed}")
    if not (run_folder / CONFIG_FILE).exists():
        start_run(request, run_folder, force=False)
    result = continue_run(run_folder, progress, report=False, label=f"{request.method} seed {request.seed}")
    _add_seconds(folder, time.monotonic() - began)
    return result


def _timing(folder: Path, results: dict[str, list[RunResult]]) -> ComparisonTiming:
    return ComparisonTiming(
        finished=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        total_seconds=_seconds(folder),
        rounds_seconds={
            method: sum(sum(run.timing.round_seconds) for run in runs) for method, runs in results.items()
        },
        device_rounds_per_second={
            method: sum(run.engine.device_rounds_per_second for run in runs) / len(runs)
            for method, runs in results.items()
        },
    )


def _seconds(folder: Path) -> float:
    path = folder / _SECONDS_FILE
    return float(read_json(path)["total"]) if path.exists() else 0.0


def _add_seconds(folder: Path, seconds: float) -> None:
    write_json(folder / _SECONDS_FILE, {"total": _seconds(folder) + seconds})


def _read_request(document: Any, *, where: str) -> CompareRequest:
    asked = {name: value for name, value in document.items() if name != "command"}
    return from_json(CompareRequest, asked, where=where)

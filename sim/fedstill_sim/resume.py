"""Going on with what was stopped, and writing reports anew."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fedstill_sim.compare import report as comparison_report
from fedstill_sim.compare.exports import write_exports
from fedstill_sim.compare.request import is_comparison
from fedstill_sim.compare.result import COMPARISON_FILE, read_comparison
from fedstill_sim.folder import FolderError, require_run
from fedstill_sim.progress import RunProgress
from fedstill_sim.report import run_report
from fedstill_sim.results.run_result import RESULT_FILE, RunResult, read_result
from fedstill_sim.runner.run import continue_run


@dataclass(frozen=True, kw_only=True)
class Resumed:
    """The result, and whether it was there before."""

    result: RunResult
    was_finished: bool


def resume_run(folder: Path, progress: RunProgress, *, report: bool) -> Resumed:
    """Finish a run; a finished one gets its report anew and is not touched otherwise."""
    require_run(folder)
    was_finished = (folder / RESULT_FILE).exists()
    return Resumed(result=continue_run(folder, progress, report=report), was_finished=was_finished)


def write_report_of(folder: Path) -> Path:
    """The report of a finished run or comparison, from its result file alone."""
    require_run(folder)
    comparison = is_comparison(folder)
    source = folder / (COMPARISON_FILE if comparison else RESULT_FILE)
    if not source.exists():
        raise FolderError(f"{folder} has no {source.name} yet; finish it first: fedstill-sim resume {folder}")
    path = folder / (comparison_report.REPORT_FILE if comparison else run_report.REPORT_FILE)
    if comparison:
        read = read_comparison(source)
        write_exports(read, folder)
        comparison_report.write_comparison_report(read, path)
    else:
        run_report.write_report(read_result(source), path)
    return path

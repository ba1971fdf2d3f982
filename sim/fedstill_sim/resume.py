"""Resuming what was stopped, and writing reports again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from fedstill_sim.cluster.connection import check_reachable
from fedstill_sim.compare import report as comparison_report
from fedstill_sim.compare.exports import write_exports
from fedstill_sim.compare.request import is_comparison
from fedstill_sim.compare.result import COMPARISON_FILE, read_comparison
from fedstill_sim.config import read_config, write_config
from fedstill_sim.folder import FolderError, require_run
from fedstill_sim.progress import RunProgress
from fedstill_sim.report import run_report
from fedstill_sim.results.run_result import RESULT_FILE, RunResult, read_result
from fedstill_sim.runner.run import continue_run


@dataclass(frozen=True, kw_only=True)
class Resumed:
    """A run's result, and whether it was there before."""

    result: RunResult
    was_finished: bool


def resume_run(folder: Path, progress: RunProgress, *, report: bool) -> Resumed:
    """Finish a run; of a finished one only the report is written again.

    Raises:
        FolderError: The folder holds no run.
    """
    require_run(folder)
    was_finished = (folder / RESULT_FILE).exists()
    return Resumed(result=continue_run(folder, progress, report=report), was_finished=was_finished)


def move_run(folder: Path, cluster: str) -> None:
    """Let what is left of a run be done elsewhere, which is no matter of its result.

    Args:
        folder: The run.
        cluster: The address of a Ray cluster; "none" is this machine.

    Raises:
        FolderError: The folder holds no run.
        ClusterError: Nobody answers at the address.
    """
    require_run(folder)
    if cluster != "none":
        check_reachable(cluster)
    config = read_config(folder)
    engine = replace(config.simulation.engine, cluster=None if cluster == "none" else cluster)
    write_config(replace(config, simulation=replace(config.simulation, engine=engine)), folder)


def write_report_of(folder: Path) -> Path:
    """Write the report of a finished run or comparison from its result file alone.

    Returns:
        The report.

    Raises:
        FolderError: The folder holds no run, or one that is not finished.
    """
    require_run(folder)
    comparison = is_comparison(folder)
    source = folder / (COMPARISON_FILE if comparison else RESULT_FILE)
    if not source.exists():
        raise FolderError(f"{folder} has no {source.name} yet; finish it first: fedstill-sim resume {folder}")
    path = folder / (comparison_report.REPORT_FILE if comparison else run_report.REPORT_FILE)
    if comparison:
        comparison_result = read_comparison(source)
        write_exports(comparison_result, folder)
        comparison_report.write_comparison_report(comparison_result, path)
    else:
        run_report.write_report(read_result(source), path)
    return path

"""An audit of what a command line or a program asks for, and its files."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from fedstill_sim.audit.audit import AuditPlan, audit_run
from fedstill_sim.audit.progress import AuditProgress
from fedstill_sim.audit.report import REPORT_FILE, write_audit_report
from fedstill_sim.audit.result import AuditResult
from fedstill_sim.config import RunConfig, requested_data, resolve
from fedstill_sim.data.fleet import FleetData
from fedstill_sim.folder import FolderError
from fedstill_sim.options import AuditOptions
from fedstill_sim.request import RunRequest
from fedstill_sim.results.json_files import write_json

RESULT_FILE = "audit.json"


def audit_request(
    request: RunRequest, options: AuditOptions, *, out: Path | None, console: Console
) -> AuditResult:
    """Audit the run that a request asks for.

    Args:
        request: The run.
        options: How much is done.
        out: A folder for the result; None writes none.
        console: Where progress goes.

    Raises:
        FedstillError: The run cannot be made, or not be audited.
    """
    data = requested_data(request)
    return audit_fleet(data, resolve(request, data), options, out=out, console=console)


def audit_fleet(
    data: FleetData, config: RunConfig, options: AuditOptions, *, out: Path | None, console: Console
) -> AuditResult:
    """The same of data in memory, under a configuration."""
    if out is not None and out.exists() and not out.is_dir():
        raise FolderError(f"--out {out} is a file; name a folder")
    plan = AuditPlan(shadows=options.shadows, runs=options.runs, device=options.watch, seed=config.fleet.seed)
    result = audit_run(data, config, plan, AuditProgress(console))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / RESULT_FILE, result.to_json())
        write_audit_report(result, out / REPORT_FILE)
    return result

"""fedstill-server inspect: what is in a folder, a run or a student package."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from fedstill_proto.package.artifact import MANIFEST_FILE
from fedstill_proto.system.files import SHARED, replace_file
from rich.table import Table

from fedstill_server.commands.making_progress import shown_progress

if TYPE_CHECKING:
    from fedstill_server.config.fleet import FleetConfig
    from fedstill_server.inspection.options import InspectOptions
    from fedstill_server.rounds.round_record import RoundRecord

PAGE_FILE = "inspection.html"


def package_at(folder: Path) -> Path | None:
    """The student package that `folder` is, or that a distillation put into it; None for anything else."""
    for place in (folder, folder / "student"):
        if (place / MANIFEST_FILE).is_file():
            return place
    return None


def alarms_in(folder: Path) -> list[dict[str, Any]]:
    """What somebody should look at in a fleet's folder, as JSON; nothing for a simulated run."""
    from fedstill_server.console.view import View
    from fedstill_server.fleet.folder import FleetFolder

    if not FleetFolder.is_at(folder):
        return []
    view = View.of_fleet(folder)
    try:
        # Damage is told by itself, with all that is damaged.
        return [asdict(one) for one in view.overview().alarms if one.name != "damaged"]
    finally:
        if view.database is not None:
            view.database.close()


def round_table(config: FleetConfig, records: Sequence[RoundRecord]) -> Table:
    """The rounds of a run, with what each share is of; what no round has is no column.

    Students and teacher are measured on the server's test set; personal, global and worst are of devices.
    """
    of_all = "" if config.continuous else f" of {config.rounds}"
    table = Table(title=f"run {config.run}: {config.method.name}, {len(records)}{of_all} rounds")
    columns: dict[str, Callable[[RoundRecord], str]] = {
        "round": lambda one: str(one.round),
        "asked": lambda one: str(one.asked),
        "accepted": lambda one: "" if "accepted" in one.withheld else str(one.accepted),
        "left out": lambda one: "" if "quarantined" in one.withheld else str(len(one.quarantined)),
        "late": lambda one: "" if "late" in one.withheld else str(one.late),
        **{
            f"{family}, test set": lambda one, family=family: _share(  # type: ignore[misc]
                one.student_accuracy.get(family), one.test_examples
            )
            for family in config.families
        },
        "teacher, test set": lambda one: _share(one.teacher_accuracy, one.test_examples),
        "personal": lambda one: _share(one.personal_accuracy, one.personal_examples),
        "global": lambda one: _share(one.global_accuracy),
        "worst": lambda one: _share(one.worst_device_accuracy),
        "up a device": lambda one: "" if one.withheld else f"{one.uplink_bytes_per_device:,.0f} B",
        "down a device": lambda one: "" if one.withheld else f"{one.downlink_bytes_per_device:,.0f} B",
        "seconds": lambda one: f"{one.seconds:.2f}",
    }
    cells = {heading: [cell(one) for one in records] for heading, cell in columns.items()}
    cells = {heading: column for heading, column in cells.items() if any(column) or not records}
    for heading in cells:
        table.add_column(heading, justify="right")
    for row in zip(*cells.values(), strict=True):
        table.add_row(*row)
    return table


def _share(share: float | None, examples: int = 0) -> str:
    """A share, and of how many examples it is where that is known."""
    return "" if share is None else f"{share:.1%}" + (f" of {examples:,}" if examples else "")


def show_package(
    package: Path,
    *,
    task: str,
    teacher: str,
    page: Path | None,
    options: InspectOptions,
    seed: int | None,
    as_json: bool,
) -> None:
    """Print an inspection, and write its page and the same as JSON beside it.

    Task, teacher and seed are those that the package was distilled with, where nothing else is said.
    """
    from fedstill_server.distill.run import reopen_distillation
    from fedstill_server.inspection.inspection import inspect_package
    from fedstill_server.inspection.page import text_of, write_page

    record = package.parent / "distill.json"
    target = page or package.parent / PAGE_FILE
    with shown_progress("opening the task and the teacher") as told:
        told("opening the task and the teacher", 0, 0)
        opened, taught = reopen_distillation(record, task=task, teacher=teacher, seed=seed)
        inspection = inspect_package(package, opened, teacher=taught, options=options, told=told)
    write_page(inspection, target)
    document = json.dumps(inspection.to_json(), indent=1)
    replace_file(target.with_suffix(".json"), (document + "\n").encode(), mode=SHARED)
    if as_json:
        print(document)
    else:
        typer.echo(text_of(inspection))
        typer.echo(f"report         {target}, and {target.with_suffix('.json').name}")

"""fedstill-server inspect: what is in a folder, a run or a student package."""

from __future__ import annotations

import json
from pathlib import Path

import typer
from fedstill_proto.package.artifact import MANIFEST_FILE

from fedstill_server.distill.errors import DistillError

PAGE_FILE = "inspection.html"


def package_at(folder: Path) -> Path | None:
    """The student package that `folder` is, or that a distillation put into it; None for anything else."""
    for place in (folder, folder / "student"):
        if (place / MANIFEST_FILE).is_file():
            return place
    return None


def show_package(
    package: Path,
    *,
    task: str,
    teacher: str,
    page: Path | None,
    watts: float,
    seed: int | None,
    as_json: bool,
) -> None:
    """Print an inspection and write its page; task, teacher and seed are those it was distilled with."""
    from fedstill_server.distill.run import reopen_distillation
    from fedstill_server.inspection.inspection import inspect_package
    from fedstill_server.inspection.page import text_of, write_page

    if not watts > 0:
        raise DistillError(f"--watts: {watts:g} is not a power above 0")
    opened, taught = reopen_distillation(
        package.parent / "distill.json", task=task, teacher=teacher, seed=seed
    )
    inspection = inspect_package(package, opened, teacher=taught, watts=watts)
    target = page or package.parent / PAGE_FILE
    write_page(inspection, target)
    if as_json:
        print(json.dumps(inspection.to_json(), indent=1))
    else:
        typer.echo(text_of(inspection))
        typer.echo(f"report         {target}")

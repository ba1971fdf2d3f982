"""fedstill-server parting: where a student and its teacher part most."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from fedstill_server.commands.generated import taken, takes
from fedstill_server.commands.making_progress import shown_progress
from fedstill_server.commands.shared import AsJson, help_of
from fedstill_server.inspection.parting.options import PartingOptions

PAGE_FILE = "parting.html"


def register(cli: typer.Typer) -> None:
    """Add the command to `cli`."""
    cli.command(name="parting", help=help_of(parting), rich_help_panel="Look into")(parting)


@takes(PartingOptions)
def parting(
    folder: Annotated[Path, typer.Argument(help="A student package, or a distillation.")],
    task: Annotated[
        str, typer.Option(help="The task of the package; by default that of its distillation.")
    ] = "",
    teacher: Annotated[
        str, typer.Option(help="Its teacher, as in distill; by default that of its distillation.")
    ] = "",
    html: Annotated[Path | None, typer.Option(help="Where to write the page.", show_default=False)] = None,
    seed: Annotated[int | None, typer.Option(help="The seed of the split of the task.")] = None,
    as_json: AsJson = False,
    *,
    asked: dict[str, Any],
) -> None:
    """Report where a student and its teacher part most, for whoever audits it.

    By slice, by right answer and by pairs of answers, and the examples that differ most: KL of the answers on
    the test examples, after the temperature of each is fitted on held-out ones. What the package suppresses
    hides nothing here: its graph itself is asked. A page is written, and the same as JSON beside it.

    Example: fedstill-server parting small

    Example: fedstill-server parting small --form int8 --examples 50 --json
    """
    from fedstill_proto.errors import unknown_name
    from fedstill_proto.package.artifact import load_student
    from fedstill_proto.system.files import SHARED, replace_file

    from fedstill_server.commands.inspect import package_at
    from fedstill_server.distill.errors import DistillError
    from fedstill_server.distill.run import reopen_distillation
    from fedstill_server.inspection.forms import answering, forms_of
    from fedstill_server.inspection.parting.asking import ask_both
    from fedstill_server.inspection.parting.page import text_of_parting, write_parting

    wanted, place = taken(PartingOptions, asked), package_at(folder)
    if place is None:
        raise DistillError(f"{folder}: is neither a student package nor a distillation")
    target = html or place.parent / PAGE_FILE
    with shown_progress("opening the task and the teacher") as told:
        told("opening the task and the teacher", 0, 0)
        opened, taught = reopen_distillation(
            place.parent / "distill.json", task=task, teacher=teacher, seed=seed
        )
        if taught is None:
            raise DistillError(f"{folder}: was distilled from no teacher; name one with --teacher")
        package = load_student(place)
        forms = {each.name: each for each in forms_of(package, (wanted.form,), opened.public.x)}
        if wanted.form not in forms:
            raise unknown_name("--form", wanted.form, forms)
        told("asking both", 0, 0)
        answer = answering(forms[wanted.form].graph)
        found = ask_both(package, answer, opened, taught, rows=wanted.rows, most=wanted.examples)
    write_parting(found, target, title=package.manifest.family)
    document = json.dumps(found.to_json(), indent=1)
    replace_file(target.with_suffix(".json"), (document + "\n").encode(), mode=SHARED)
    if as_json:
        typer.echo(document)
    else:
        typer.echo(text_of_parting(found))
        typer.echo(f"report         {target}, and {target.with_suffix('.json').name}")

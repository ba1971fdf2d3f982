"""fedstill-server sweep: how much capacity buys, by students of many sizes from one teacher."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from fedstill_server.commands.generated import taken, takes
from fedstill_server.commands.making_progress import shown_progress
from fedstill_server.sweep.options import SweepOptions

EXAMPLES = """Examples

fedstill-server sweep --teacher train:mlp-128-128 --family mlp --widths 2,4,8,16 --depths 1,2 --out curve

fedstill-server sweep --task plays.txt --teacher train:gru-128-256 --family gru --widths 8,16,32 --out words

fedstill-server sweep --task intents.csv --teacher hf:minilm --family hf:minilm --depths 1,2,3,4 --out layers
"""


def register(cli: typer.Typer) -> None:
    """Add the command to `cli`."""
    cli.command(rich_help_panel="Distillation", epilog=EXAMPLES)(sweep)


@takes(SweepOptions)
def sweep(
    out: Annotated[Path, typer.Option(help="The folder to write: sweep.json, sweep.html and the students.")],
    task: Annotated[str, typer.Option(help="What they learn; see distill.")] = "",
    teacher: Annotated[
        list[str] | None, typer.Option(help="The teacher of all of them; see distill. Repeat it for several.")
    ] = None,
    technique: Annotated[str, typer.Option(help="Names with commas between; see distill.")] = "",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="OPTION=VALUE", help="An option of a technique or of the plan; see distill."
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file of a distillation.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
    *,
    asked: dict[str, Any],
) -> None:
    """Distil students of many widths and depths from one teacher, and draw the capacity curve.

    Quality against parameters, FLOPs and latency, with a fitted power law, its knee, and intervals over
    seeds. Run it again after a kill, or with more --seeds: it goes on.
    """
    from fedstill_server.commands.distill import NO_TECHNIQUE
    from fedstill_server.distill.request import read_request

    names = [name.strip() for name in technique.split(",") if name.strip()]
    given: dict[str, Any] = {
        "task": task or None,
        "teacher": teacher or None,
        "technique": [] if technique == NO_TECHNIQUE else names or None,
    }
    request = read_request(config, {name: value for name, value in given.items() if value is not None})
    request = request.with_settings(settings or [])
    options = taken(SweepOptions, asked)
    # torch takes a second to import, which wrong names do not need.
    from fedstill_server.sweep.page import sweep_text
    from fedstill_server.sweep.running import PAGE_FILE, RECORD_FILE, run_sweep

    with shown_progress("opening the task and the teacher") as told:
        try:
            made = run_sweep(request, out, options, told=told)
        except KeyboardInterrupt:
            typer.echo("Stopped. The same command goes on with the student that it was at.", err=True)
            raise typer.Exit(130) from None
    typer.echo(json.dumps(made.to_json(), indent=1) if as_json else sweep_text(made))
    if not as_json:
        typer.echo(f"report: {out / PAGE_FILE}, and {RECORD_FILE}")

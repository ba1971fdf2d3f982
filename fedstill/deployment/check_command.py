"""`fedstill check`: what a network comes to, as a table or as JSON."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer
from fedstill_proto.errors import FedstillError
from rich.console import Console
from rich.table import Table

from fedstill.deployment.check import Check, CheckError, check

cli = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@cli.command()
def check_network(
    network: Annotated[
        str,
        typer.Argument(
            help="my.models:Net, a class or function of torch modules in an importable module, or a family."
        ),
    ],
    shape: Annotated[
        str, typer.Option("--input", help="The shape of one example without the batch, such as 3,32,32.")
    ],
    classes: Annotated[int, typer.Option(help="How many classes there are.")] = 10,
    rows: Annotated[int, typer.Option(help="Examples of a training step.")] = 16,
    optimizer: Annotated[str, typer.Option(help="sgd, momentum or adamw.")] = "sgd",
    train: Annotated[
        str, typer.Option(help="What of it trains: all, head, lora:8, or names of parameters.")
    ] = "all",
    teacher: Annotated[
        bool,
        typer.Option(
            "--teacher",
            help="Check it as a teacher, of which only the answers matter: an .onnx file, an estimator or "
            "a package will do as well.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Say before any run what a network comes to as a student of a fleet.

    It is captured, translated to ONNX and compared with torch in float64 over 20 steps. All operators that
    are missing are named at once, each with the line of the network that made it. The table shows what
    trains, what travels, and how long a step takes beside eager torch on one thread.

    The exit status is 0 where it fits, 1 where it does not, and 2 where it cannot be checked.

    Start here: fedstill check mlp-small --input 8,8
    """
    from fedstill.models import Student

    found = check(
        network if teacher else Student(network, train=train),
        input_shape=_sizes(shape),
        classes=classes,
        rows=rows,
        optimizer=optimizer,
        teacher=teacher,
    )
    if as_json:
        print(json.dumps(found.to_json(), indent=1))
    else:
        show(found, Console())
    if not found.fits:
        raise typer.Exit(1)


def show(found: Check, console: Console) -> None:
    """Print a check as a table."""
    verdict = "fits" if found.fits else "does not fit"
    shape = " x ".join(map(str, found.input_shape))
    table = Table(
        title=f"{found.network} as a {found.role}: {verdict}", show_header=False, title_justify="left"
    )
    table.add_row("an example", f"{shape}, one of {found.classes} classes")
    table.add_row("values that train", f"{found.trained:,}")
    if found.moving:
        table.add_row("that training moves", f"{found.moving:,}")
    if found.frozen:
        table.add_row("that are frozen", f"{found.frozen:,}")
    if found.answer_ms:
        table.add_row(f"answers to {found.rows}", f"{found.answer_ms:.2f} ms")
    if (gate := found.gate) is not None:
        table.add_row(
            "difference from float64",
            f"gradients {gate.gradients:.0e}, losses {gate.losses:.0e}, parameters {gate.parameters:.0e}, "
            f"answers {gate.answers:.0e}",
        )
    if (cost := found.cost) is not None:
        speed = f"{cost.torch_step_ms / cost.step_ms:.2f} times its speed"
        table.add_row(
            f"a step of {found.rows}",
            f"{cost.step_ms:.2f} ms ({cost.torch_step_ms:.2f} ms in torch on one thread: {speed})",
        )
        table.add_row("an answer", f"{cost.answer_ms:.2f} ms")
        table.add_row("package", _megabytes(cost.package_bytes))
        update = f"{_megabytes(cost.update_bytes)} ({_megabytes(cost.update_bytes_int8)} in 8 bits)"
        table.add_row("a weight update", update)
        table.add_row("memory to train", _megabytes(cost.memory_bytes))
        table.add_row("devices of a simulation", "one at a time" if found.one_at_a_time else "in stacks")
    console.print(table)
    for problem in found.problems:
        console.print(f"[red]problem[/red]  {problem}", highlight=False, soft_wrap=True)
    for missing in found.missing:
        console.print(f"  {missing}", highlight=False, soft_wrap=True, markup=False)
    for line in found.advice:
        console.print(f"advice   {line}", highlight=False, soft_wrap=True, markup=False)


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(size) for size in text.split(","))
    except ValueError:
        raise CheckError(f"--input: {text!r} is no shape; give whole numbers, such as 3,32,32") from None


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.2f} MB" if size >= 10_000 else f"{size:,} bytes"


def main() -> None:
    """Run the command; what cannot be checked is said in one line."""
    from fedstill_server.plugins import search_current_folder

    search_current_folder()
    try:
        cli()
    except FedstillError as error:
        print(f"fedstill check: {next(iter(str(error).splitlines()), '')}", file=sys.stderr)
        sys.exit(2)

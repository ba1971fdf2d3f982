"""fedstill-server distill, techniques: from a teacher to a student package."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from fedstill_proto.errors import FedstillError
from rich.console import Console
from rich.progress import Progress, TextColumn

from fedstill_server.commands.option_table import option_document, option_table
from fedstill_server.plugins import PluginError

if TYPE_CHECKING:
    from fedstill_server.distill.engine import EpochDone
    from fedstill_server.distill.run import Outcome

EXAMPLES = """Examples

fedstill-server distill --teacher train:mlp-128-128 --out small

fedstill-server distill --task my-data/ --teacher my.models:network@big.safetensors --out small

fedstill-server distill --task my-data/ --teacher big.onnx --teacher my.models:forest --out small

fedstill-server distill --task plays.txt --teacher train:gru-128-256 --technique sequence-level,kd --out words

fedstill-server distill --task plays.txt --tokenizer train:2000 --student ssm-64-128 --technique none --out s

fedstill-server distill --task plays.txt --teacher hf:models/gpt2 --student ssm-64-128 --out small

fedstill-server distill --task texts.csv --teacher hf:models/big --student hf:models/small --out small

fedstill-server distill --task texts.txt --teacher hf:minilm --student hf:minilm?num_hidden_layers=3 --out w
"""

NO_TECHNIQUE = "none"
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def register(cli: typer.Typer) -> None:
    """Add the commands to `cli`."""
    cli.command(rich_help_panel="Distillation", epilog=EXAMPLES)(distill)
    cli.command(rich_help_panel="Distillation")(techniques)


def distill(
    out: Annotated[Path, typer.Option(help="The folder to write, with the student's package in it.")],
    task: Annotated[
        str,
        typer.Option(
            help="digits, a folder with public.npz and test.npz, or text: a .txt file, or a folder with "
            "public.txt; for a student of Hugging Face also a .csv or .tsv with columns text and label."
        ),
    ] = "",
    teacher: Annotated[
        list[str] | None,
        typer.Option(
            help="An .onnx file, the folder of a run or a package, package.module:name of a torch module or "
            "an estimator, hf:FOLDER of a model of Hugging Face, or train:mlp-128-128 to train one on the "
            "task's labels. Repeat it for several."
        ),
    ] = None,
    family: Annotated[
        str,
        typer.Option(
            "--student",
            "--family",
            help="Student family, an import path, or hf:FOLDER?option=value of a model of Hugging Face; by "
            "default mlp-32, gru-64-128 for text, or half the layers of a teacher that is such a model.",
        ),
    ] = "",
    technique: Annotated[
        str,
        typer.Option(
            help="Names with commas between, at most one of them a recipe: what `fedstill-server techniques` "
            "lists. By default kd; none learns labels alone."
        ),
    ] = "",
    tokenizer: Annotated[
        str,
        typer.Option(
            help="For text: the student says sub-words, by a tokenizer.json, or train:2000 for one made of "
            "the text; that of a causal teacher of Hugging Face needs no naming."
        ),
    ] = "",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="OPTION=VALUE",
            help="An option of a technique, as in fitnets.layers=uniform, or of the plan, as in "
            "plan.temperature=2; `fedstill-server techniques NAME` lists them. Repeat it for several.",
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A TOML file; what is given here overrides it.")] = None,
    seed: Annotated[int | None, typer.Option(help="Decides every random choice.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the examples; by default 60.")] = None,
    answers: Annotated[
        str,
        typer.Option(
            help="A .safetensors file that keeps the teacher's answers; with no teacher, it is one."
        ),
    ] = "",
    normalize: Annotated[
        str,
        typer.Option(
            help="How inputs are scaled: none, bytes, unit or standardize, as in prepare; auto, with a "
            "teacher that is given, is as that reads them."
        ),
    ] = "",
    channels: Annotated[
        str, typer.Option(help="Where the channels of an example are: first, last or auto.")
    ] = "",
    suppress: Annotated[
        str,
        typer.Option(
            help="What the student never answers, suggests or writes, beside what its teachers do not: a "
            "constraints.json, or a .txt of a word or phrase a line."
        ),
    ] = "",
    tensorboard: Annotated[bool, typer.Option(help="Write scalars to <out>/tensorboard.")] = False,
    as_json: AsJson = False,
) -> None:
    """Distil a student from a teacher, and pack it for devices. Run it again after a kill: it goes on."""
    from fedstill_server.distill.request import read_request

    given: dict[str, Any] = {
        "task": task or None,
        "teacher": teacher or None,
        "family": family or None,
        "technique": [] if technique == NO_TECHNIQUE else _names(technique) or None,
        "tokenizer": tokenizer or None,
        "answers": answers or None,
        "normalize": normalize or None,
        "channels": channels or None,
        "suppress": suppress or None,
        "plan.seed": seed,
        "plan.epochs": epochs,
    }
    request = read_request(config, {name: value for name, value in given.items() if value is not None})
    request = request.with_settings(settings or [])
    # torch takes a second to import, which other commands and wrong names do not need.
    from fedstill_server.distill.run import distil

    out.mkdir(parents=True, exist_ok=True)
    scalars = _scalars(out / "tensorboard") if tensorboard else None
    console = Console(stderr=True)
    with Progress(
        *Progress.get_default_columns(), TextColumn("{task.fields[loss]}"), console=console
    ) as bars:
        stages: dict[str, Any] = {}

        def watch(stage: str, report: EpochDone) -> None:
            if stage not in stages:
                stages[stage] = bars.add_task(stage, total=report.epochs, loss="")
            bars.update(stages[stage], completed=report.epoch, loss=f"loss {report.loss:.3f}")
            if scalars is not None:
                scalars(stage, report)

        try:
            outcome = distil(request, out, watch=watch)
        except KeyboardInterrupt:
            bars.stop()
            typer.echo("Stopped. The same command goes on from the last checkpoint.", err=True)
            raise typer.Exit(130) from None
    typer.echo(json.dumps(outcome.to_json(), indent=1) if as_json else _text(outcome))


def techniques(
    name: Annotated[
        str, typer.Argument(help="One of them, or module:Class of your own: its options.", show_default=False)
    ] = "",
    as_json: AsJson = False,
) -> None:
    """List all techniques, one line each, with their papers; or the options of one.

    Those that other distributions bring are among them (entry points of the group fedstill.techniques).
    """
    from fedstill_server.distill.registry import TECHNIQUES

    if name:
        _show_technique(name, as_json=as_json)
        return
    lines = {each: _technique_line(each) for each in TECHNIQUES}
    if as_json:
        typer.echo(json.dumps(lines, indent=1))
        return
    own = TECHNIQUES.own()
    for each, one in lines.items():
        origin = f"; {one['origin']}" if each in own else ""
        typer.echo(f"{each:18s} {one['line']} ({one['source']}){origin}")


def _technique_line(name: str) -> dict[str, str]:
    """What a technique does and where it is from; what is wrong with one that cannot be imported."""
    from fedstill_server.distill.registry import TECHNIQUES

    try:
        found = TECHNIQUES.load(name)
    except PluginError as error:
        return {"line": str(error), "source": "", "origin": TECHNIQUES.origin(name)}
    return {"line": found.line, "source": found.source, "origin": TECHNIQUES.origin(name)}


def _show_technique(name: str, *, as_json: bool) -> None:
    """One technique's options with their defaults, what they may be, and help."""
    from fedstill_server.config.options import options_of
    from fedstill_server.distill.registry import TECHNIQUES

    found = TECHNIQUES.load(name)
    options = options_of(found)
    if as_json:
        typer.echo(json.dumps({**_technique_line(name), "options": option_document(options)}, indent=1))
        return
    source = f" ({found.source})" if found.source else ""
    typer.echo(f"{name}: {found.line}{source}; {TECHNIQUES.origin(name)}")
    Console().print(option_table(options), markup=False)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _text(outcome: Outcome) -> str:
    lines = [
        f"student   {outcome.family}, {outcome.parameters:,d} parameters, in {outcome.package}",
        f"{outcome.score_name}  {outcome.accuracy:.1%}",
    ]
    if outcome.teacher_accuracy:
        kept = outcome.accuracy / outcome.teacher_accuracy
        lines[1] += f"; the teacher's is {outcome.teacher_accuracy:.1%}, of which {kept:.1%} are kept"
    if outcome.perplexity is not None:
        lines.append(f"perplexity {outcome.perplexity:.1f}")
    lines += [f"exit      {family}: {accuracy:.1%}" for family, accuracy in outcome.exits.items()]
    lines += [f"note      {note}" for note in outcome.notes]
    return "\n".join([*lines, f"seconds   {outcome.seconds:.1f}"])


def _scalars(folder: Path) -> Callable[[str, EpochDone], None]:
    """Writes each epoch's losses for TensorBoard."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise FedstillError(
            "--tensorboard: tensorboard is not installed; pip install 'fedstill[tensorboard]'"
        ) from None
    writer = SummaryWriter(str(folder))

    def write(stage: str, report: EpochDone) -> None:
        writer.add_scalar(f"{stage}/loss", report.loss, report.epoch)
        for name, value in report.parts.items():
            writer.add_scalar(f"{stage}/{name}", value, report.epoch)
        writer.flush()

    return write

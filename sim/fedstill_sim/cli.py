"""`fedstill-sim`: a federated fleet on one machine, in one command."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import typer
from fedstill_proto.errors import FedstillError
from rich.console import Console
from rich.markup import escape

import fedstill_sim
from fedstill_sim import options
from fedstill_sim.request import COMPARED, DATASETS, RunRequest, names

app = typer.Typer(
    name="fedstill-sim",
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A fleet of devices that learn from private data and exchange only soft labels, simulated on this "
    "machine by the code that devices and the server really run.",
    epilog="Start here:  [bold cyan]fedstill-sim run digits --method public-logits --out runs/first[/]\n\n"
    "Each command has examples:  [bold cyan]fedstill-sim run --help[/]",
)

_METHODS_HELP = "what [cyan]fedstill-server methods[/] lists, such as public-logits or class-logits"

RUN_EXAMPLES = """[bold]Examples[/]

[dim]Ten writers, twenty rounds, beside local and fedavg, with a report; under a minute:[/]

[cyan]fedstill-sim run digits --method public-logits --out runs/first[/]

[dim]Fifty devices that each see few classes:[/]

[cyan]fedstill-sim run digits --method class-logits --devices 50 --dirichlet 0.1 --out runs/skewed[/]

[dim]Ten thousand devices:[/]

[cyan]fedstill-sim run --method class-logits --devices 10000 --rounds 1 --baselines none --out runs/large[/]

[dim]Your own data, two kinds of students in one fleet:[/]

[cyan]fedstill-sim run --data my-fleet/ --method public-logits --families mlp-small,cnn --out runs/mine[/]
"""
COMPARE_EXAMPLES = """[bold]Examples[/]

[dim]Four methods on three splits, means with 95 % intervals:[/]

[cyan]fedstill-sim compare digits --dirichlet 0.1 --devices 20 --seeds 3 --out runs/compared[/]

[dim]Two of them, on your own data:[/]

[cyan]fedstill-sim compare --data my-fleet/ --methods fedavg,public-logits --seeds 5 --out runs/both[/]
"""


@dataclass(frozen=True)
class Output:
    """Where words go: results to stdout, progress and errors to stderr."""

    as_json: bool = False
    quiet: bool = False

    @property
    def results(self) -> Console:
        """For tables."""
        return Console(quiet=self.quiet or self.as_json)

    @property
    def progress(self) -> Console:
        """For what goes on."""
        return Console(stderr=True, quiet=self.quiet)

    def document(self, document: dict[str, Any]) -> None:
        """For machines."""
        if self.as_json:
            sys.stdout.write(json.dumps(document, indent=1, allow_nan=False) + "\n")


@app.callback(invoke_without_command=True)
def version(show: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if show:
        typer.echo(f"fedstill-sim {fedstill_sim.__version__}")
        raise typer.Exit


@app.command(epilog=RUN_EXAMPLES)
def run(
    context: typer.Context,
    out: options.Out,
    method: Annotated[
        str, typer.Option(help=f"One of {_METHODS_HELP}.", show_default=True)
    ] = "public-logits",
    dataset: options.Dataset = None,
    data: options.Data = None,
    devices: options.Devices = None,
    dirichlet: options.Dirichlet = None,
    families: options.Families = None,
    rounds: options.Rounds = None,
    seed: options.Seed = 0,
    goal_count: options.GoalCount = 0,
    over_selection: options.OverSelection = 1.0,
    deadline: options.Deadline = None,
    evaluate_every: options.EvaluateEvery = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    learning_rate: options.LearningRate = None,
    optimizer: options.OptimizerOption = None,
    temperature: options.Temperature = None,
    soft_weight: options.SoftWeight = None,
    label_prior: options.LabelPrior = None,
    public_batch: options.PublicBatch = None,
    public_targets: options.PublicTargets = None,
    server_rate: options.ServerRate = None,
    propagation_width: options.PropagationWidth = None,
    encoding: options.EncodingOption = None,
    k: options.TopK = None,
    sharpen: options.Sharpen = None,
    use_public_labels: options.UsePublicLabels = None,
    start: options.Start = None,
    baselines: Annotated[
        str,
        typer.Option(
            help="What runs beside it, with the same students and the same local work; none switches them "
            "off.",
            rich_help_panel=options.OUTPUT,
        ),
    ] = "local,fedavg",
    tradeoff: options.Tradeoff = True,
    engine: options.EngineOption = options.EngineName.cohort,
    processes: options.Processes = None,
    force: options.Force = False,
    no_report: options.NoReport = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Run one method on a virtual fleet, beside its baselines: accuracy, bytes, students and a report.

    A killed run goes on with [bold cyan]fedstill-sim resume DIR[/] and ends as if it had never been killed.
    """
    output = Output(as_json=as_json, quiet=quiet)
    with told_plainly(out):
        from fedstill_sim.run import continue_run, start_run
        from fedstill_sim.terminal import print_run

        start_run(_request(context), out, force=force)
        with _progress(output) as progress:
            result = continue_run(out, progress, report=not no_report)
        print_run(output.results, result, out)
        output.document(_brief(result))


@app.command(epilog=COMPARE_EXAMPLES)
def compare(
    context: typer.Context,
    out: options.Out,
    methods: Annotated[str, typer.Option(help=f"Two or more of {_METHODS_HELP}.")] = ",".join(COMPARED),
    seeds: Annotated[int, typer.Option(min=1, help="Seeds 0 to N - 1; each splits the data anew.")] = 3,
    dataset: options.Dataset = None,
    data: options.Data = None,
    devices: options.Devices = None,
    dirichlet: options.Dirichlet = None,
    families: options.Families = None,
    rounds: options.Rounds = None,
    goal_count: options.GoalCount = 0,
    over_selection: options.OverSelection = 1.0,
    deadline: options.Deadline = None,
    evaluate_every: options.EvaluateEvery = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    learning_rate: options.LearningRate = None,
    optimizer: options.OptimizerOption = None,
    temperature: options.Temperature = None,
    soft_weight: options.SoftWeight = None,
    label_prior: options.LabelPrior = None,
    public_batch: options.PublicBatch = None,
    public_targets: options.PublicTargets = None,
    server_rate: options.ServerRate = None,
    propagation_width: options.PropagationWidth = None,
    encoding: options.EncodingOption = None,
    k: options.TopK = None,
    sharpen: options.Sharpen = None,
    use_public_labels: options.UsePublicLabels = None,
    start: options.Start = None,
    engine: options.EngineOption = options.EngineName.cohort,
    processes: options.Processes = None,
    force: options.Force = False,
    no_report: options.NoReport = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Run several methods over several seeds and say, with intervals, which is better at what.

    Each run is a folder of its own under DIR/runs. A killed comparison goes on with
    [bold cyan]fedstill-sim resume DIR[/].
    """
    output = Output(as_json=as_json, quiet=quiet)
    with told_plainly(out):
        from fedstill_sim.compare import CompareRequest, continue_comparison, start_comparison

        wanted = CompareRequest(
            methods=names(methods) or (),
            seeds=seeds,
            run=_request(context, method=COMPARED[0], baselines="none"),
        )
        start_comparison(wanted, out, force=force)
        _finish_comparison(out, output, continue_comparison, report=not no_report)


@app.command()
def resume(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What --out named.")],
    no_report: options.NoReport = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Go on with a run or a comparison that was stopped; the result is the same as if it had not been.

    [cyan]fedstill-sim resume runs/first[/]
    """
    output = Output(as_json=as_json, quiet=quiet)
    with told_plainly(folder):
        from fedstill_sim.compare import continue_comparison, is_comparison
        from fedstill_sim.resume import resume_run
        from fedstill_sim.terminal import print_run

        if is_comparison(folder):
            _finish_comparison(folder, output, continue_comparison, report=not no_report)
            return
        with _progress(output) as progress:
            resumed = resume_run(folder, progress, report=not no_report)
        if resumed.was_finished:
            output.progress.print(
                f"{escape(str(folder))} had finished before; its result is unchanged.", highlight=False
            )
        print_run(output.results, resumed.result, folder)
        output.document(_brief(resumed.result))


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What --out named.")],
) -> None:
    """Write the report of a finished run or comparison anew, from its result file alone.

    [cyan]fedstill-sim report runs/first[/]
    """
    with told_plainly(folder):
        from fedstill_sim.resume import write_report_of

        path = write_report_of(folder)
        Console().print(escape(str(path)), highlight=False, soft_wrap=True)


def main() -> None:
    """The console script."""
    app()


@contextmanager
def told_plainly(folder: Path) -> Iterator[None]:
    """Errors as one line with exit code 2, and what to do after Ctrl-C; a bug keeps its traceback."""
    errors = Console(stderr=True)
    try:
        yield
    except FedstillError as error:
        errors.print(f"[bold red]Error:[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        errors.print(
            f"\n[bold]Stopped.[/] Go on with:  [bold cyan]fedstill-sim resume {escape(str(folder))}[/]",
            highlight=False,
            soft_wrap=True,
        )
        raise typer.Exit(130) from None


def _request(context: typer.Context, **values: Any) -> RunRequest:
    """The options of a command as a RunRequest, by name."""
    given: dict[str, Any] = {
        field.name: context.params[field.name] for field in fields(RunRequest) if field.name in context.params
    } | values
    for name in ("families", "baselines"):
        given[name] = names(given.get(name))
    for name in ("optimizer", "encoding", "start", "engine"):
        given[name] = given[name] and str(given[name])
    if given["data"] is not None:
        given["data"] = str(Path(given["data"]).absolute())
    elif given["dataset"] is None:
        given["dataset"] = DATASETS[0]
    return RunRequest(**given)


@contextmanager
def _progress(output: Output) -> Iterator[Any]:
    from fedstill_sim.progress import shown

    with shown(output.progress, quiet=output.quiet) as progress:
        yield progress


def _finish_comparison(folder: Path, output: Output, finish: Callable[..., Any], *, report: bool) -> None:
    import dataclasses

    from fedstill_sim.terminal import print_comparison

    with _progress(output) as progress:
        comparison = finish(folder, progress, report=report)
    print_comparison(output.results, comparison, folder)
    output.document(dataclasses.asdict(comparison))


def _brief(result: Any) -> dict[str, Any]:
    """A result without what grows with rounds and devices: result.json has those."""
    import dataclasses

    document = dataclasses.asdict(result)
    baselines = {
        name: {key: value for key, value in one.items() if key not in ("rounds", "devices")}
        for name, one in document["baselines"].items()
    }
    return {key: value for key, value in document.items() if key not in ("rounds", "devices")} | {
        "baselines": baselines
    }

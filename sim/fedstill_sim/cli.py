"""`fedstill-sim`: a federated fleet on one machine, in one command."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from fedstill_proto.errors import FedstillError
from fedstill_proto.system.extras import MissingExtra, explain_missing
from fedstill_server.plugins import search_current_folder
from rich.console import Console
from rich.markup import escape

import fedstill_sim
from fedstill_sim import options
from fedstill_sim.request import (
    COMPARED,
    DATASETS,
    TEXT_COMPARED,
    TEXT_METHOD,
    RequestError,
    RunRequest,
    is_text,
    names,
)

if TYPE_CHECKING:
    from fedstill_sim.compare.result import Split

app = typer.Typer(
    name="fedstill-sim",
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A fleet of devices that learn from private data and exchange only soft labels, simulated on this "
    "machine by the code that devices and the server really run.",
    epilog="Start here:  [bold cyan]fedstill-sim run digits --out runs/first[/]\n\n"
    "Each command has examples:  [bold cyan]fedstill-sim run --help[/]",
)

_METHODS_HELP = "what [cyan]fedstill-server methods[/] lists, such as fedstill or class-logits"

RUN_EXAMPLES = """[bold]Examples[/]

[dim]Ten writers, twenty rounds, beside local and fedavg, with a report; under a minute:[/]

[cyan]fedstill-sim run digits --out runs/first[/]

[dim]Fifty devices that each see few classes:[/]

[cyan]fedstill-sim run digits --method class-logits --devices 50 --dirichlet 0.1 --out runs/skewed[/]

[dim]Ten thousand devices:[/]

[cyan]fedstill-sim run --method class-logits --devices 10000 --rounds 1 --baselines none --out runs/large[/]

[dim]Three in ten devices a round, some of them slow, some that vanish:[/]

[cyan]fedstill-sim run --devices 50 --participation 0.3 --stragglers 0.1 --vanish 0.05 -o runs/real[/]

[dim]The server learns whenever ten summaries have come:[/]

[cyan]fedstill-sim run --devices 50 --mode async --buffer 10 --stragglers 0.1 --out runs/async[/]

[dim]A keyboard: a hundred writers learn next words, weak devices a smaller student:[/]

[cyan]fedstill-sim run keyboard --out runs/keyboard[/]

[dim]An assistant: homes in five languages learn what their people mean:[/]

[cyan]fedstill-sim run assistant --out runs/assistant[/]

[dim]Five hundred devices, with a privacy budget of epsilon 8 each:[/]

[cyan]fedstill-sim run --devices 500 --privacy central --epsilon 8 --families mlp-small -o runs/private[/]

[dim]Your own data, two kinds of students in one fleet:[/]

[cyan]fedstill-sim run --data my-fleet/ --families mlp-small,cnn --out runs/mine[/]
"""
COMPARE_EXAMPLES = """[bold]Examples[/]

[dim]Four methods, three seeds, means with 95 % intervals:[/]

[cyan]fedstill-sim compare digits --dirichlet 0.1 --devices 20 --seeds 3 --out runs/compared[/]

[dim]A paper's table: three skews, five seeds, two runs at a time, differences to fedavg:[/]

[cyan]fedstill-sim compare digits --dirichlet 0.1,1,10 --seeds 5 --jobs 2 --reference fedavg -o runs/table[/]

[dim]What a privacy budget costs:[/]

[cyan]fedstill-sim compare digits --devices 500 --privacy central --epsilon none,8,4,2,1 -o runs/private[/]

[dim]Two of them, on your own data:[/]

[cyan]fedstill-sim compare --data my-fleet/ --methods fedavg,fedstill --seeds 5 --out runs/both[/]
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
@options.of_a_fleet
def run(
    context: typer.Context,
    out: options.Out,
    method: Annotated[
        str | None,
        typer.Option(help=f"One of {_METHODS_HELP}; fedstill unless you say, and of text next-words."),
    ] = None,
    dataset: options.Dataset = None,
    data: options.Data = None,
    dirichlet: options.Dirichlet = None,
    seed: options.Seed = 0,
    *,
    epsilon: options.Epsilon = None,
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
        from fedstill_sim.runner.run import continue_run, start_run
        from fedstill_sim.terminal import print_run

        start_run(_request(context), out, force=force)
        with _progress(output) as progress:
            result = continue_run(out, progress, report=not no_report)
        print_run(output.results, result, out)
        output.document(_brief(result))


@app.command(epilog=COMPARE_EXAMPLES)
@options.of_a_fleet
def compare(
    context: typer.Context,
    out: options.Out,
    methods: Annotated[
        str | None,
        typer.Option(
            help=f"Two or more of {_METHODS_HELP}; {', '.join(COMPARED)} unless you say, and of text "
            f"{', '.join(TEXT_COMPARED)}."
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds 0 to N - 1; each splits the data anew.")] = 3,
    reference: Annotated[
        str | None,
        typer.Option(help="What all others are held against, seed by seed; local and fedavg unless you say."),
    ] = None,
    datasets: options.Datasets = None,
    data: options.DataFolders = None,
    dirichlet: options.Dirichlets = None,
    *,
    epsilon: options.Epsilons = None,
    engine: options.EngineOption = options.EngineName.cohort,
    processes: options.Processes = None,
    jobs: options.Jobs = 1,
    markdown: options.Markdown = None,
    force: options.Force = False,
    no_report: options.NoReport = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Run several methods on several splits and seeds and say, with intervals, which is better at what.

    Each run is a folder of its own under DIR/runs. A killed comparison goes on with
    [bold cyan]fedstill-sim resume DIR[/]; a run that fails is shown with its reason, and the others go on.
    The table is also in DIR as CSV and LaTeX.
    """
    output = Output(as_json=as_json, quiet=quiet)
    with told_plainly(out):
        from fedstill_sim.compare.request import CompareRequest, start_comparison

        splits = _splits(datasets, data or [], dirichlet, epsilon)
        first: dict[str, Any] = {
            "dataset": splits[0].dataset,
            "data": splits[0].data,
            "dirichlet": splits[0].dirichlet,
            "epsilon": next((one.epsilon for one in splits if one.epsilon is not None), None),
        }
        if splits[0].data is not None:
            first["devices"] = None
        usual = TEXT_COMPARED if is_text(first["dataset"], first["data"]) else COMPARED
        wanted = CompareRequest(
            methods=usual if methods is None else names(methods) or (),
            seeds=seeds,
            run=_request(context, method=usual[0], baselines="none", **first),
            splits=splits,
            reference=reference,
        )
        start_comparison(wanted, out, force=force)
        _finish_comparison(out, output, report=not no_report, jobs=jobs, markdown=markdown)


@app.command()
def resume(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What --out named.")],
    jobs: options.Jobs = 1,
    retry_failed: options.RetryFailed = False,
    markdown: options.Markdown = None,
    no_report: options.NoReport = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Go on with a run or a comparison that was stopped; the result is the same as if it had not been.

    [cyan]fedstill-sim resume runs/first[/]
    """
    output = Output(as_json=as_json, quiet=quiet)
    with told_plainly(folder):
        from fedstill_sim.compare.request import is_comparison
        from fedstill_sim.resume import resume_run
        from fedstill_sim.terminal import print_run

        if is_comparison(folder):
            _finish_comparison(
                folder,
                output,
                report=not no_report,
                jobs=jobs,
                markdown=markdown,
                retry_failed=retry_failed,
            )
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
    search_current_folder()
    try:
        with explain_missing("fedstill-sim", extra="sim"):
            app()
    except MissingExtra as error:
        Console(stderr=True).print(
            f"[bold red]Error:[/] {escape(str(error))}", highlight=False, soft_wrap=True
        )
        sys.exit(2)


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
    for name in ("families", "baselines", "weighting"):
        given[name] = names(given.get(name))
    for name in ("optimizer", "encoding", "start", "engine", "mode", "privacy"):
        given[name] = given[name] and str(given[name])
    if given["data"] is not None:
        given["data"] = str(Path(given["data"]).absolute())
    elif given["dataset"] is None:
        given["dataset"] = DATASETS[0]
    if given["method"] is None:
        given["method"] = TEXT_METHOD if is_text(given["dataset"], given["data"]) else "fedstill"
    return RunRequest(**given)


@contextmanager
def _progress(output: Output) -> Iterator[Any]:
    from fedstill_sim.progress import shown

    with shown(output.progress, quiet=output.quiet) as progress:
        yield progress


def _splits(
    datasets: str | None, folders: Sequence[Path], dirichlet: str | None, epsilon: str | None
) -> tuple[Split, ...]:
    """Every data set at every alpha, and every folder, whose devices are its own; each at every epsilon."""
    from fedstill_sim.compare.result import Split

    built_in = names(datasets) or (() if folders else DATASETS[:1])
    alphas = _numbers("--dirichlet", dirichlet, "0.1,1")
    epsilons = _numbers("--epsilon", epsilon, "1,8")
    if dirichlet is not None and not built_in:
        raise RequestError("--dirichlet splits a built-in data set; a folder brings its own devices")
    places: list[tuple[str | None, str | None, float | None]] = [
        *((dataset, None, alpha) for dataset in built_in for alpha in alphas),
        *((None, str(folder.absolute()), None) for folder in folders),
    ]
    return tuple(
        Split(dataset=dataset, data=folder, dirichlet=alpha, epsilon=each)
        for dataset, folder, alpha in places
        for each in epsilons
    )


def _numbers(option: str, text: str | None, example: str) -> tuple[float | None, ...]:
    if text is None:
        return (None,)
    try:
        return tuple(None if part.strip() == "none" else float(part) for part in text.split(","))
    except ValueError:
        raise RequestError(f"{option}: {text!r} is no list of numbers such as {example}") from None


def _finish_comparison(
    folder: Path, output: Output, *, report: bool, jobs: int, markdown: str | None, retry_failed: bool = False
) -> None:
    import dataclasses

    from fedstill_sim.compare.markdown import markdown as as_markdown
    from fedstill_sim.compare.request import continue_comparison
    from fedstill_sim.terminal import print_comparison

    with _progress(output) as progress:
        comparison = continue_comparison(
            folder, progress, report=report, processes=jobs, retry_failed=retry_failed
        )
    if markdown is not None and markdown != "-":
        Path(markdown).write_text(as_markdown(comparison), encoding="utf-8")
    if markdown == "-":
        sys.stdout.write(as_markdown(comparison))
    else:
        print_comparison(output.results, comparison, folder)
    output.document(dataclasses.asdict(comparison))
    if not comparison.complete:
        raise typer.Exit(1)


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

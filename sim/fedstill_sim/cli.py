"""`fedstill-sim`: a federated fleet on one machine, in one command."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from fedstill_proto.errors import FedstillError
from fedstill_proto.system.extras import MissingExtra, explain_missing
from fedstill_server.commands.generated import CompareCommand, MethodCommand, Set, taken, takes
from fedstill_server.config.run_options import read_settings
from fedstill_server.plugins import search_current_folder
from fedstill_server.resolve import check_names
from rich.console import Console
from rich.markup import escape

import fedstill_sim
from fedstill_sim.cluster.connection import check_reachable
from fedstill_sim.folder import check_claim
from fedstill_sim.options import (
    AuditOptions,
    CompareOptions,
    EstimateOptions,
    LiveOptions,
    ManyRunsOptions,
    MaybeOut,
    Out,
    OutputOptions,
    ResumeOptions,
)
from fedstill_sim.plan.commands import add_plan_command
from fedstill_sim.request import (
    COMING_AND_GOING,
    DEFAULT_DATASET,
    TRACE_OPTIONS,
    RequestError,
    RunRequest,
    check_compared,
)
from fedstill_sim.traces.commands import add_trace_commands

if TYPE_CHECKING:
    from fedstill_sim.compare.result import Split
    from fedstill_sim.progress import RunProgress

app = typer.Typer(
    name="fedstill-sim",
    no_args_is_help=True,
    rich_markup_mode="rich",
    add_completion=False,
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A fleet of devices that learn from private data and exchange only soft labels, simulated on this "
    "machine by the code that devices and the server really run.",
    epilog="Start here:  [bold cyan]fedstill-sim run digits --out runs/first[/]\n\n"
    "Each command has examples:  [bold cyan]fedstill-sim run --help[/]",
)

RUN_EXAMPLES = """[bold]Examples[/]

[dim]Ten writers, twenty rounds, beside local and fedavg, with a report; under a minute:[/]

[cyan]fedstill-sim run digits --out runs/first[/]

[dim]Fifty devices that each see few classes:[/]

[cyan]fedstill-sim run digits --method class-logits --devices 50 --dirichlet 0.1 --out runs/skewed[/]

[dim]The default method with another step; fedstill-server methods fedstill lists its options:[/]

[cyan]fedstill-sim run digits --set server_step=0.3 --out runs/careful[/]

[dim]Ten thousand devices, and what they would cost, before:[/]

[cyan]fedstill-sim run --method class-logits --devices 10000 --rounds 1 --baselines none --out runs/large[/]

[cyan]fedstill-sim run --method class-logits --devices 10000 --rounds 1 --dry-run -o runs/large[/]

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


_NOT_AUDITED = (
    "engine",
    "cluster",
    "adversaries",
    "attack",
    "attack_options",
    *COMING_AND_GOING,
    *TRACE_OPTIONS,
)
AUDIT_EXAMPLES = """[bold]Examples[/]

[dim]What the default method says of a device's examples, in two rounds:[/]

[cyan]fedstill audit digits --devices 20 --dirichlet 0.5 --rounds 2[/]

[dim]Whether the noise that is promised is there, and how much an attack finds beside the promise:[/]

[cyan]fedstill audit digits --devices 50 --rounds 5 --privacy local --epsilon 8 --out runs/audit[/]
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


@app.command(cls=MethodCommand, epilog=RUN_EXAMPLES)
@takes(RunRequest, EstimateOptions, OutputOptions, LiveOptions)
def run(out: Out, *, settings: Set = None, asked: dict[str, Any]) -> None:
    """Run one method on a virtual fleet, beside its baselines: accuracy, bytes, students and a report.

    A killed run goes on with [bold cyan]fedstill-sim resume DIR[/] and ends as if it had never been killed.
    """
    shown, live = taken(OutputOptions, asked), taken(LiveOptions, asked)
    output = Output(as_json=shown.as_json, quiet=shown.quiet)
    with told_plainly(out):
        request = _request(asked, settings)
        check_names(request, [request.method])
        check_folder(request.data)
        check_claim(out, force=shown.force)
        check_cluster(request)
        if taken(EstimateOptions, asked).dry_run:
            _estimate(request, out, output)
            return
        from fedstill_sim.costs.words import announced

        output.progress.print(announced(request), markup=False, highlight=False, soft_wrap=True)
        from fedstill_sim.runner.run import continue_run, start_run
        from fedstill_sim.terminal import print_run

        with _progress(output) as progress:
            progress.phase("reading the data")
            start_run(request, out, force=shown.force)
            with _live(out, progress, output, live) as watched:
                result = continue_run(out, watched, report=not shown.no_report)
            print_run(output.results, result, out)
            output.document(_brief(result))


@app.command(cls=CompareCommand, epilog=COMPARE_EXAMPLES)
@takes(
    CompareOptions,
    RunRequest,
    ManyRunsOptions,
    OutputOptions,
    leave_out=("dataset", "method", "seed", "baselines", "tradeoff", "retry_failed"),
)
def compare(out: Out, *, settings: Set = None, asked: dict[str, Any]) -> None:
    """Run several methods on several splits and seeds and say, with intervals, which is better at what.

    Each run is a folder of its own under DIR/runs. A killed comparison goes on with
    [bold cyan]fedstill-sim resume DIR[/]; a run that fails is shown with its reason, and the others go on.
    The table is also in DIR as CSV and LaTeX. An option that --set sets holds for the methods that have it.
    """
    wanted, shown = taken(CompareOptions, asked), taken(OutputOptions, asked)
    with told_plainly(out):
        splits = _splits(wanted)
        for split in splits:
            check_folder(split.data)
        first = splits[0]
        of_all = {
            **asked,
            "dataset": first.dataset,
            "data": first.data,
            "dirichlet": first.dirichlet,
            "epsilon": next((one.epsilon for one in splits if one.epsilon is not None), None),
            "baselines": (),
        }
        if first.data is not None:
            of_all["devices"] = None
        each = _request({**of_all, "method": (wanted.methods or ("",))[0]}, settings)
        methods = wanted.methods or each.simulation.compared
        check_compared(each, methods, reference=wanted.reference)
        check_claim(out, force=shown.force)
        many = taken(ManyRunsOptions, asked)
        check_cluster(each, jobs=many.jobs)
        from fedstill_sim.compare.request import CompareRequest, start_comparison

        request = CompareRequest(
            methods=methods,
            seeds=wanted.seeds,
            first_seed=wanted.first_seed,
            run=each,
            splits=splits,
            reference=wanted.reference,
        )
        start_comparison(request, out, force=shown.force)
        _finish_comparison(out, shown, many)


@app.command(cls=MethodCommand, epilog=AUDIT_EXAMPLES)
@takes(
    AuditOptions,
    RunRequest,
    OutputOptions,
    leave_out=(*_NOT_AUDITED, "baselines", "tradeoff", "force", "no_report"),
)
def audit(out: MaybeOut = None, *, settings: Set = None, asked: dict[str, Any]) -> None:
    """Attack what a configuration would really send of a device, and say how much the attacks find.

    Membership of examples and of whole private sets, histograms of labels, and the examples themselves, each
    beside what knowing nothing finds and beside the account's promise. Ends with exit code 1 where the
    promise is broken: the noise is missing, or an attack proves a larger epsilon.
    """
    wanted, shown = (
        taken(AuditOptions, asked),
        taken(OutputOptions, {**asked, "force": False, "no_report": False}),
    )
    output = Output(as_json=shown.as_json, quiet=shown.quiet)
    with told_plainly(None):
        request = _request({**asked, "engine": "cohort", "baselines": (), "tradeoff": False}, settings)
        check_names(request, [request.method])
        check_folder(request.data)
        from fedstill_sim.audit.run_audit import audit_request
        from fedstill_sim.audit.table import print_audit

        result = audit_request(request, wanted, out=out, console=output.progress)
        print_audit(output.results, result, out)
        output.document(result.to_json())
        if result.broken:
            raise typer.Exit(1)


@app.command()
@takes(ResumeOptions, ManyRunsOptions, OutputOptions, leave_out=("force",))
def resume(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What --out named.")],
    *,
    asked: dict[str, Any],
) -> None:
    """Go on with a run or a comparison that was stopped; the result is the same as if it had not been.

    [cyan]fedstill-sim resume runs/first[/]
    """
    shown, elsewhere = taken(OutputOptions, asked), taken(ResumeOptions, asked).cluster
    output = Output(as_json=shown.as_json, quiet=shown.quiet)
    with told_plainly(folder):
        check_folder(folder)
        from fedstill_sim.compare.request import is_comparison
        from fedstill_sim.resume import move_run, resume_run
        from fedstill_sim.terminal import print_run

        if is_comparison(folder):
            if elsewhere is not None:
                raise RequestError("--cluster: the runs of a comparison go on where they were started")
            _finish_comparison(folder, shown, taken(ManyRunsOptions, asked))
            return
        if elsewhere is not None:
            move_run(folder, elsewhere)
        with _progress(output) as progress:
            resumed = resume_run(folder, progress, report=not shown.no_report)
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
def told_plainly(folder: Path | None) -> Iterator[None]:
    """Errors as one line with exit code 2, and what to do after Ctrl-C; a bug keeps its traceback."""
    errors = Console(stderr=True)
    try:
        yield
    except FedstillError as error:
        errors.print(
            f"[bold red]Error:[/] {escape(str(error))}", highlight=False, soft_wrap=True, emoji=False
        )
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        resume = f"Go on with:  [bold cyan]fedstill-sim resume {escape(str(folder))}[/]"
        errors.print(
            f"\n[bold]Stopped.[/] {'' if folder is None else resume}",
            highlight=False,
            soft_wrap=True,
        )
        raise typer.Exit(130) from None


def _request(asked: dict[str, Any], settings: Sequence[str] | None) -> RunRequest:
    """The options of a command as a RunRequest."""
    values = dict(asked)
    if values["data"] is not None:
        values["data"] = str(Path(values["data"]).absolute())
    elif values["dataset"] is None:
        values["dataset"] = DEFAULT_DATASET
    return taken(RunRequest, values, method_options=read_settings(settings or ()))


def check_cluster(request: RunRequest, *, jobs: int = 1) -> None:
    """Refuse a cluster that is not there, and runs that would take it from each other."""
    if request.cluster is None:
        return
    if jobs > 1:
        raise RequestError(f"--jobs {jobs}: a run takes the whole cluster; leave it out beside --cluster")
    check_reachable(request.cluster)


def check_folder(folder: str | Path | None) -> None:
    """Refuse a folder that is not there, before what takes seconds to import."""
    if folder is not None and not Path(folder).exists():
        raise RequestError(f"{folder}: no such folder")


@contextmanager
def _progress(output: Output) -> Iterator[Any]:
    from fedstill_sim.progress import show_progress

    with show_progress(output.progress, quiet=output.quiet) as progress:
        yield progress


@contextmanager
def _live(out: Path, progress: RunProgress, output: Output, live: LiveOptions) -> Iterator[RunProgress]:
    """The page of a run beside it, where it was asked for."""
    if not (live.live or live.live_keep):
        yield progress
        return
    from fedstill_sim.live import live_page

    with live_page(out, progress, output.progress, keep=live.live_keep) as watched:
        yield watched


def _estimate(request: RunRequest, out: Path, output: Output) -> None:
    """Say what a run would cost."""
    from fedstill_sim.costs.words import as_document, print_estimate
    from fedstill_sim.runner.calibration import calibrated

    with _progress(output) as progress:
        estimate = calibrated(request, out, progress)
    print_estimate(output.results, estimate)
    output.document(as_document(estimate))


def _splits(wanted: CompareOptions) -> tuple[Split, ...]:
    """Every data set at every alpha, and every folder, whose devices are its own; each at every epsilon."""
    from fedstill_sim.compare.result import Split

    built_in = wanted.datasets or (() if wanted.data else (DEFAULT_DATASET,))
    alphas = _numbers("--dirichlet", wanted.dirichlet, "0.1,1")
    epsilons = _numbers("--epsilon", wanted.epsilon, "1,8")
    if wanted.dirichlet is not None and not built_in:
        raise RequestError("--dirichlet splits a built-in data set; a folder brings its own devices")
    places: list[tuple[str | None, str | None, float | None]] = [
        *((dataset, None, alpha) for dataset in built_in for alpha in alphas),
        *((None, str(Path(folder).absolute()), None) for folder in wanted.data),
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


def _finish_comparison(folder: Path, shown: OutputOptions, many: ManyRunsOptions) -> None:
    import dataclasses

    from fedstill_sim.compare.markdown import markdown as as_markdown
    from fedstill_sim.compare.request import continue_comparison
    from fedstill_sim.terminal import print_comparison

    output = Output(as_json=shown.as_json, quiet=shown.quiet)
    with _progress(output) as progress:
        comparison = continue_comparison(
            folder,
            progress,
            report=not shown.no_report,
            processes=many.jobs,
            retry_failed=many.retry_failed,
        )
    if many.markdown is not None and many.markdown != "-":
        Path(many.markdown).write_text(as_markdown(comparison), encoding="utf-8")
    if many.markdown == "-":
        sys.stdout.write(as_markdown(comparison))
    else:
        print_comparison(output.results, comparison, folder)
    output.document(dataclasses.asdict(comparison))
    if not comparison.complete:
        raise typer.Exit(1)


def _brief(result: Any) -> dict[str, Any]:
    """A result without what grows with rounds and devices: result.json has those."""
    from fedstill_sim.results.run_result import result_document

    document = result_document(result)
    baselines = {
        name: {key: value for key, value in one.items() if key not in ("rounds", "devices")}
        for name, one in document["baselines"].items()
    }
    return {key: value for key, value in document.items() if key not in ("rounds", "devices")} | {
        "baselines": baselines
    }


add_trace_commands(app, told_plainly)
add_plan_command(app, told_plainly)

"""Options of commands that are no matter of a run itself: what is compared, and where words go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from fedstill_server.config.options import check_options, option
from fedstill_server.config.run_options import FLEET, PRIVACY

from fedstill_sim.cluster.connection import check_address
from fedstill_sim.request import MACHINE, OUTPUT
from fedstill_sim.tasks import simulation_of

MaybeOut = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="A folder for audit.json and audit.html.", rich_help_panel=OUTPUT),
]
Out = Annotated[
    Path, typer.Option("--out", "-o", help="The folder that will hold everything.", rich_help_panel=OUTPUT)
]
AUDIT = "The audit"
_COMPARED, _COMPARED_OF_TEXT = (", ".join(simulation_of(task).compared) for task in ("arrays", "text"))
_METHODS = "what fedstill-server methods lists, such as fedstill or class-logits, or module:Class"


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """What `compare` compares."""

    datasets: tuple[str, ...] = option(
        (),
        "One or more with commas between: digits, mnist1d, keyboard, assistant, or your own as module:name; "
        "digits if none.",
        panel=FLEET,
        flag="DATASETS",
    )
    data: tuple[str, ...] = option(
        (),
        "Your own data, as for run; may be given several times, beside data sets or alone.",
        panel=FLEET,
        metavar="FOLDER",
        repeated=True,
    )
    methods: tuple[str, ...] = option(
        (),
        f"Two or more of {_METHODS}; by default {_COMPARED}, or {_COMPARED_OF_TEXT} for text.",
        panel=FLEET,
    )
    seeds: int = option(3, "How many seeds; each splits the data anew.", least=1, panel=FLEET)
    first_seed: int = option(0, "The first of the seeds; the others follow it.", least=0, panel=FLEET)
    reference: str | None = option(
        None,
        "What all others are compared with, seed by seed; by default local and fedavg.",
        panel=OUTPUT,
    )
    dirichlet: str | None = option(
        None,
        "Skew of classes over devices, one or more with commas between; none is the natural split.",
        panel=FLEET,
        metavar="ALPHA,...",
    )
    epsilon: str | None = option(
        None,
        "As for run, one or more with commas between; none is a run without noise.",
        panel=PRIVACY,
        metavar="EPSILON,...",
    )

    def __post_init__(self) -> None:
        check_options(self, texts=True)


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """Where words go, and what a folder of an earlier run is worth."""

    force: bool = option(False, "Replace what --out holds from an earlier run.", panel=OUTPUT, flag="--force")
    no_report: bool = option(False, "Write no HTML report.", panel=OUTPUT, flag="--no-report")
    as_json: bool = option(
        False, "Print the result as JSON on stdout; progress goes to stderr.", panel=OUTPUT, flag="--json"
    )
    quiet: bool = option(False, "Print nothing but errors.", panel=OUTPUT, flag="--quiet -q")


@dataclass(frozen=True, kw_only=True)
class EstimateOptions:
    """Whether a run is only estimated."""

    dry_run: bool = option(
        False,
        "Start nothing: say what the run would cost on this machine, in seconds by phase, memory, bytes and "
        "disk, from two small runs of its kind, which are measured once.",
        panel=MACHINE,
        flag="--dry-run",
    )


@dataclass(frozen=True, kw_only=True)
class LiveOptions:
    """The page that shows a run while it goes on."""

    live: bool = option(
        False,
        "Show the run in a browser while it goes on, at an address that is printed.",
        panel=OUTPUT,
        flag="--live",
    )
    live_keep: bool = option(
        False, "The same, and the page stays after the run, until Ctrl-C.", panel=OUTPUT, flag="--live-keep"
    )


@dataclass(frozen=True, kw_only=True)
class ManyRunsOptions:
    """How the runs of a comparison are made and shown."""

    jobs: int = option(
        1,
        "Runs of a comparison at a time, each in a process of its own. Never changes a result.",
        least=1,
        panel=MACHINE,
        flag="--jobs -j",
    )
    retry_failed: bool = option(
        False, "Make the runs of a comparison that failed once more.", panel=OUTPUT, flag="--retry-failed"
    )
    markdown: str | None = option(
        None,
        "Write a comparison's table as Markdown, too; - prints it instead of the usual table.",
        panel=OUTPUT,
        metavar="FILE",
    )


@dataclass(frozen=True, kw_only=True)
class ResumeOptions:
    """Where a run goes on."""

    cluster: str | None = option(
        None,
        "Have the machines of this Ray cluster do what is left of a run, or none: this machine. By default "
        "it goes on where it was started.",
        panel=MACHINE,
        metavar="ADDRESS|none",
    )

    def __post_init__(self) -> None:
        if self.cluster not in (None, "none"):
            check_address(self.cluster)


@dataclass(frozen=True, kw_only=True)
class AuditOptions:
    """How much an audit does, and where it is written."""

    shadows: int = option(
        128, "Shadow devices of each kind from which the adversary learns.", least=16, panel=AUDIT
    )
    runs: int = option(
        128,
        "Answers of each kind that the attacks are counted on: more make intervals smaller.",
        least=16,
        panel=AUDIT,
    )
    watch: str | None = option(
        None,
        "The device whose tasks are answered; by default one with a middling number of examples.",
        panel=AUDIT,
        metavar="DEVICE",
    )

    def __post_init__(self) -> None:
        check_options(self, texts=True)

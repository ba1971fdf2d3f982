"""`report.html`: one self-contained file made from a `RunResult`, and from nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2

import fedstill_sim
from fedstill_sim.config import command_line, described
from fedstill_sim.readable import (
    NONE,
    readable_bytes,
    readable_percent,
    readable_ratio,
    readable_seconds,
)
from fedstill_sim.report_charts import run_charts
from fedstill_sim.result import BaselineResult, Quarantined, RunResult
from fedstill_sim.verdict import verdicts

REPORT_FILE = "report.html"
MOST_QUARANTINED_ROWS = 40
_WIDE_CHARTS = ("Accuracy by round", "Accuracy against bytes")


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One large figure at the head of a report."""

    name: str
    value: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One figure of a table of methods."""

    text: str
    best: bool = False


@dataclass(frozen=True, kw_only=True)
class MethodRow:
    """A method's row in the table against the baselines."""

    method: str
    own: bool
    cells: Sequence[Cell]


def write_report(result: RunResult, path: Path) -> None:
    """Write the report of a run."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(render_report(result), encoding="utf-8")
    partial.replace(path)


def render_report(result: RunResult) -> str:
    """The report as HTML."""
    finals = {name: baseline.final for name, baseline in result.baselines.items()}
    quarantined = _quarantined(result)
    return render(
        "run.html",
        result=result,
        tiles=_tiles(result),
        verdicts=verdicts(result.method, result.final, finals),
        methods=method_rows([result, *result.baselines.values()]),
        charts=run_charts(result),
        wide=_WIDE_CHARTS,
        quarantined=[
            {"round": round_, "device": one.device, "reason": one.reason}
            for round_, one in itertools.islice(quarantined, MOST_QUARANTINED_ROWS)
        ],
        more_quarantined=max(0, result.final.quarantined - MOST_QUARANTINED_ROWS),
        accepted=sum(one.accepted for one in result.rounds),
        asked=sum(one.asked for one in result.rounds),
        configuration=described(result.config),
        engine=_engine_rows(result),
        command=command_line(result.config),
    )


def render(template: str, **values: Any) -> str:
    """A page from a template of this package."""
    templates = resources.files(fedstill_sim) / "templates"
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fedstill_sim"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"bytes": readable_bytes, "percent": readable_percent}
    style = (templates / "style.css").read_text(encoding="utf-8")
    return environment.get_template(template).render(style=style, version=fedstill_sim.__version__, **values)


def method_rows(runs: Sequence[RunResult | BaselineResult]) -> list[MethodRow]:
    """The run and its baselines, one row each, the best accuracy of each column marked; the first run is the own one."""
    columns = [
        _column(runs, lambda run: run.final.personal_accuracy, readable_percent, mark=True),
        _column(runs, lambda run: run.final.global_accuracy, readable_percent, mark=True),
        _column(runs, lambda run: run.final.worst_device_accuracy, readable_percent, mark=True),
        _column(runs, lambda run: run.final.uplink_bytes_per_device_round, readable_bytes),
        _column(runs, lambda run: run.final.downlink_bytes_per_device_round, readable_bytes),
        _column(runs, lambda run: run.engine.device_rounds_per_second, lambda rate: f"{rate:,.0f}"),
        _column(runs, lambda run: sum(run.timing.round_seconds), readable_seconds),
    ]
    return [
        MethodRow(method=run.method, own=index == 0, cells=[column[index] for column in columns])
        for index, run in enumerate(runs)
    ]


def _column(
    runs: Sequence[RunResult | BaselineResult],
    figure: Callable[[RunResult | BaselineResult], float | None],
    readable: Callable[[float], str],
    *,
    mark: bool = False,
) -> list[Cell]:
    figures = [figure(run) for run in runs]
    best = max((value for value in figures if value is not None), default=None) if mark and len(runs) > 1 else None
    return [Cell(text=NONE if value is None else readable(value), best=best is not None and value == best) for value in figures]


def _tiles(result: RunResult) -> list[Tile]:
    final = result.final
    fedavg = result.baselines.get("fedavg")
    saved = ""
    if fedavg is not None and fedavg.final.uplink_bytes_per_device_round > 0:
        ratio = final.uplink_bytes_per_device_round / fedavg.final.uplink_bytes_per_device_round
        saved = f"{readable_ratio(ratio)} of fedavg's"
    return [
        Tile(name="Personal accuracy", value=readable_percent(final.personal_accuracy), note="mean over devices"),
        Tile(name="Global accuracy", value=readable_percent(final.global_accuracy), note=_retention(final.retention)),
        Tile(name="Worst device", value=readable_percent(final.worst_device_accuracy), note="personal accuracy"),
        Tile(
            name="Uplink a device-round", value=readable_bytes(final.uplink_bytes_per_device_round), note=saved or "as sent"
        ),
        Tile(
            name="Downlink a device-round", value=readable_bytes(final.downlink_bytes_per_device_round), note="as sent"
        ),
        Tile(
            name="Took",
            value=readable_seconds(result.timing.total_seconds),
            note=f"{result.engine.device_rounds_per_second:,.0f} device-rounds a second",
        ),
    ]


def _retention(retention: float | None) -> str:
    return "mean over devices" if retention is None else f"{100 * retention:.0f} % of the teacher's"


def _quarantined(result: RunResult) -> Iterator[tuple[int, Quarantined]]:
    return ((one.round, bad) for one in result.rounds for bad in one.quarantined)


def _engine_rows(result: RunResult) -> list[tuple[str, str]]:
    engine, timing = result.engine, result.timing
    stacks = ", ".join(f"{family} {size}" for family, size in engine.stack_sizes.items())
    rows = [
        ("engine", engine.name),
        ("processes", str(engine.processes)),
        ("devices trained together, by family", stacks or NONE),
        ("device-rounds a second", f"{engine.device_rounds_per_second:,.0f}"),
        ("peak memory, all processes", f"{engine.peak_memory_mb:,.0f} MB"),
        ("total", readable_seconds(timing.total_seconds)),
    ]
    return rows + [(f"{phase}", readable_seconds(seconds)) for phase, seconds in timing.phase_seconds.items()]

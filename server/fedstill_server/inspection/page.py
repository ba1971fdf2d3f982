"""An inspection as one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fedstill_proto.system.files import SHARED, replace_file

from fedstill_server.inspection.inspection import FormReport, Inspection
from fedstill_server.inspection.speed.latency import MeasuredLatency
from fedstill_server.inspection.words import calibration_row, percent, text_of
from fedstill_server.pages.plot import Plot, PlotAxis, PlotLine, draw_plot
from fedstill_server.pages.rendering import environment

__all__ = ["text_of", "write_page"]


def write_page(inspection: Inspection, path: Path) -> None:
    """Write the page."""
    made = environment("fedstill_server.inspection")
    made.filters["percent"] = percent
    page = made.get_template("inspection.html").render(
        it=inspection,
        calibrations=calibration_rows(inspection.forms),
        latencies=latency_rows(inspection.forms),
        charts=charts_of(inspection.forms),
    )
    replace_file(path, page.encode("utf-8"), mode=SHARED)


def calibration_rows(forms: Sequence[FormReport]) -> list[tuple[str, ...]]:
    """Each form as it is, and scaled."""
    rows = []
    for form in forms:
        if form.plain is not None:
            rows.append(calibration_row(f"{form.name}, as it is", form.plain))
        if form.scaled is not None:
            rows.append(calibration_row(f"{form.name}, temperature scaled", form.scaled))
    return rows


def latency_rows(forms: Sequence[FormReport]) -> list[tuple[str, MeasuredLatency]]:
    """Every latency that was measured, and what of."""
    rows: list[tuple[str, MeasuredLatency]] = []
    for form in forms:
        for what, one in (("an answer", form.speed), ("a token", form.step)):
            if one is None:
                continue
            rows.append((f"{form.name}, {what}", one.latency))
            if one.loaded is not None:
                rows.append((f"{form.name}, {what} under load", one.loaded))
    return rows


def charts_of(forms: Sequence[FormReport]) -> list[Plot]:
    """Throughput and latency of all forms that were measured; none where nothing was."""
    speeds = [(form.name, form.speed) for form in forms if form.speed is not None]
    if not speeds:
        return []
    throughput = draw_plot(
        title="Throughput",
        caption="Examples a second, by how many are answered at a time.",
        x=PlotAxis(label="examples at a time", log=True),
        y=PlotAxis(label="examples a second", log=True),
        lines=[
            PlotLine(
                label=name,
                x=[one.batch for one in speed.throughput],
                y=[one.examples_per_second for one in speed.throughput],
                series=place,
            )
            for place, (name, speed) in enumerate(speeds)
        ],
    )
    lines = []
    for place, (name, speed) in enumerate(speeds):
        lines.append(_quantiles(name, speed.latency, place, is_loaded=False))
        if speed.loaded is not None:
            lines.append(_quantiles(f"{name}, under load", speed.loaded, place, is_loaded=True))
    latency = draw_plot(
        title="Latency of single answers",
        caption="50, 95 and 99 % of answers take at most so many microseconds; dashed while other processes "
        "keep the cores busy.",
        x=PlotAxis(label="% of answers"),
        y=PlotAxis(label="microseconds", log=True),
        lines=lines,
    )
    return [throughput, latency]


def _quantiles(name: str, one: MeasuredLatency, series: int, *, is_loaded: bool) -> PlotLine:
    return PlotLine(
        label=name, x=[50, 95, 99], y=[one.p50_us, one.p95_us, one.p99_us], series=series, dashed=is_loaded
    )

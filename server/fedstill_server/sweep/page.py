"""A sweep as text and as one self-contained HTML file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from fedstill_proto.system.files import SHARED, replace_file

from fedstill_server.pages.plot import Plot, PlotAxis, PlotLine, draw_plot
from fedstill_server.pages.rendering import environment
from fedstill_server.sweep.curve import CapacityCurve
from fedstill_server.sweep.point import SizeSummary
from fedstill_server.sweep.sweep import Sweep

_TITLES = {
    "parameters": ("parameters", "How much capacity buys"),
    "flops": ("FLOPs of one example", "How much arithmetic buys"),
    "latency_us": ("microseconds of one answer", "How much time buys"),
}
_CURVE_SERIES = 5


def write_sweep_page(sweep: Sweep, path: Path) -> None:
    """Write the page."""
    made = environment("fedstill_server.sweep")
    page = made.get_template("sweep.html").render(
        it=sweep,
        charts=charts_of(sweep),
        knees=[knee_line(one, sweep.by_token) for one in sweep.curves],
    )
    replace_file(path, page.encode("utf-8"), mode=SHARED)


def charts_of(sweep: Sweep) -> list[Plot]:
    """Quality against each kind of size: students by depth, and the fitted curve with its knee."""
    curves = {curve.against: curve for curve in sweep.curves}
    return [_chart(sweep, against, curves.get(against)) for against in _TITLES]


def _chart(sweep: Sweep, against: str, curve: CapacityCurve | None) -> Plot:
    label, title = _TITLES[against]
    depths = sorted({one.depth for one in sweep.sizes})
    lines = []
    for series, depth in enumerate(depths):
        those = sorted(
            (one for one in sweep.sizes if one.depth == depth), key=lambda one: getattr(one, against)
        )
        lines.append(
            PlotLine(
                label=f"depth {depth}" if depth else "students",
                x=[getattr(one, against) for one in those],
                y=[_quality(one.loss, sweep.by_token) for one in those],
                low=[_quality(one.loss_high, sweep.by_token) for one in those],
                high=[_quality(one.loss_low, sweep.by_token) for one in those],
                series=series % _CURVE_SERIES,
                points=True,
            )
        )
    marks = []
    if curve is not None:
        lines.append(
            PlotLine(
                label="fitted",
                x=curve.sizes,
                y=[_quality(one, sweep.by_token) for one in curve.loss],
                low=[_quality(one, sweep.by_token) for one in curve.loss_high],
                high=[_quality(one, sweep.by_token) for one in curve.loss_low],
                series=_CURVE_SERIES,
                dashed=True,
            )
        )
        marks = [(curve.knee, "knee")]
    if sweep.teacher_accuracy is not None and not sweep.by_token:
        sizes = [getattr(one, against) for one in sweep.sizes]
        ends = [min(sizes), max(sizes)]
        lines.append(PlotLine(label="teacher", x=ends, y=[sweep.teacher_accuracy] * 2, series=4, dashed=True))
    return draw_plot(
        title=title,
        caption="Each point is the mean of a size's students with its 95 % interval over seeds; the dashed "
        "line is a power law with a floor, fitted to all students, and its band the same over seeds.",
        x=PlotAxis(label=label, log=True),
        y=PlotAxis(label="perplexity", log=True)
        if sweep.by_token
        else PlotAxis(label="accuracy", percent=True),
        lines=lines,
        marks=marks,
    )


def _quality(loss: float, by_token: bool) -> float:
    """A loss as people read it: perplexity of text, else accuracy."""
    return math.exp(loss) if by_token else 1 - loss


def quality_words(one: SizeSummary, *, by_token: bool) -> str:
    """A size's quality with its interval."""
    if by_token:
        low, high = (math.exp(end) for end in (one.loss_low, one.loss_high))
        return f"perplexity {math.exp(one.loss):.2f} ({low:.2f} to {high:.2f})"
    return f"{one.accuracy:.1%} ({one.accuracy_low:.1%} to {one.accuracy_high:.1%})"


def knee_line(curve: CapacityCurve, by_token: bool) -> str:
    """Where growing stops to pay, in words."""
    name = _TITLES[curve.against][0]
    at = _quality(curve.knee_loss, by_token)
    floor = _quality(curve.floor, by_token)
    ends = sorted((_quality(curve.floor_low, by_token), _quality(curve.floor_high, by_token)))

    def shown(value: float) -> str:
        return f"{value:.2f}" if by_token else f"{value:.1%}"

    return (
        f"against {name}: knee at {curve.knee:,.4g} ({curve.knee_low:,.4g} to {curve.knee_high:,.4g}), where "
        f"the curve is at {shown(at)}; without end it goes to {shown(floor)} ({shown(ends[0])} to "
        f"{shown(ends[1])})"
    )


def sweep_text(sweep: Sweep) -> str:
    """A line for each size, the knees, and the smallest size that is near to the best."""
    return "\n".join(_lines(sweep, sweep.sizes))


def _lines(sweep: Sweep, sizes: Sequence[SizeSummary]) -> Iterator[str]:
    width = max(len(one.family) for one in sizes)
    for one in sizes:
        yield (
            f"{one.family:{width}s} {quality_words(one, by_token=sweep.by_token)}, {one.seeds} seeds; "
            f"{one.parameters:,d} parameters, {one.flops:,d} FLOPs, {one.latency_us:,.1f} us"
        )
    if sweep.teacher_accuracy is not None:
        yield f"teacher {', '.join(sweep.teacher)}: {sweep.teacher_accuracy:.1%}"
    yield from (knee_line(curve, sweep.by_token) for curve in sweep.curves)
    if not sweep.curves:
        yield "no curve: it needs four sizes, of which the larger ones are better"
    if sweep.pick is not None:
        near = f"{sweep.within:g} nats" if sweep.by_token else f"{100 * sweep.within:g} points"
        yield f"smallest within {near} of the best: {sweep.pick.family}"
    yield f"latency was measured on {sweep.machine}"

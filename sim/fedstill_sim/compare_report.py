"""`compare.html`: several methods over several seeds on one self-contained page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fedstill_sim.charts import (
    MARKERS,
    SERIES,
    Chart,
    Line,
    bytes_axis,
    draw_line,
    drawing,
    percent_axis,
    rounds_axis,
)
from fedstill_sim.comparison import Comparison, MethodEstimate, RoundEstimate
from fedstill_sim.config import described
from fedstill_sim.estimate import Estimate
from fedstill_sim.readable import counted, readable_bytes, readable_percent
from fedstill_sim.report import render, write_page

REPORT_FILE = "compare.html"
_PANELS = (
    ("personal_accuracy", "Personal"),
    ("global_accuracy", "Global"),
    ("worst_device_accuracy", "Worst device"),
)


def write_comparison_report(comparison: Comparison, path: Path) -> None:
    """Write the report of a comparison."""
    write_page(render_comparison(comparison), path)


def render_comparison(comparison: Comparison) -> str:
    """The report as HTML."""
    methods = list(comparison.methods.values())
    charts = [
        accuracy_with_intervals(comparison),
        accuracy_by_round(methods),
        accuracy_against_bytes(methods),
    ]
    return render(
        "compare.html",
        comparison=comparison,
        methods=methods,
        best={name: max(getattr(one, name).mean for one in methods) for name, _ in _PANELS},
        accuracies=[name for name, _ in _PANELS],
        charts=charts,
        configuration=described(comparison.config),
        command=comparison.config["comparison"]["command"],
    )


def accuracy_with_intervals(comparison: Comparison) -> Chart:
    """Each seed a dot, each method's mean and interval beside them."""
    methods = list(comparison.methods.values())
    with drawing(panels=3, height=1.2 + 0.42 * len(methods)) as canvas:
        for panel, (axes, (name, title)) in enumerate(zip(canvas.axes, _PANELS, strict=True)):
            for row, method in enumerate(methods):
                estimate: Estimate = getattr(method, name)
                colour = SERIES[row % len(SERIES)]
                axes.scatter(
                    estimate.values,
                    [row] * len(estimate.values),
                    s=16,
                    color=colour,
                    alpha=0.45,
                    linewidths=0,
                )
                axes.errorbar(
                    estimate.mean,
                    row,
                    xerr=estimate.half_width,
                    color=colour,
                    marker=MARKERS[row % len(MARKERS)],
                    markersize=7,
                    capsize=3,
                    linewidth=1.8,
                )
            axes.set_yticks(range(len(methods)), [one.method if panel == 0 else "" for one in methods])
            axes.tick_params(axis="y", length=0)
            axes.set_ylim(len(methods) - 0.5, -0.5)
            axes.set_title(title)
            percent_axis(axes, which="x")
        seeds = len(comparison.seeds)
        return canvas.chart(
            title="Where the methods end",
            caption=f"Small dots: {counted(seeds, 'seed')}. Large marks: their mean"
            + (" with its 95 % interval (Student's t)." if seeds > 1 else "; one seed gives no interval."),
            alt="; ".join(
                f"{one.method} personal {readable_percent(one.personal_accuracy.mean)}, global "
                f"{readable_percent(one.global_accuracy.mean)}"
                for one in methods
            )
            + ".",
        )


def accuracy_by_round(methods: Sequence[MethodEstimate]) -> Chart:
    """Means over the seeds, in bands from the lowest to the highest."""
    with drawing(panels=3) as canvas:
        for axes, (name, title) in zip(canvas.axes, _PANELS, strict=True):
            for series, method in enumerate(methods):
                draw_line(axes, _line(method, name, series, [one.round for one in method.rounds]))
            axes.set_title(title)
            rounds_axis(axes, rounds=len(methods[0].rounds))
            percent_axis(axes)
        canvas.legend_above(of=canvas.axes[1])
        return canvas.chart(
            title="Accuracy by round",
            caption="Mean over the seeds; bands from the lowest seed to the highest.",
            alt=f"Line chart of {counted(len(methods), 'method')} over "
            f"{counted(len(methods[0].rounds), 'round')}.",
        )


def accuracy_against_bytes(methods: Sequence[MethodEstimate]) -> Chart:
    """Mean accuracy over the bytes that a device has exchanged so far."""
    with drawing(panels=2, share_y=True, height=3.4) as canvas:
        for axes, (name, title) in zip(canvas.axes, _PANELS[:2], strict=True):
            for series, method in enumerate(methods):
                spent = [max(1.0, one.bytes_so_far_per_device) for one in method.rounds]
                draw_line(axes, _line(method, name, series, spent, band=False))
            bytes_axis(axes)
            axes.set_title(title)
            axes.set_xlabel("bytes a device has sent and received")
        percent_axis(canvas.axes[0])
        canvas.legend_above(of=canvas.axes[0])
        return canvas.chart(
            title="Accuracy against bytes",
            caption="Serialized bytes as sent, up and down together, mean over the seeds; logarithmic. "
            "Left and up is better.",
            alt="Bytes that a device exchanged in all: "
            + "; ".join(
                f"{one.method} {readable_bytes(one.rounds[-1].bytes_so_far_per_device)}" for one in methods
            )
            + ".",
        )


def _line(method: MethodEstimate, name: str, series: int, x: Sequence[float], *, band: bool = True) -> Line:
    estimates = [_named(one, name) for one in method.rounds]
    low = [None if one is None else min(one.values) for one in estimates]
    high = [None if one is None else max(one.values) for one in estimates]
    return Line(
        label=method.method,
        x=x,
        y=[None if one is None else one.mean for one in estimates],
        series=series,
        band=(low, high) if band else None,
    )


def _named(one: RoundEstimate, name: str) -> Estimate | None:
    estimate: Estimate | None = getattr(one, name)
    return estimate

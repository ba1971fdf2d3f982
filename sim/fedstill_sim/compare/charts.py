"""The charts of a comparison: one split's methods, and all splits side by side."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from fedstill_sim.compare.estimate import Estimate
from fedstill_sim.compare.result import MethodEstimate, RoundEstimate, SplitComparison
from fedstill_sim.report.svg import (
    MARKERS,
    MUTED,
    SERIES,
    Chart,
    Line,
    bytes_axis,
    draw_line,
    drawing,
    percent_axis,
    rounds_axis,
)
from fedstill_sim.results.readable import counted, readable_bytes, readable_percent

_PANELS = (
    ("personal_accuracy", "Personal"),
    ("global_accuracy", "Global"),
    ("worst_device_accuracy", "Worst device"),
)


def split_charts(on_split: SplitComparison, *, seeds: int) -> list[Chart]:
    """Draw every chart of a split; none where no run finished."""
    methods, where = list(on_split.methods.values()), on_split.split.name
    if not methods:
        return []
    return [
        accuracy_with_intervals(methods, where=where, seeds=seeds),
        frontier_chart(methods, where=where),
        accuracy_by_round(methods, where=where),
        accuracy_against_bytes(methods, where=where),
    ]


def frontier(methods: Sequence[MethodEstimate], accuracy: str) -> list[MethodEstimate]:
    """Return the methods, by rising bytes, that no other method matches with fewer bytes."""
    best: list[MethodEstimate] = []
    # Where two need the same, the more accurate comes first and excludes the other.
    for method in sorted(methods, key=lambda method: (_total(method), -getattr(method, accuracy).mean)):
        if not best or getattr(method, accuracy).mean > getattr(best[-1], accuracy).mean:
            best.append(method)
    return best


def _total(method: MethodEstimate) -> float:
    return method.total_bytes_per_device_round.mean


def frontier_chart(methods: Sequence[MethodEstimate], *, where: str) -> Chart:
    """Draw where each method ends over the bytes it needs; a step line joins those that no other beats."""
    with drawing(panels=2, share_y=True, height=3.6) as canvas:
        for axes, (name, title) in zip(canvas.axes, _PANELS[:2], strict=True):
            for series, method in enumerate(methods):
                estimate: Estimate = getattr(method, name)
                axes.errorbar(
                    max(1.0, _total(method)),
                    estimate.mean,
                    yerr=estimate.half_width,
                    color=SERIES[series % len(SERIES)],
                    marker=MARKERS[series % len(MARKERS)],
                    markersize=7,
                    capsize=3,
                    linewidth=1.6,
                    linestyle="none",
                    label=method.method,
                    zorder=3,
                )
            _draw_frontier(axes, frontier(methods, name), name)
            axes.set_title(title)
            axes.set_xlabel("bytes a device-round, up and down")
            bytes_axis(axes)
        percent_axis(canvas.axes[0])
        canvas.legend_above(of=canvas.axes[0], first=[method.method for method in methods])
        on_it = {name: [method.method for method in frontier(methods, name)] for name, _ in _PANELS[:2]}
        return canvas.chart(
            title="Accuracy for the bytes sent",
            caption="Final accuracy with its 95 % interval over measured bytes, up and down, logarithmic. "
            "The line is the frontier: a method on it is beaten by none that needs as little.",
            alt=f"{where}: on the frontier of personal accuracy: {', '.join(on_it['personal_accuracy'])}; "
            f"of global accuracy: {', '.join(on_it['global_accuracy'])}.",
        )


def _draw_frontier(axes: Axes, best: Sequence[MethodEstimate], accuracy: str) -> None:
    x = [max(1.0, _total(method)) for method in best]
    y = [getattr(method, accuracy).mean for method in best]
    _, right = axes.get_xlim()
    axes.step([*x, max(right, x[-1])], [*y, y[-1]], where="post", color=MUTED, linewidth=1.2, zorder=2)


def accuracy_by_split(splits: Sequence[SplitComparison], asked: Sequence[str]) -> Chart:
    """Draw each method's mean and interval, split by split."""
    with drawing(panels=2, share_y=True, height=3.6) as canvas:
        for axes, (name, title) in zip(canvas.axes, _PANELS[:2], strict=True):
            for series, method in enumerate(asked):
                estimates = [
                    (place, getattr(on_split.methods[method], name))
                    for place, on_split in enumerate(splits)
                    if method in on_split.methods
                ]
                axes.errorbar(
                    [place + 0.06 * (series - (len(asked) - 1) / 2) for place, _ in estimates],
                    [estimate.mean for _, estimate in estimates],
                    yerr=[estimate.half_width or 0.0 for _, estimate in estimates],
                    color=SERIES[series % len(SERIES)],
                    marker=MARKERS[series % len(MARKERS)],
                    markersize=6,
                    capsize=2.5,
                    linewidth=1.4,
                    label=method,
                )
            axes.set_xticks(
                range(len(splits)),
                [on_split.split.name.replace(", ", "\n") for on_split in splits],
                fontsize=8,
            )
            axes.set_title(title)
        percent_axis(canvas.axes[0])
        canvas.legend_above(of=canvas.axes[0])
        return canvas.chart(
            title="Accuracy by split",
            caption="Mean over the seeds with its 95 % interval.",
            alt=f"{counted(len(asked), 'method')} on {counted(len(splits), 'split')}.",
        )


def accuracy_with_intervals(methods: Sequence[MethodEstimate], *, where: str, seeds: int) -> Chart:
    """Draw each seed as a dot, with each method's mean and interval."""
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
            axes.set_yticks(range(len(methods)), [method.method if panel == 0 else "" for method in methods])
            axes.tick_params(axis="y", length=0)
            axes.set_ylim(len(methods) - 0.5, -0.5)
            axes.set_title(title)
            percent_axis(axes, which="x")
        return canvas.chart(
            title="Where the methods end",
            caption=f"Small dots: {counted(seeds, 'seed')}. Large marks: their mean"
            + (" with its 95 % interval (Student's t)." if seeds > 1 else "; one seed gives no interval."),
            alt=f"{where}: "
            + "; ".join(
                f"{method.method} personal {readable_percent(method.personal_accuracy.mean)}, global "
                f"{readable_percent(method.global_accuracy.mean)}"
                for method in methods
            )
            + ".",
        )


def accuracy_by_round(methods: Sequence[MethodEstimate], *, where: str) -> Chart:
    """Draw means over the seeds by round, with bands from the lowest seed to the highest."""
    with drawing(panels=3) as canvas:
        for axes, (name, title) in zip(canvas.axes, _PANELS, strict=True):
            for series, method in enumerate(methods):
                draw_line(axes, _line(method, name, series, [finished.round for finished in method.rounds]))
            axes.set_title(title)
            rounds_axis(axes, rounds=len(methods[0].rounds))
            percent_axis(axes)
        canvas.legend_above(of=canvas.axes[1])
        return canvas.chart(
            title="Accuracy by round",
            caption="Mean over the seeds; bands from the lowest seed to the highest.",
            alt=f"{where}: line chart of {counted(len(methods), 'method')} over "
            f"{counted(len(methods[0].rounds), 'round')}.",
        )


def accuracy_against_bytes(methods: Sequence[MethodEstimate], *, where: str) -> Chart:
    """Draw mean accuracy over the bytes that a device has exchanged so far."""
    with drawing(panels=2, share_y=True, height=3.4) as canvas:
        for axes, (name, title) in zip(canvas.axes, _PANELS[:2], strict=True):
            for series, method in enumerate(methods):
                spent = [max(1.0, finished.bytes_so_far_per_device) for finished in method.rounds]
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
            alt=f"{where}: bytes that a device exchanged in all: "
            + "; ".join(
                f"{method.method} {readable_bytes(method.rounds[-1].bytes_so_far_per_device)}"
                for method in methods
            )
            + ".",
        )


def _line(method: MethodEstimate, name: str, series: int, x: Sequence[float], *, band: bool = True) -> Line:
    estimates = [_named(finished, name) for finished in method.rounds]
    low = [None if estimate is None else min(estimate.values) for estimate in estimates]
    high = [None if estimate is None else max(estimate.values) for estimate in estimates]
    return Line(
        label=method.method,
        x=x,
        y=[None if estimate is None else estimate.mean for estimate in estimates],
        series=series,
        band=(low, high) if band else None,
    )


def _named(finished: RoundEstimate, name: str) -> Estimate | None:
    estimate: Estimate | None = getattr(finished, name)
    return estimate

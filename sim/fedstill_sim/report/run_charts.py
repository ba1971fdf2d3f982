"""The charts of one run's report, from its `RunResult`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from fedstill_sim.report.participation_charts import participation_charts
from fedstill_sim.report.svg import (
    INK,
    MARKERS,
    NARROW,
    SERIES,
    Chart,
    Line,
    bytes_axis,
    draw_heat_map,
    draw_line,
    drawing,
    percent_axis,
    rounds_axis,
)
from fedstill_sim.results.device_results import DeviceFigures
from fedstill_sim.results.readable import readable_bytes, readable_percent
from fedstill_sim.results.run_result import FinalResult, RoundResult, RunResult

MOST_DOTS = 250  # of one method in a scatter; of more devices, an even sample by rank is drawn
MOST_NAMED_DEVICES = 40
MOST_SORTED = 20_000  # devices that are sorted by their classes; of more, evenly spaced ones
MOST_RANKS = 500  # points of a curve over the devices in rising order
_TRADEOFF_SERIES = (0, 3, 4)  # colours that no baseline has


@dataclass(frozen=True)
class MethodRun:
    """What charts need of the run, or of one of its baselines, and its colour."""

    method: str
    series: int
    final: FinalResult
    rounds: Sequence[RoundResult]
    figures: DeviceFigures

    @property
    def bytes_per_device(self) -> float:
        """What a device has sent and received in all rounds, on average."""
        return sum(finished.total_bytes_per_device_round for finished in self.rounds)


def methods_of(result: RunResult) -> list[MethodRun]:
    """Return the run itself, then its baselines."""
    own = DeviceFigures.of(result.devices)
    runs = [MethodRun(result.method, 0, result.final, result.rounds, own)]
    for index, baseline in enumerate(result.baselines.values(), start=1):
        figures = DeviceFigures.of(baseline.devices)
        runs.append(MethodRun(baseline.method, index, baseline.final, baseline.rounds, figures))
    return runs


def run_charts(result: RunResult) -> list[Chart]:
    """Draw every chart that the run has the figures for."""
    runs = methods_of(result)
    charts = [
        accuracy_by_round(runs),
        personal_against_global(runs),
        device_spread(runs),
        accuracy_against_bytes(runs),
    ]
    if len(result.tradeoff) > 1:
        charts.append(tradeoff_curve(result))
    charts += participation_charts(result)
    if runs[0].figures.class_counts.shape[1]:  # text has no classes to hold
        charts.append(data_split(result, runs[0].figures))
    return charts


def accuracy_by_round(runs: Sequence[MethodRun]) -> Chart:
    """Draw accuracy by round: personal (with the middle 80 % of devices), global, and the worst device's."""
    run = runs[0]
    panels = ("personal_accuracy", "global_accuracy", "worst_device_accuracy")
    with drawing(panels=3) as canvas:
        for axes, name, title in zip(
            canvas.axes, panels, ("Personal", "Global", "Worst device"), strict=True
        ):
            for other in reversed(runs):
                band = _tenths(other) if other is run and name == "personal_accuracy" else None
                draw_line(axes, _by_round(other, name, band=band))
            if name == "global_accuracy" and any(
                finished.teacher_accuracy is not None for finished in run.rounds
            ):
                teacher = _by_round(run, "teacher_accuracy", label="teacher", series=len(runs), dashed=True)
                draw_line(axes, teacher)
            axes.set_title(title)
            rounds_axis(axes, rounds=len(run.rounds))
            percent_axis(axes)
        canvas.legend_above(of=canvas.axes[1], first=[run.method for run in runs])
        final = run.final
        return canvas.chart(
            title="Accuracy by round",
            caption="Personal: on each device's own held-out examples, mean over devices; the band holds "
            "the middle 80 % of devices. Global: the same students on everyone's test set. Worst device: "
            f"the lowest personal accuracy in the fleet.{_measured_on(run)}",
            alt=f"Line chart over {len(run.rounds)} rounds. {run.method} ends at "
            f"{readable_percent(final.personal_accuracy)} personal, "
            f"{readable_percent(final.global_accuracy)} global and "
            f"{readable_percent(final.worst_device_accuracy)} on the worst device.",
        )


def personal_against_global(runs: Sequence[MethodRun]) -> Chart:
    """Draw a dot for each device and method, and large marks for the means: up and right is better."""
    with drawing(width=NARROW, height=3.9) as canvas:
        axes = canvas.axes[0]
        for run in reversed(runs):
            dots = _device_dots(run)
            colour, marker = SERIES[run.series % len(SERIES)], MARKERS[run.series % len(MARKERS)]
            axes.scatter(dots[:, 0], dots[:, 1], s=20, color=colour, alpha=0.4, marker=marker, linewidths=0)
            if run.final.global_accuracy is not None and run.final.personal_accuracy is not None:
                axes.scatter(
                    [run.final.global_accuracy],
                    [run.final.personal_accuracy],
                    s=110,
                    color=colour,
                    marker=marker,
                    edgecolors=INK,
                    linewidths=1.2,
                    label=run.method,
                    zorder=5,
                )
        axes.set_xlabel("global accuracy")
        axes.set_ylabel("personal accuracy")
        percent_axis(axes, which="x")
        percent_axis(axes, which="y")
        _legend_in_order(axes, runs)
        most = max(len(_personal(run)) for run in runs)
        return canvas.chart(
            title="Personal against global accuracy",
            caption="A dot is a device, a large mark the mean of a method. Up: better on the device's own "
            "data. Right: better on everyone's, so less forgotten."
            + (
                f" {MOST_DOTS} of {most:,} measured devices are drawn, evenly spaced by rank."
                if most > MOST_DOTS
                else ""
            ),
            alt="Scatter of devices. Means (global, personal): "
            + "; ".join(
                f"{run.method} {readable_percent(run.final.global_accuracy)}, "
                f"{readable_percent(run.final.personal_accuracy)}"
                for run in runs
            )
            + ".",
        )


def device_spread(runs: Sequence[MethodRun]) -> Chart:
    """Draw the devices' personal accuracy in rising order: the left end is the worst device."""
    with drawing(width=NARROW, height=3.9) as canvas:
        axes = canvas.axes[0]
        for run in reversed(runs):
            personal = _personal(run)
            share = (np.arange(len(personal)) + 0.5) / max(1, len(personal))
            if len(personal) > MOST_RANKS:
                kept = np.linspace(0, len(personal) - 1, MOST_RANKS).astype(int)
                personal, share = personal[kept], share[kept]
            line = Line(label=run.method, x=share.tolist(), y=personal.tolist(), series=run.series)
            draw_line(axes, line, marker=len(personal) <= MOST_NAMED_DEVICES)
        axes.set_xlim(0, 1)
        axes.set_xlabel("share of devices, worst first")
        axes.set_ylabel("personal accuracy")
        percent_axis(axes, which="x")
        percent_axis(axes, which="y")
        _legend_in_order(axes, runs)
        personal = _personal(runs[0])
        low, middle, high = np.quantile(personal, [0.0, 0.5, 1.0]) if len(personal) else (0.0, 0.0, 0.0)
        return canvas.chart(
            title="Spread over devices",
            caption="Each method's devices from worst to best. A curve above another is better for every "
            f"rank; a flat curve treats devices alike.{_measured_on(runs[0])}",
            alt=f"Rising curve. Under {runs[0].method} devices reach {readable_percent(low)} to "
            f"{readable_percent(high)}, median {readable_percent(middle)}.",
        )


def accuracy_against_bytes(runs: Sequence[MethodRun]) -> Chart:
    """Draw accuracy over the bytes that a device has exchanged so far, both ways."""
    with drawing(panels=2, share_y=True, height=3.4) as canvas:
        for axes, name, title in zip(
            canvas.axes, ("personal_accuracy", "global_accuracy"), ("Personal", "Global"), strict=True
        ):
            for run in reversed(runs):
                spent = list(accumulate(finished.total_bytes_per_device_round for finished in run.rounds))
                y = [
                    getattr(finished, name) if total > 0 else None
                    for finished, total in zip(run.rounds, spent, strict=True)
                ]
                draw_line(axes, Line(label=run.method, x=spent, y=y, series=run.series))
            bytes_axis(axes)
            axes.set_title(title)
            axes.set_xlabel("bytes a device has sent and received")
        percent_axis(canvas.axes[0])
        canvas.legend_above(of=canvas.axes[0], first=[run.method for run in runs])
        return canvas.chart(
            title="Accuracy against bytes",
            caption="Serialized bytes as sent, up and down together, from the first message of the run; "
            "logarithmic. Left and up is better.",
            alt="Line chart. A device exchanged in all: "
            + "; ".join(f"{run.method} {readable_bytes(run.bytes_per_device)}" for run in runs)
            + ".",
        )


def tradeoff_curve(result: RunResult) -> Chart:
    """Draw personal and global accuracy over soft_weight, and the student before personalization."""
    points = [point for point in result.tradeoff if point.soft_weight is not None]
    before = next((point for point in result.tradeoff if point.soft_weight is None), None)
    weights = [point.soft_weight or 0.0 for point in points]
    names = ("personal_accuracy", "global_accuracy", "worst_device_accuracy")
    labels = ("personal", "global", "worst device")
    with drawing(width=NARROW, height=3.6) as canvas:
        axes = canvas.axes[0]
        for series, (name, label) in enumerate(zip(names, labels, strict=True)):
            draw_line(
                axes,
                Line(
                    label=label,
                    x=weights,
                    y=[getattr(point, name) for point in points],
                    series=_TRADEOFF_SERIES[series],
                ),
            )
            if before is not None:
                axes.axhline(
                    getattr(before, name),
                    color=SERIES[_TRADEOFF_SERIES[series]],
                    linewidth=1,
                    linestyle=(0, (2, 3)),
                    alpha=0.8,
                )
        axes.set_xlabel("soft_weight: weight of the fleet's knowledge")
        percent_axis(axes)
        axes.legend(ncols=3, loc="lower left", bbox_to_anchor=(0, 1.0), borderaxespad=0.2)
        first, last = points[0], points[-1]
        return canvas.chart(
            title="Personalizing without forgetting",
            caption="Each device starts from the fleet's final student and trains on its private labels, "
            "with the soft term from the fleet's knowledge at each weight. Dotted: the same student before "
            "it personalizes.",
            alt=f"Line chart. From soft_weight {first.soft_weight:g} to {last.soft_weight:g} personal "
            f"accuracy goes from {readable_percent(first.personal_accuracy)} to "
            f"{readable_percent(last.personal_accuracy)}, global from "
            f"{readable_percent(first.global_accuracy)} to {readable_percent(last.global_accuracy)}.",
        )


def data_split(result: RunResult, figures: DeviceFigures) -> Chart:
    """Draw how many training examples of each class each device has; many devices are sorted by class."""
    few = len(figures.class_counts) <= MOST_NAMED_DEVICES
    counts, most = figures.class_counts.astype(np.float64, copy=False), 400
    sampled = len(counts) > MOST_SORTED
    if not few:
        if sampled:
            counts = counts[np.linspace(0, len(counts) - 1, MOST_SORTED).astype(int)]
        shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
        counts = shares[np.lexsort((-shares.max(axis=1), shares.argmax(axis=1)))]
        counts = _averaged_rows(counts, most=most)
    with drawing(width=NARROW, height=min(7.5, 0.9 + 0.24 * len(counts)) if few else 3.9) as canvas:
        axes = canvas.axes[0]
        draw_heat_map(axes, counts)
        axes.set_xlabel("class")
        names = result.config.get("fleet", {}).get("class_names") or range(result.data.classes)
        if result.data.classes <= 20:
            axes.set_xticks(range(len(names)), [str(name)[:12] for name in names])
            axes.tick_params("x", rotation=90 if max(len(str(name)) for name in names) > 3 else 0)
        axes.tick_params(length=0)
        if few:
            axes.set_yticks(range(len(counts)), [device.name for device in result.devices])
            _write_counts(canvas.axes[0], counts) if result.data.classes <= 20 else None
        else:
            axes.set_yticks([])
            axes.set_ylabel(f"{len(result.devices):,} devices, by main class")
        for side in axes.spines.values():
            side.set_visible(False)
        return canvas.chart(
            title="Who holds what",
            caption=f"{result.data.description}. "
            + (
                "Training examples of each device by class."
                if few
                else "Share of each class in a device's training examples; devices sorted by their main "
                "class." + (f" {MOST_SORTED:,} of them are drawn, evenly spaced." if sampled else "")
            ),
            alt=f"Heat map of {len(result.devices):,} devices by {result.data.classes} classes.",
        )


def _write_counts(axes: Axes, counts: npt.NDArray[np.float64]) -> None:
    for (row, column), count in np.ndenumerate(counts):
        if count:
            axes.text(column, row, f"{count:.0f}", ha="center", va="center", fontsize=8, color=INK)


def _averaged_rows(rows: npt.NDArray[np.float64], *, most: int) -> npt.NDArray[np.float64]:
    """Average neighbouring rows until at most `most` are left."""
    if len(rows) <= most:
        return rows
    return np.stack([part.mean(axis=0) for part in np.array_split(rows, most)])


def _by_round(
    run: MethodRun,
    name: str,
    *,
    label: str | None = None,
    series: int | None = None,
    dashed: bool = False,
    band: tuple[list[float | None], list[float | None]] | None = None,
) -> Line:
    return Line(
        label=label or run.method,
        x=[finished.round for finished in run.rounds],
        y=[getattr(finished, name) for finished in run.rounds],
        series=run.series if series is None else series,
        dashed=dashed,
        band=band,
    )


def _tenths(run: MethodRun) -> tuple[list[float | None], list[float | None]]:
    return [finished.personal_p10 for finished in run.rounds], [
        finished.personal_p90 for finished in run.rounds
    ]


def _personal(run: MethodRun) -> npt.NDArray[np.float64]:
    """Return the personal accuracy of each device that has one, rising."""
    personal = run.figures.personal_accuracy
    return np.sort(personal[~np.isnan(personal)])


def _measured_on(run: MethodRun) -> str:
    """A sentence for a caption where not all devices were measured."""
    told = run.final.measured_on(len(run.figures.personal_accuracy))
    return f" {told[:1].upper()}{told[1:]}." if told else ""


def _device_dots(run: MethodRun) -> npt.NDArray[np.float64]:
    """Return (global, personal) accuracy of the devices that have both: [dots, 2]."""
    figures = run.figures
    dots = np.stack([figures.global_accuracy, figures.personal_accuracy], axis=1)
    dots = dots[~np.isnan(dots).any(axis=1)]
    dots = dots[np.lexsort((dots[:, 0], dots[:, 1]))]
    if len(dots) > MOST_DOTS:
        dots = dots[np.linspace(0, len(dots) - 1, MOST_DOTS).astype(int)]
    return dots


def _legend_in_order(axes: Axes, runs: Sequence[MethodRun]) -> None:
    handles, labels = axes.get_legend_handles_labels()
    order = {run.method: run.series for run in runs}
    pairs = sorted(zip(handles, labels, strict=True), key=lambda pair: order.get(pair[1], len(order)))
    axes.legend([handle for handle, _ in pairs], [label for _, label in pairs], loc="best", handlelength=1.6)

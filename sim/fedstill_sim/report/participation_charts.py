"""The charts of a run in which not every device takes part in every round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from fedstill_proto.arrays import Float64Array, IntArray

from fedstill_sim.report.svg import (
    INK,
    NARROW,
    SERIES,
    Chart,
    Line,
    draw_line,
    drawing,
    percent_axis,
    rounds_axis,
)
from fedstill_sim.results.device_results import DeviceFigures, DeviceResult
from fedstill_sim.results.readable import counted, readable_percent
from fedstill_sim.results.run_result import RoundResult, RunResult

MOST_DOTS = 500  # devices that are drawn; of more, an even sample by rank
_GROUPS = 4  # groups of devices, by how often their summaries counted


def participation_charts(result: RunResult) -> list[Chart]:
    """Draw who took part; no chart where every device took part in every round, at once."""
    if all(finished.accepted == len(result.devices) and not finished.clock_s for finished in result.rounds):
        return []
    charts = [who_took_part(result.rounds)]
    groups = by_participation(result.devices)
    return [*charts, accuracy_by_participation(groups)] if len(groups) > 1 else charts


def who_took_part(rounds: Sequence[RoundResult]) -> Chart:
    """Draw how many devices were there, were asked, counted, came late or stayed silent in each round."""
    series = {
        "there": [finished.present for finished in rounds],
        "asked": [finished.asked for finished in rounds],
        "counted": [finished.accepted for finished in rounds],
        "late": [finished.late for finished in rounds],
        "silent": [finished.silent for finished in rounds],
    }
    numbers = [finished.round for finished in rounds]
    with drawing(width=NARROW, height=3.9) as canvas:
        axes = canvas.axes[0]
        for place, (label, values) in enumerate(series.items()):
            draw_line(axes, Line(label=label, x=numbers, y=list(map(float, values)), series=place))
        axes.set_ylim(bottom=0)
        axes.set_ylabel("devices")
        rounds_axis(axes, rounds=len(rounds))
        canvas.legend_above(of=axes)
        seconds = rounds[-1].clock_s
        took = "" if not seconds else f" The rounds took {seconds:,.0f} virtual seconds."
        totals = {label: sum(values) for label, values in series.items()}
        return canvas.chart(
            title="Who took part",
            caption="Asked: got a task. Counted: its summary went into the consensus. Late: its summary came "
            f"when the round was over. Silent: no summary had come by the deadline.{took}",
            alt=f"{totals['asked']} tasks in {counted(len(rounds), 'round')}: {totals['counted']} summaries "
            f"counted, {totals['late']} late, {totals['silent']} silent.",
        )


@dataclass(frozen=True, eq=False)
class ParticipationGroup:
    """Measured devices that took part about equally often; an accuracy is NaN where it is not known.

    Attributes:
        counted: How often the summary of each counted: int64 [n].
        personal: Their personal accuracy [n].
        everyone: Their global accuracy [n].
    """

    counted: IntArray
    personal: Float64Array
    everyone: Float64Array


def by_participation(devices: Sequence[DeviceResult]) -> list[ParticipationGroup]:
    """Group the measured devices by how often they took part, rising; equal counts stay together."""
    figures = DeviceFigures.of(devices)
    measured = ~(np.isnan(figures.personal_accuracy) & np.isnan(figures.global_accuracy))
    if not measured.any():
        return []
    counts = figures.summaries_counted[measured].astype(np.int64)
    personal, everyone = figures.personal_accuracy[measured], figures.global_accuracy[measured]
    inner = np.quantile(counts, np.linspace(0, 1, _GROUPS + 1)[1:-1])
    group_of = np.searchsorted(np.unique(inner), counts, side="left")
    groups = (group_of == number for number in np.unique(group_of))
    return [ParticipationGroup(counts[own], personal[own], everyone[own]) for own in groups]


def accuracy_by_participation(groups: Sequence[ParticipationGroup]) -> Chart:
    """Draw the mean accuracies of each group, with devices as dots."""
    devices = sum(len(group.counted) for group in groups)
    share = min(1.0, MOST_DOTS / devices)
    with drawing(width=NARROW, height=3.9) as canvas:
        axes = canvas.axes[0]
        for series, (name, label) in enumerate((("personal", "personal"), ("everyone", "global"))):
            means = []
            for group in groups:
                values: Float64Array = getattr(group, name)
                points = np.stack([group.counted, values], axis=1)[~np.isnan(values)]
                if not len(points):
                    continue
                means.append(points.mean(axis=0))
                drawn = points[np.lexsort((points[:, 1], points[:, 0]))]
                if share < 1:
                    most = max(1, round(share * len(drawn)))
                    drawn = drawn[np.linspace(0, len(drawn) - 1, most).astype(int)]
                axes.scatter(drawn[:, 0], drawn[:, 1], s=16, color=SERIES[series], alpha=0.35, linewidths=0)
            axes.plot(
                [mean[0] for mean in means],
                [mean[1] for mean in means],
                color=SERIES[series],
                marker="o",
                markersize=7,
                markeredgecolor=INK,
                label=label,
                zorder=4,
            )
        axes.set_xlabel("how often a device's summary counted")
        axes.set_ylabel("accuracy")
        percent_axis(axes)
        canvas.legend_above(of=axes)
        few = f"; {MOST_DOTS} of {devices:,} are drawn" if share < 1 else ""
        return canvas.chart(
            title="Accuracy by participation",
            caption=f"Small dots: devices at the end of the run{few}. Large marks: means of groups of "
            "devices, from those that took part least to those that took part most.",
            alt="; ".join(
                f"counted {group.counted.min()} to {group.counted.max()} times: personal "
                f"{readable_percent(_mean(group.personal))}, global "
                f"{readable_percent(_mean(group.everyone))}"
                for group in groups
            )
            + ".",
        )


def _mean(values: Float64Array) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None

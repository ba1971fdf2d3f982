"""The charts of a run in which not every device takes part in every round."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

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
from fedstill_sim.results.readable import counted, readable_percent
from fedstill_sim.results.run_result import DeviceResult, RoundResult, RunResult

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


def by_participation(devices: Sequence[DeviceResult]) -> list[list[DeviceResult]]:
    """Group the measured devices by how often they took part, rising; equal counts stay together."""
    unknown = (None, None)
    measured = [device for device in devices if (device.personal_accuracy, device.global_accuracy) != unknown]
    if not measured:
        return []
    counts = np.array([device.summaries_counted for device in measured])
    inner = np.quantile(counts, np.linspace(0, 1, _GROUPS + 1)[1:-1])
    group_of = np.searchsorted(np.unique(inner), counts, side="left")
    return [
        [device for device, group in zip(measured, group_of, strict=True) if group == number]
        for number in np.unique(group_of)
    ]


def accuracy_by_participation(groups: Sequence[Sequence[DeviceResult]]) -> Chart:
    """Draw the mean accuracies of each group, with every device as a dot."""
    with drawing(width=NARROW, height=3.9) as canvas:
        axes = canvas.axes[0]
        for series, (name, label) in enumerate(
            (("personal_accuracy", "personal"), ("global_accuracy", "global"))
        ):
            means = []
            for group in groups:
                points = [
                    (device.summaries_counted, value)
                    for device in group
                    if (value := getattr(device, name)) is not None
                ]
                axes.scatter(
                    [count for count, _ in points],
                    [value for _, value in points],
                    s=16,
                    color=SERIES[series],
                    alpha=0.35,
                    linewidths=0,
                )
                if points:
                    means.append(np.mean(points, axis=0))
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
        return canvas.chart(
            title="Accuracy by participation",
            caption="Small dots: devices at the end of the run. Large marks: means of groups of devices, "
            "from those that took part least to those that took part most.",
            alt="; ".join(
                f"counted {group[0].summaries_counted} to {group[-1].summaries_counted} times: personal "
                f"{readable_percent(_mean(group, 'personal_accuracy'))}, global "
                f"{readable_percent(_mean(group, 'global_accuracy'))}"
                for group in (sorted(group, key=lambda device: device.summaries_counted) for group in groups)
            )
            + ".",
        )


def _mean(group: Sequence[DeviceResult], name: str) -> float | None:
    values = [value for device in group if (value := getattr(device, name)) is not None]
    return sum(values) / len(values) if values else None

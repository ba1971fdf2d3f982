"""A trace in numbers and as a page: how many devices are there by hour, and how fast they are."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedstill_sim.traces.columns import CHARGING, DAY_S, NETWORKS, ONLINE, FleetTrace, Floats

_LOOKS_A_DAY = 96
_FEWEST = 0.1  # quantiles that stand for the slow and the fast
_WEEK = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True, kw_only=True)
class TraceFigures:
    """What a trace is like.

    Attributes:
        devices: How many there are.
        days: Days of the trace.
        sessions_a_day: Sessions of a device in a day, on average.
        hours_a_day: By kind of session, the hours that a device is there in a day, on average.
        peak: By kind, the largest share of the devices that are there at once.
        trough: The smallest.
        gone_share: Share of the devices that leave for good within the trace.
        late_share: Share of those that join after its beginning.
        spread: The tenth, the median and the nine tenths of the devices, of gflops, down_mbps and up_mbps.
        networks: Share of the devices by network.
    """

    devices: int
    days: float
    sessions_a_day: float
    hours_a_day: dict[str, float]
    peak: dict[str, float]
    trough: dict[str, float]
    gone_share: float
    late_share: float
    spread: dict[str, tuple[float, float, float]]
    networks: dict[str, float]

    def lines(self) -> list[str]:
        """The figures as lines for a terminal."""
        shares = ", ".join(f"{share:.0%} {name}" for name, share in self.networks.items())
        return [
            f"{self.devices:,} devices, {self.days:g} days, {self.sessions_a_day:.1f} sessions a day of each",
            *(
                f"{kind}: {self.hours_a_day[kind]:.1f} hours a day; {self.trough[kind]:.0%} to "
                f"{self.peak[kind]:.0%} of the devices at once"
                for kind in self.hours_a_day
            ),
            f"in this time {self.gone_share:.1%} leave for good, and {self.late_share:.1%} join",
            *(
                f"{name}: {low:.3g} / {middle:.3g} / {high:.3g} (a tenth, the median, nine tenths)"
                for name, (low, middle, high) in self.spread.items()
            ),
            f"network: {shares}",
        ]


def there_by_time(trace: FleetTrace) -> tuple[Floats, dict[str, Floats]]:
    """(seconds, by kind of session the share of the devices that are there then), of the trace's days."""
    looks = np.arange(0.0, trace.span_s, DAY_S / _LOOKS_A_DAY)
    shares = {}
    for kind in (CHARGING, ONLINE):
        windows = trace.windows(kind)
        # Everybody's openings so far less everybody's closings: as exact as a look at each device.
        opened = np.searchsorted(np.sort(windows.start_s), looks, side="right")
        closed = np.searchsorted(np.sort(windows.end_s), looks, side="right")
        shares[kind] = (opened - closed) / trace.devices
    return looks, shares


def figures_of(trace: FleetTrace) -> TraceFigures:
    """The figures of a trace."""
    days = trace.span_s / DAY_S
    _, shares = there_by_time(trace)
    spread = {}
    for name in ("gflops", "down_mbps", "up_mbps"):
        low, middle, high = np.quantile(getattr(trace, name), (_FEWEST, 0.5, 1 - _FEWEST)).tolist()
        spread[name] = (low, middle, high)
    return TraceFigures(
        devices=trace.devices,
        days=days,
        sessions_a_day=len(trace.start_s) / trace.devices / days,
        hours_a_day={
            kind: float(trace.windows(kind).total_s.mean()) / days / 3600 for kind in (CHARGING, ONLINE)
        },
        peak={kind: float(share.max()) for kind, share in shares.items()},
        trough={kind: float(share.min()) for kind, share in shares.items()},
        gone_share=float((trace.left_s <= trace.span_s).mean()),
        late_share=float((trace.joined_s > 0).mean()),
        spread=spread,
        networks={name: float((trace.network == code).mean()) for code, name in enumerate(NETWORKS)},
    )


def write_page(trace: FleetTrace, path: Path, *, title: str) -> None:
    """Write a page with the figures and a picture; it reads nothing else."""
    looks, shares = there_by_time(trace)
    lines = "".join(f"<li>{html.escape(line)}</li>" for line in figures_of(trace).lines())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "<!doctype html><html lang='en'><meta charset='utf-8'>"
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style>"
        f"<h1>{html.escape(title)}</h1><ul>{lines}</ul>{picture(looks, shares)}"
        "<p>Share of the devices that are there, by UTC; an ordinary run asks those that are charging.</p>"
        "</html>\n",
        encoding="utf-8",
    )


_STYLE = (
    "body{font:15px sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}"
    "svg{width:100%;height:auto}.charging{fill:#2f6fd6;opacity:.75}.online{fill:none;stroke:#d6742f;"
    "stroke-width:1.5}.grid{stroke:#888;stroke-width:.4}text{font-size:11px;fill:currentColor}"
)


def picture(looks: Floats, shares: Mapping[str, Floats]) -> str:
    """The shares by hour as an <svg> element, of two weeks at most."""
    kept = looks < 14 * DAY_S
    days = max(float(looks[kept][-1]) / DAY_S, 1.0)
    width, height, left, bottom = 960.0, 260.0, 46.0, 24.0

    def x(seconds: float) -> float:
        return left + (width - left) * seconds / DAY_S / days

    def y(share: float) -> float:
        return (height - bottom) * (1 - share) + 4

    parts = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        parts.append(f"<line class='grid' x1='{left}' x2='{width}' y1='{y(share):.1f}' y2='{y(share):.1f}'/>")
        parts.append(f"<text x='2' y='{y(share) + 4:.1f}'>{share:.0%}</text>")
    for day in range(int(np.ceil(days))):
        at = x(day * DAY_S)
        parts.append(f"<line class='grid' x1='{at:.1f}' x2='{at:.1f}' y1='4' y2='{height - bottom + 4}'/>")
        parts.append(f"<text x='{at + 3:.1f}' y='{height - 4}'>{_WEEK[day % 7]}</text>")
    points = {
        kind: " ".join(
            f"{x(at):.1f},{y(share):.1f}" for at, share in zip(looks[kept], values[kept], strict=True)
        )
        for kind, values in shares.items()
    }
    ends = f"{x(float(looks[kept][-1])):.1f},{y(0):.1f} {left},{y(0):.1f}"
    return (
        f"<svg viewBox='0 0 {width:g} {height:g}' role='img' aria-label='Devices there by hour'>"
        f"{''.join(parts)}<polygon class='charging' points='{points[CHARGING]} {ends}'>"
        f"<title>charging</title></polygon><polyline class='online' points='{points[ONLINE]}'>"
        "<title>online</title></polyline>"
        f"<text x='{left + 8}' y='18'>blue: charging; orange: online</text></svg>"
    )

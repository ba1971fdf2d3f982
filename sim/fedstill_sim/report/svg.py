"""Charts as inline SVG that follows the page's colours, light, dark or on paper.

Matplotlib knows no CSS variables: charts are drawn in placeholder colours, which then become `var(--...)`.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from fedstill_sim.results.readable import readable_bytes

INK, MUTED, GRID = "#010101", "#020202", "#030303"
SERIES = ("#010a10", "#010a11", "#010a12", "#010a13", "#010a14", "#010a15")
_VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--grid"} | {
    colour: f"--series-{index}" for index, colour in enumerate(SERIES)
}
_HEAT = (0.18, 0.45, 0.85)  # of a heat map's cells: a hue that reads on white and on black
MARKERS = ("o", "s", "^", "D", "v", "P")

_STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "lines.linewidth": 1.9,
    "legend.frameon": False,
    "legend.labelcolor": INK,
}

Points = Sequence[float | None]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A drawn chart.

    Attributes:
        title: Its heading.
        caption: How to read it.
        alt: What it shows, in words, for those who cannot see it.
        svg: The drawing, as an <svg> element.
    """

    title: str
    caption: str
    alt: str
    svg: str


@dataclass(frozen=True, kw_only=True)
class Line:
    """A series of y over x, with an optional band (low, high) around it; a y of None is skipped."""

    label: str
    x: Sequence[float]
    y: Points
    series: int
    band: tuple[Points, Points] | None = None
    dashed: bool = False


# Inches. The page scales a chart to its column; with these widths, text has the same size in both columns.
WIDE, NARROW = 10.6, 5.0


@contextmanager
def drawing(
    *, panels: int = 1, width: float = WIDE, height: float = 3.3, share_y: bool = False
) -> Iterator[Drawing]:
    """Open a figure with panels side by side, in the report's style."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots(1, panels, sharey=share_y, squeeze=False)[0]
        yield Drawing(figure=figure, axes=list(axes))


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure that is being drawn."""

    figure: Figure
    axes: list[Axes]

    def legend_above(self, *, of: Axes, first: Sequence[str] = ()) -> None:
        """Put a panel's legend above all panels, where it hides no line; labels in `first` come first."""
        entries = dict(zip(*reversed(of.get_legend_handles_labels()), strict=True))
        order = [label for label in first if label in entries]
        labels = order + [label for label in entries if label not in order]
        self.figure.legend(
            [entries[label] for label in labels],
            labels,
            loc="outside upper left",
            ncols=len(labels),
            handlelength=1.6,
            borderpad=0.5,
        )

    def chart(self, *, title: str, caption: str, alt: str) -> Chart:
        """Return the finished chart."""
        return Chart(title=title, caption=caption, alt=alt, svg=self._svg(title=title, alt=alt))

    def _svg(self, *, title: str, alt: str) -> str:
        buffer = io.StringIO()
        # The salt makes the names of the SVG's inner parts: charts on one page must not share them.
        with mpl.rc_context({"svg.hashsalt": f"{title}/{alt}"}):
            self.figure.savefig(
                buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
            )
        return _page_colours(buffer.getvalue())


def _page_colours(svg: str) -> str:
    svg = svg[svg.index("<svg") :]
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    svg = re.sub(r"font: ([\d.]+)px '[^;\"]*'(?:, [^;\"]*)?", r"font-size: \1px", svg)
    svg = re.sub(r"font: (bold|700) ([\d.]+)px [^;\"]*", r"font-weight: 600; font-size: \2px", svg)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    return re.sub(r'<svg ([^>]*?)width="[^"]*"', r'<svg aria-hidden="true" \1', svg, count=1).replace(
        "\n", " "
    )


def percent_axis(axes: Axes, *, which: str = "y", low: float | None = None) -> None:
    """Show an axis of accuracies from 0 to 1 in percent."""
    axis = axes.yaxis if which == "y" else axes.xaxis
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f} %"))
    axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    bottom, top = axes.get_ylim() if which == "y" else axes.get_xlim()
    limits = (max(low if low is not None else bottom, -0.02), min(top, 1.01))
    axes.set_ylim(limits) if which == "y" else axes.set_xlim(limits)


def bytes_axis(axes: Axes) -> None:
    """Show bytes along x on a logarithmic axis, in readable units."""
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    within_decades = (1, 2, 5) if high < 300 * low else (1,)
    axes.xaxis.set_major_locator(LogLocator(subs=within_decades))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: readable_bytes(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def rounds_axis(axes: Axes, *, rounds: int) -> None:
    """Show rounds along x as whole numbers."""
    axes.set_xlabel("round")
    if rounds == 1:
        axes.set_xlim(0, 2)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def draw_line(axes: Axes, line: Line, *, marker: bool | None = None) -> None:
    """Draw a series; by default, few points get markers."""
    kept = [index for index, value in enumerate(line.y) if value is not None]
    x, y = _at(line.x, kept), _at(line.y, kept)
    colour = SERIES[line.series % len(SERIES)]
    marked = len(kept) <= 25 if marker is None else marker
    axes.plot(
        x,
        y,
        color=colour,
        label=line.label,
        linestyle=(0, (5, 3)) if line.dashed else "-",
        marker=MARKERS[line.series % len(MARKERS)] if marked and not line.dashed else None,
        markersize=3.6 if len(kept) > 1 else 7,
        zorder=4 if line.series == 0 else 3,
    )
    if line.band is not None:
        low, high = (_at(side, kept) for side in line.band)
        axes.fill_between(x, low, high, color=colour, alpha=0.13, linewidth=0, zorder=2)


def draw_heat_map(axes: Axes, counts: npt.NDArray[np.float64]) -> None:
    """Draw cells [rows, columns] from transparent (0) to full colour (the largest)."""
    cells = np.empty((*counts.shape, 4))
    cells[..., :3] = _HEAT
    cells[..., 3] = 0.75 * counts / max(1e-9, float(counts.max()))
    axes.imshow(cells, aspect="auto", interpolation="nearest")
    axes.grid(False)


def _at(values: Points, kept: Sequence[int]) -> list[float]:
    return [value for index in kept if (value := values[index]) is not None]

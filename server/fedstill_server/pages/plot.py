"""Line charts as inline SVG in the colours of the page, without a drawing library.

The simulator draws its reports with matplotlib, which a server does not install. What a server has to draw
is few points on two axes, one of them often logarithmic: that is plain text.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 560.0, 320.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 62.0, 14.0, 34.0, 46.0
_TICKS = 6
_SERIES = 6
_LETTER = 6.4  # about the width of one


@dataclass(frozen=True, kw_only=True)
class PlotLine:
    """A series of points (x, y) in the order of x.

    Attributes:
        label: Its name in the legend; "" stands in none.
        x: Along the axis below.
        y: Along the axis at the left.
        low: The lower end of a band around it; () is no band.
        high: The upper end.
        series: Which of the page's colours it has.
        dashed: Whether it is a dashed line without points.
        points: Whether it is points without a line.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    series: int = 0
    dashed: bool = False
    points: bool = False


@dataclass(frozen=True, kw_only=True)
class PlotAxis:
    """An axis: what it shows, whether it is logarithmic, and whether its numbers are shares."""

    label: str
    log: bool = False
    percent: bool = False


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A drawn chart, as parts.html shows it.

    Attributes:
        title: Its heading.
        caption: How to read it.
        alt: What it shows, in words.
        svg: The drawing.
    """

    title: str
    caption: str
    alt: str
    svg: str


@dataclass(frozen=True, kw_only=True)
class _Scale:
    """Where a value of an axis lies in the drawing."""

    axis: PlotAxis
    low: float
    high: float
    begin: float
    end: float

    def __call__(self, value: float) -> float:
        at, low, high = (self._along(one) for one in (value, self.low, self.high))
        return self.begin + (self.end - self.begin) * (at - low) / (high - low)

    def _along(self, value: float) -> float:
        return math.log10(value) if self.axis.log else value

    def ticks(self) -> list[float]:
        if not self.axis.log:
            return _linear_ticks(self.low, self.high)
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        within = (1, 2, 5) if self.high < 300 * self.low else (1,)
        every = [digit * 10.0**decade for decade in decades for digit in within]
        return [value for value in every if self.low <= value <= self.high * (1 + 1e-9)]


def draw_plot(
    *,
    title: str,
    caption: str,
    x: PlotAxis,
    y: PlotAxis,
    lines: Sequence[PlotLine],
    marks: Sequence[tuple[float, str]] = (),
) -> Plot:
    """Draw lines over two axes.

    Args:
        title: The chart's heading.
        caption: How to read it.
        x: The axis below.
        y: The axis at the left.
        lines: What is drawn; all values are finite, and above 0 along a logarithmic axis.
        marks: Places along x with a line from top to bottom, and its name.
    """
    across = _scale(x, [one for line in lines for one in line.x], _LEFT, _WIDTH - _RIGHT)
    up = _scale(
        y, [one for line in lines for one in (*line.y, *line.low, *line.high)], _HEIGHT - _BOTTOM, _TOP
    )
    parts = [*_axes(across, up), *_marks(across, marks)]
    for line in lines:
        parts += _line(line, across, up)
    parts += _legend(lines)
    body = "".join(parts)
    svg = f'<svg viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" font-size="12" aria-hidden="true">{body}</svg>'
    said = "; ".join(
        f"{line.label}: "
        + ", ".join(f"{_shown(b, y)} at {_shown(a, x)}" for a, b in zip(line.x, line.y, strict=True))
        for line in lines
        if line.label and not line.dashed
    )
    return Plot(title=title, caption=caption, alt=f"{y.label} over {x.label}. {said}", svg=svg)


def _scale(axis: PlotAxis, values: Sequence[float], begin: float, end: float) -> _Scale:
    low, high = (min(values), max(values)) if values else (1.0, 2.0)
    if axis.log:
        room = (high / low) ** 0.04 if high > low else 2.0
        low, high = low / room, high * room
    else:
        room = 0.06 * (high - low) or max(abs(high), 1.0) * 0.1
        low, high = low - room if low < 0 or low > room else 0.0, high + room
        high = min(high, 1.0 + 0.02) if axis.percent else high
    return _Scale(axis=axis, low=low, high=max(high, low * 1.0001 + 1e-12), begin=begin, end=end)


def _linear_ticks(low: float, high: float) -> list[float]:
    rough = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(digit * power for digit in (1, 2, 5, 10) if digit * power >= rough)
    first = math.ceil(low / step - 1e-9)
    return [number * step for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _shown(value: float, axis: PlotAxis) -> str:
    if axis.percent:
        return f"{100 * value:.3g} %"
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def _text(
    x: float, y: float, text: str, *, anchor: str = "middle", ink: str = "muted", more: str = ""
) -> str:
    at = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {at} fill="var(--{ink})"{more}>{escape(text)}</text>'


def _axes(across: _Scale, up: _Scale) -> list[str]:
    parts = []
    for value in up.ticks():
        y = up(value)
        parts.append(
            f'<line x1="{_LEFT:g}" x2="{_WIDTH - _RIGHT:g}" y1="{y:.1f}" y2="{y:.1f}" stroke="var(--grid)"/>'
        )
        parts.append(_text(_LEFT - 7, y + 4, _shown(value, up.axis), anchor="end"))
    for value in across.ticks():
        x = across(value)
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP:g}" y2="{_HEIGHT - _BOTTOM:g}" stroke="var(--grid)"/>'
        )
        parts.append(_text(x, _HEIGHT - _BOTTOM + 17, _shown(value, across.axis)))
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(_text(middle, _HEIGHT - 8, across.axis.label))
    turned = f' transform="rotate(-90 13 {_HEIGHT / 2:g})"'
    parts.append(_text(13, _HEIGHT / 2, up.axis.label, more=turned))
    return parts


def _marks(across: _Scale, marks: Sequence[tuple[float, str]]) -> list[str]:
    parts = []
    for value, name in marks:
        x = across(value)
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP:g}" y2="{_HEIGHT - _BOTTOM:g}" stroke="var(--muted)" '
            'stroke-dasharray="2 3"/>'
        )
        parts.append(_text(x + 4, _HEIGHT - _BOTTOM - 6, name, anchor="start"))
    return parts


def _line(line: PlotLine, across: _Scale, up: _Scale) -> list[str]:
    colour = f"var(--series-{line.series % _SERIES})"
    places = [(across(x), up(y)) for x, y in zip(line.x, line.y, strict=True)]
    parts = []
    if line.low and line.high:
        over = [(across(x), up(y)) for x, y in zip(line.x, line.high, strict=True)]
        under = [(across(x), up(y)) for x, y in zip(line.x, line.low, strict=True)]
        if line.points:  # a point has its band alone
            parts += [
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{a:.1f}" y2="{b:.1f}" stroke="{colour}" opacity=".6"/>'
                for (x, a), (_, b) in zip(over, under, strict=True)
            ]
        else:
            around = " ".join(f"{x:.1f},{y:.1f}" for x, y in (*over, *reversed(under)))
            parts.append(f'<polygon points="{around}" fill="{colour}" opacity=".13"/>')
    if not line.points:
        dashes = ' stroke-dasharray="6 4"' if line.dashed else ""
        along = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{along}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>')
    if line.points or not line.dashed:
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.4" fill="{colour}"/>' for x, y in places]
    return parts


def _legend(lines: Sequence[PlotLine]) -> list[str]:
    parts, x = [], _LEFT
    for line in lines:
        if line.label:
            colour = f"var(--series-{line.series % _SERIES})"
            parts.append(f'<rect x="{x:.1f}" y="12" width="12" height="4" fill="{colour}"/>')
            parts.append(_text(x + 17, 18, line.label, anchor="start", ink="ink"))
            x += 34 + _LETTER * len(line.label)
    return parts

"""Max pooling and its gradient.

The gradient goes to the first maximum of a window in reading order, as in torch (constant image regions
make ties common). A tournament decides it: along the width within each row of the window, then between the
rows. Each round compares what comes first with the maximum of what comes later, so no indices are needed.
Windows that tile the image are cut by views; others by strided slices, whose gradients are added up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch

from fedstill_server.export.layout import Shape, Value
from fedstill_server.export.lowering.elementwise import cast
from fedstill_server.export.lowering.geometry import image_order
from fedstill_server.export.lowering.stacked import BOOL, LoweringError, OperatorTable, StackedGraph
from fedstill_server.export.lowering.windows import cut, padded, spread


@dataclass(frozen=True, kw_only=True)
class _Windows:
    """Windows over the places of an image, one number of each for every dimension of the places."""

    size: Shape
    kernel: Shape
    stride: Shape
    padding: Shape
    dilation: Shape
    output: Shape

    @property
    def dimensions(self) -> list[int]:
        """The logical dimensions of the places."""
        return list(range(2, 2 + len(self.size)))

    def tile(self, at: int) -> bool:
        """Whether windows lie side by side without gaps, in a dimension of the places."""
        return self.kernel[at] == self.stride[at] and self.dilation[at] == 1

    def framed(self, at: int) -> int:
        """Places that are read in a dimension, from the first to the last."""
        return (self.output[at] - 1) * self.stride[at] + (self.kernel[at] - 1) * self.dilation[at] + 1


class _Round(NamedTuple):
    """One round of the tournament: what each tap reads, and, where windows tile, how they lie together."""

    entrants: list[Value]
    together: Value | None


def max_pool(
    graph: StackedGraph,
    x: Value,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    ceil_mode: bool = False,
) -> tuple[Value, None]:
    """[rows, channels, *places] -> the maximum of each window, without indices."""
    return _maxima(graph, x, _windows(x, kernel, stride, padding, dilation, ceil_mode)), None


def max_pool_backward(
    graph: StackedGraph, gradient: Value, x: Value, kernel: Sequence[int], *settings_and_indices: Any
) -> Value:
    """The gradient of each window, at its first maximum."""
    stride, padding, dilation, ceil_mode, _ = settings_and_indices
    return _routed(graph, gradient, x, _windows(x, kernel, stride, padding, dilation, ceil_mode))


def adaptive_max_pool(graph: StackedGraph, x: Value, output: Sequence[int]) -> tuple[Value, None]:
    return _maxima(graph, x, _adaptive(x, output)), None


def adaptive_max_pool_backward(graph: StackedGraph, gradient: Value, x: Value, indices: None) -> Value:
    return _routed(graph, gradient, x, _adaptive(x, gradient.shape[2:]))


def _maxima(graph: StackedGraph, x: Value, windows: _Windows) -> Value:
    x = graph.reordered(x, image_order(len(windows.size)))
    return _later_maxima(graph, _rounds(graph, _framed(graph, x, windows), windows)[-1].entrants)[0]


def _routed(graph: StackedGraph, gradient: Value, x: Value, windows: _Windows) -> Value:
    """The way back: what a round's winner gets is the prize of the round before."""
    x = graph.reordered(x, image_order(len(windows.size)))
    prize = graph.reordered(gradient, x.order)
    rounds = _rounds(graph, _framed(graph, x, windows), windows)
    for at, (entrants, together) in enumerate(reversed(rounds)):
        shares = _first_maximum(graph, entrants, prize)
        prize = _gathered(graph, shares, together, at, windows)
    return _unframed(graph, prize, x, windows)


def _rounds(graph: StackedGraph, framed: Value, windows: _Windows) -> list[_Round]:
    """The rounds, from the last dimension of the places to the first."""
    rounds: list[_Round] = []
    for at in reversed(range(len(windows.size))):
        before = _later_maxima(graph, rounds[-1].entrants)[0] if rounds else framed
        rounds.append(_round(graph, before, at, windows))
    return rounds


def _round(graph: StackedGraph, x: Value, at: int, windows: _Windows) -> _Round:
    dimension, taps, places = 2 + at, windows.kernel[at], windows.output[at]
    if taps == 1 and windows.stride[at] == 1:
        return _Round([x], None)
    if windows.tile(at):
        together = graph.reshape(x, (*x.shape[:dimension], places, taps, *x.shape[dimension + 1 :]))
        return _Round(graph.unstack(together, dimension + 1), together)
    starts = [tap * windows.dilation[at] for tap in range(taps)]
    entrants = [cut(graph, x, [dimension], [start], [places], [windows.stride[at]]) for start in starts]
    return _Round(entrants, None)


def _gathered(
    graph: StackedGraph, shares: list[Value], together: Value | None, at: int, windows: _Windows
) -> Value:
    """The shares of the entrants, at the places that they came from."""
    dimension, length = 2 + at, windows.framed(at)
    if together is not None:
        shape = (*together.shape[:dimension], length, *together.shape[dimension + 2 :])
        return graph.reshape(graph.stack(shares, dimension + 1, together), shape)
    step, dilation = windows.stride[at], windows.dilation[at]
    return spread(graph, shares, dimension, step=step, length=length, dilation=dilation)


def _first_maximum(graph: StackedGraph, entrants: list[Value], prize: Value) -> list[Value]:
    """Hands the prize to the first of the largest entrants; the others get 0."""
    later = _later_maxima(graph, entrants)
    shares = []
    for entrant, rival in zip(entrants, later[1:], strict=False):
        wins = cast(
            graph, graph.elementwise("GreaterOrEqual", [entrant, rival], dtype=BOOL), dtype=torch.float32
        )
        share = graph.elementwise("Mul", [prize, wins])
        prize = graph.elementwise("Sub", [prize, share])
        shares.append(share)
    return [*shares, prize]


def _later_maxima(graph: StackedGraph, entrants: list[Value]) -> list[Value]:
    """For each entrant the maximum of itself and all later ones."""
    maxima = entrants[-1:]
    for entrant in reversed(entrants[:-1]):
        maxima.append(graph.elementwise("Max", [entrant, maxima[-1]]))
    return maxima[::-1]


def _framed(graph: StackedGraph, x: Value, windows: _Windows) -> Value:
    """The places that are read, those around the image below any number."""
    frame = [windows.framed(at) for at in range(len(windows.size))]
    ends = [length - before for length, before in zip(frame, windows.padding, strict=True)]
    dimensions = windows.dimensions
    kept = [min(end, size) for end, size in zip(ends, windows.size, strict=True)]
    whole = cut(graph, x, dimensions, [0] * len(kept), kept)
    behind = [end - length for end, length in zip(ends, kept, strict=True)]
    return padded(graph, whole, dimensions, windows.padding, behind, value=-np.inf)


def _unframed(graph: StackedGraph, routed: Value, x: Value, windows: _Windows) -> Value:
    """Without the places around the image, and with zeros for those that belong to no window."""
    dimensions = windows.dimensions
    frame = [windows.framed(at) for at in range(len(windows.size))]
    kept = [
        min(length - before, size)
        for length, before, size in zip(frame, windows.padding, windows.size, strict=True)
    ]
    inside = cut(graph, routed, dimensions, windows.padding, kept)
    missing = [size - length for size, length in zip(windows.size, kept, strict=True)]
    return padded(graph, inside, dimensions, [0] * len(missing), missing)


def _windows(
    x: Value,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    ceil_mode: bool,
) -> _Windows:
    rank = len(kernel)
    if len(x.shape) != rank + 2:
        raise LoweringError(
            f"max pooling over {rank} dimensions of {list(x.shape)}: give [rows, channels, places]"
        )
    kernel, stride, padding, dilation = (
        tuple(numbers) if len(numbers) == rank else (numbers[0],) * rank
        for numbers in (kernel, stride or kernel, padding, dilation)
    )
    size, output = x.shape[2:], []
    for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True):
        places = (n + 2 * p - d * (k - 1) - 1 + (s - 1 if ceil_mode else 0)) // s + 1
        output.append(places - 1 if ceil_mode and (places - 1) * s >= n + p else places)
    return _Windows(
        size=size, kernel=kernel, stride=stride, padding=padding, dilation=dilation, output=tuple(output)
    )


def _adaptive(x: Value, output: Sequence[int]) -> _Windows:
    """Windows of one size that tile the image into `output` places."""
    size = x.shape[2:]
    if len(size) != len(output) or any(n % places for n, places in zip(size, output, strict=True)):
        raise LoweringError(
            f"adaptive max pooling of {list(size)} places to {list(output)}: windows of several sizes have "
            "no translation; let the sizes divide, or use adaptive average pooling"
        )
    kernel = tuple(n // places for n, places in zip(size, output, strict=True))
    return _windows(x, kernel, kernel, (0,), (1,), False)


aten = torch.ops.aten
OPERATORS: OperatorTable = {
    aten.max_pool2d_with_indices.default: max_pool,
    aten.max_pool2d_with_indices_backward.default: max_pool_backward,
    aten.max_pool3d_with_indices.default: max_pool,
    aten.max_pool3d_with_indices_backward.default: max_pool_backward,
    aten.adaptive_max_pool2d.default: adaptive_max_pool,
    aten.adaptive_max_pool2d_backward.default: adaptive_max_pool_backward,
    aten.adaptive_max_pool3d.default: adaptive_max_pool,
    aten.adaptive_max_pool3d_backward.default: adaptive_max_pool_backward,
}

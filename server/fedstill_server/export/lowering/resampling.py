"""Average pooling, resizing and mirrored padding: products with constant matrices.

Each of them is linear and works on one dimension of the places after another, so a matrix [output places,
input places] for each dimension says all of it. The matrix is what torch itself makes of the unit vectors.
Its transpose is the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from fedstill_server.export.layout import Value
from fedstill_server.export.lowering.geometry import image_order
from fedstill_server.export.lowering.stacked import LoweringError, OperatorTable, StackedGraph

aten = torch.ops.aten
_OneDimension = Callable[[Tensor, int], Tensor]
"""What an operator does to [1, signals, places], in the dimension of the given number."""
_AT_ONCE = 8
"""Products for each value that going over all dimensions at once may cost more; it saves a pass."""


def resampled(graph: StackedGraph, x: Value, matrices: Sequence[np.ndarray]) -> Value:
    """[rows, channels, *places] -> [rows, channels, *places'], each dimension times its matrix."""
    rank = len(matrices)
    if len(x.shape) != rank + 2:
        raise LoweringError(
            f"pooling or resizing of {rank} dimensions of {list(x.shape)}: give [rows, channels, places]"
        )
    x = graph.reordered(x, image_order(rank))
    sizes, outputs = [m.shape[1] for m in matrices], [m.shape[0] for m in matrices]
    one_by_one = sum(math.prod(outputs[: at + 1]) * math.prod(sizes[at:]) for at in range(rank))
    if rank > 1 and math.prod(outputs) * math.prod(sizes) <= one_by_one + _AT_ONCE * math.prod(sizes):
        whole = matrices[0]
        for matrix in matrices[1:]:
            whole = np.kron(whole, matrix)
        return _product(graph, x, whole, range(2, rank + 2), outputs)
    for at, matrix in enumerate(matrices):
        x = _product(graph, x, matrix, range(2 + at, 3 + at), outputs[at : at + 1])
    return x


def _product(
    graph: StackedGraph, x: Value, matrix: np.ndarray, dimensions: range, outputs: Sequence[int]
) -> Value:
    """x with neighbouring dimensions, taken as one, times a matrix."""
    if matrix.shape[0] == matrix.shape[1] and (matrix == np.eye(len(matrix))).all():
        return x
    devices, rows = graph.devices(x), x.shape[0]
    before = math.prod(x.shape[1 : dimensions.start])
    behind = math.prod(x.shape[dimensions.stop :]) * rows
    return graph.emit(
        "MatMul",
        [
            graph.writer.constant(matrix.astype(np.float32)[None]),
            graph.memory(x, (devices * before, matrix.shape[1], behind)),
        ],
        shape=(*x.shape[: dimensions.start], *outputs, *x.shape[dimensions.stop :]),
        order=x.order,
        memory=(devices * before, matrix.shape[0], behind),
        stacked=x.stacked,
    )


def _matrices(sizes: Sequence[int], operator: _OneDimension) -> list[np.ndarray]:
    units = [torch.eye(size, dtype=torch.float64)[None] for size in sizes]
    return [operator(unit, at)[0].T.numpy() for at, unit in enumerate(units)]


def _back(matrices: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [matrix.T for matrix in matrices]


def _at(numbers: Sequence[int], at: int) -> int:
    """The number of a dimension, where one may stand for all."""
    return numbers[at] if len(numbers) > 1 else numbers[0]


def _averages(
    x: Value,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor: int | None = None,
) -> list[np.ndarray]:
    def operator(signals: Tensor, at: int) -> Tensor:
        k, s, p = (_at(numbers, at) for numbers in (kernel, stride or kernel, padding))
        if divisor is None:
            return torch.avg_pool1d(signals, k, s, p, ceil_mode, count_include_pad)
        share = divisor if at == 0 else 1
        window = (aten.avg_pool2d.default, signals.unsqueeze(-2), (1, k), (1, s), (0, p), ceil_mode)
        pool, images, *settings = window
        sums: Tensor = pool(images, *settings, True, 1)
        return sums.squeeze(-2) / share

    return _matrices(x.shape[2:], operator)


def average_pool(graph: StackedGraph, x: Value, *settings: object) -> Value:
    return resampled(graph, x, _averages(x, *settings))  # type: ignore[arg-type]


def average_pool_backward(graph: StackedGraph, gradient: Value, x: Value, *settings: object) -> Value:
    return resampled(graph, gradient, _back(_averages(x, *settings)))  # type: ignore[arg-type]


def _adaptive_averages(x: Value, output: Sequence[int]) -> list[np.ndarray]:
    return _matrices(x.shape[2:], lambda signals, at: torch.adaptive_avg_pool1d(signals, _at(output, at)))


def adaptive_average_pool(graph: StackedGraph, x: Value, output: Sequence[int]) -> Value:
    return resampled(graph, x, _adaptive_averages(x, output))


def adaptive_average_pool_backward(graph: StackedGraph, gradient: Value, x: Value) -> Value:
    return resampled(graph, gradient, _back(_adaptive_averages(x, gradient.shape[2:])))


def _resizing(kind: str, sizes: Sequence[int], output: Sequence[int], *settings: object) -> list[np.ndarray]:
    """The matrices of aten's resizing, whose settings are `align_corners`, if any, and scales."""
    flags, scales = ((), settings) if "nearest" in kind else (settings[:1], settings[1:])

    def operator(signals: Tensor, at: int) -> Tensor:
        scale = scales[at] if at < len(scales) else None
        if kind != "bicubic":
            one: Tensor = getattr(aten, kind).default(signals, [output[at]], *flags, scale)
            return one
        images = signals.unsqueeze(-1)
        two: Tensor = aten.upsample_bicubic2d.default(images, [output[at], 1], *flags, scale, None)
        return two.squeeze(-1)

    return _matrices(sizes, operator)


def resize(kind: str) -> Callable[..., Value]:
    def lower(graph: StackedGraph, x: Value, output: Sequence[int], *settings: object) -> Value:
        return resampled(graph, x, _resizing(kind, x.shape[2:], output, *settings))

    return lower


def resize_backward(kind: str) -> Callable[..., Value]:
    def lower(
        graph: StackedGraph,
        gradient: Value,
        output: Sequence[int],
        shape: Sequence[int],
        *settings: object,
    ) -> Value:
        return resampled(graph, gradient, _back(_resizing(kind, shape[2:], output, *settings)))

    return lower


def _mirrors(kind: str, x: Value, padding: Sequence[int]) -> list[np.ndarray]:
    """The matrices of a padding that repeats what is there; torch names the last dimension first."""
    rank = len(padding) // 2

    def operator(signals: Tensor, at: int) -> Tensor:
        first = 2 * (rank - 1 - at)
        around: Tensor = getattr(aten, kind).default(signals, padding[first : first + 2])
        return around

    return _matrices(x.shape[2:], operator)


def mirrored_pad(kind: str) -> Callable[..., Value]:
    def lower(graph: StackedGraph, x: Value, padding: Sequence[int]) -> Value:
        return resampled(graph, x, _mirrors(kind, x, padding))

    return lower


def mirrored_pad_backward(kind: str) -> Callable[..., Value]:
    def lower(graph: StackedGraph, gradient: Value, x: Value, padding: Sequence[int]) -> Value:
        return resampled(graph, gradient, _back(_mirrors(kind, x, padding)))

    return lower


_RESIZED = {  # aten's name, without what it says of dimensions -> that of one dimension
    "upsample_nearest": ("upsample_nearest1d", (1, 2, 3)),
    "_upsample_nearest_exact": ("_upsample_nearest_exact1d", (1, 2, 3)),
    "upsample_linear": ("upsample_linear1d", (1,)),
    "upsample_bilinear": ("upsample_linear1d", (2,)),
    "upsample_trilinear": ("upsample_linear1d", (3,)),
    "upsample_bicubic": ("bicubic", (2,)),
}
OPERATORS: OperatorTable = {
    aten.avg_pool2d.default: average_pool,
    aten.avg_pool2d_backward.default: average_pool_backward,
    aten.avg_pool3d.default: average_pool,
    aten.avg_pool3d_backward.default: average_pool_backward,
    aten._adaptive_avg_pool2d.default: adaptive_average_pool,
    aten._adaptive_avg_pool2d_backward.default: adaptive_average_pool_backward,
    aten._adaptive_avg_pool3d.default: adaptive_average_pool,
    aten._adaptive_avg_pool3d_backward.default: adaptive_average_pool_backward,
}
for _name, (_kind, _ranks) in _RESIZED.items():
    for _rank in _ranks:
        OPERATORS[getattr(aten, f"{_name}{_rank}d").default] = resize(_kind)
        OPERATORS[getattr(aten, f"{_name}{_rank}d_backward").default] = resize_backward(_kind)
for _name in ("reflection_pad", "replication_pad"):
    for _rank in (1, 2, 3):
        OPERATORS[getattr(aten, f"{_name}{_rank}d").default] = mirrored_pad(f"{_name}1d")
        OPERATORS[getattr(aten, f"{_name}{_rank}d_backward").default] = mirrored_pad_backward(f"{_name}1d")

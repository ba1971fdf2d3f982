"""Convolutions, poolings and resizing against torch's own gradients in float64, in stacks and alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime as ort
import pytest
import torch
from fedstill_server.export.capture import trace
from fedstill_server.export.lowering import LoweringError, lower
from fedstill_server.export.ports import CapturedGraph, Port
from torch import Tensor
from torch.func import vjp
from torch.nn import functional as F

Layer = Callable[..., Tensor]
DEVICES = 3


def numbers(*shape: int, seed: int = 0) -> Tensor:
    """Random numbers of every device, [DEVICES, *shape]."""
    return torch.randn(DEVICES, *shape, generator=torch.Generator().manual_seed(seed))


class Case:
    """A layer with the stacks of its arguments, and a gradient of its result for every device.

    `frozen` arguments come first and are the same for all devices.
    """

    def __init__(self, layer: Layer, *stacks: Tensor, frozen: tuple[Tensor, ...] = ()) -> None:
        self._layer, self._frozen = layer, frozen
        shape = layer(*frozen, *(stack[0] for stack in stacks)).shape
        self.stacks = (*stacks, numbers(*shape, seed=9))

    def step(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        """The result, and the gradients of all arguments."""
        *own, slope = arguments
        frozen = [tensor.to(slope.dtype) for tensor in self._frozen]
        y, back = vjp(lambda *given: self._layer(*frozen, *given), *own)
        return (y, *back(slope))


def check(cases: dict[str, Case], *, tolerance: float = 2e-6) -> None:
    """All cases in one graph: stacks of 3 and of 1 agree to the last bit on 1 thread and on 2, and with torch
    in float64.
    """
    stacks = [stack for case in cases.values() for stack in case.stacks]
    names = [name for name, case in cases.items() for _ in case.stacks]  # a result, or an argument's gradient

    def step(*arguments: Tensor) -> tuple[Tensor, ...]:
        left = iter(arguments)
        return tuple(
            value for case in cases.values() for value in case.step(*(next(left) for _ in case.stacks))
        )

    ports = tuple(Port(f"input{i}", tuple(s.shape[1:]), is_state=i > 0) for i, s in enumerate(stacks))
    outputs = tuple(f"output{i}" for i in range(len(names)))
    captured = CapturedGraph(trace(step, list(ports)), ports, outputs)
    graphs = {size: lower(captured, stack_size=size, name="test") for size in (1, DEVICES)}
    exact = [step(*(stack[device].double() for stack in stacks)) for device in range(DEVICES)]
    for threads in (1, 2):
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        alone, found = (
            run(ort.InferenceSession(graph, options), outputs, [s[-size:] for s in stacks])
            for size, graph in graphs.items()
        )
        for at, name in enumerate(names):
            assert np.array_equal(alone[at][0], found[at][-1]), (name, at)
            for device in range(DEVICES):
                want = exact[device][at].numpy()
                assert found[at][device].shape == want.shape, name
                assert np.abs(found[at][device] - want).max() <= tolerance * np.abs(want).max(), (name, at)


def run(session: ort.InferenceSession, outputs: tuple[str, ...], stacks: list[Tensor]) -> list[np.ndarray]:
    given = {entry.name for entry in session.get_inputs()}
    feeds = {f"input{i}": s.numpy() for i, s in enumerate(stacks) if f"input{i}" in given}
    return list(session.run(list(outputs), feeds))


CONVOLUTIONS: dict[str, tuple[Layer, tuple[int, ...], tuple[int, ...], int]] = {
    # layer(x, weight, bias), shape of x, of the weight, length of the bias
    "stride 2": (lambda x, w, b: F.conv2d(x, w, b, 2, 1), (4, 3, 7, 8), (5, 3, 3, 3), 5),
    "stride over the height": (lambda x, w, b: F.conv2d(x, w, b, (2, 1)), (4, 3, 7, 8), (5, 3, 3, 2), 5),
    "dilation": (lambda x, w, b: F.conv2d(x, w, b, 1, (2, 1), (2, 3)), (2, 2, 8, 9), (3, 2, 3, 3), 3),
    "patches": (lambda x, w, b: F.conv2d(x, w, b, 4), (3, 3, 8, 8), (6, 3, 4, 4), 6),
    "kernel 1": (lambda x, w, b: F.conv2d(x, w, b), (4, 6, 5, 5), (4, 6, 1, 1), 4),
    "kernel 1, long": (lambda x, w, b: F.conv2d(x, w, b), (9, 2, 8, 8), (3, 2, 1, 1), 3),
    "kernel 1, stride 3": (lambda x, w, b: F.conv2d(x, w, b, 3, groups=2), (2, 4, 7, 5), (4, 2, 1, 1), 4),
    "long lines": (lambda x, w, b: F.conv2d(x, w, b, 1, (0, 1)), (2, 6, 5, 6), (5, 6, 3, 3), 5),
    "groups without strides": (lambda x, w, b: F.conv2d(x, w, b, 1, 2, 2, 2), (3, 8, 6, 4), (4, 4, 2, 3), 4),
    "large": (lambda x, w, b: F.conv2d(x, w, b, 1, 1), (8, 16, 32, 32), (4, 16, 3, 3), 4),
    "kernel 1, padding": (lambda x, w, b: F.conv2d(x, w, b, 1, 1), (2, 2, 3, 3), (3, 2, 1, 1), 3),
    "many filters on few places": (
        lambda x, w, b: F.conv2d(x, w, b, 1, 1),
        (1, 24, 2, 2),
        (24, 24, 3, 3),
        24,
    ),
    "groups": (lambda x, w, b: F.conv2d(x, w, b, 2, 1, groups=2), (3, 4, 5, 5), (6, 2, 3, 3), 6),
    "depthwise": (lambda x, w, b: F.conv2d(x, w, b, 2, 2, groups=3), (3, 3, 6, 5), (3, 1, 5, 5), 3),
    "depthwise twice": (lambda x, w, b: F.conv2d(x, w, b, 1, 1, 2, groups=3), (3, 3, 4, 4), (6, 1, 2, 3), 6),
    "depthwise, large": (lambda x, w, b: F.conv2d(x, w, b, 1, 1, groups=2), (2, 2, 34, 33), (4, 1, 3, 3), 4),
    "depthwise, wide": (lambda x, w, b: F.conv2d(x, w, b, 1, 1, groups=2), (2, 2, 9, 16), (2, 1, 3, 3), 2),
    "1-d": (lambda x, w, b: F.conv1d(x, w, b, 1, 2), (3, 4, 9), (5, 4, 5), 5),
    "1-d, causal": (lambda x, w, b: F.conv1d(F.pad(x, (4, 0)), w, b, 1, 0, 2), (3, 4, 9), (5, 4, 3), 5),
    "1-d, stride 2": (lambda x, w, b: F.conv1d(x, w, b, 2, 1), (3, 4, 9), (5, 4, 4), 5),
    "1-d, depthwise": (lambda x, w, b: F.conv1d(x, w, b, 2, 1, groups=4), (3, 4, 90), (4, 1, 3), 4),
    "3-d": (lambda x, w, b: F.conv3d(x, w, b, (2, 1, 1), 1), (2, 2, 4, 4, 3), (3, 2, 3, 3, 3), 3),
    "3-d, stride 2": (lambda x, w, b: F.conv3d(x, w, b, 2, 1), (2, 2, 4, 4, 5), (3, 2, 3, 2, 3), 3),
    "transposed": (lambda x, w, b: F.conv_transpose2d(x, w, b, 2, 1, 1), (3, 4, 4, 3), (4, 2, 3, 3), 2),
    "transposed, stride 1": (
        lambda x, w, b: F.conv_transpose2d(x, w, b, (2, 1), 0, (0, 1), 2, (1, 2)),
        (3, 4, 4, 3),
        (4, 2, 2, 3),
        4,
    ),
    "transposed, 1-d": (lambda x, w, b: F.conv_transpose1d(x, w, b, 3), (3, 4, 5), (4, 2, 1), 2),
    "transposed, 3-d": (lambda x, w, b: F.conv_transpose3d(x, w, b, 2), (1, 2, 2, 3, 2), (2, 2, 2, 2, 3), 2),
}


def test_convolutions_and_their_gradients() -> None:
    check(
        {
            name: Case(layer, numbers(*x), numbers(*weight, seed=1), numbers(bias, seed=2))
            for name, (layer, x, weight, bias) in CONVOLUTIONS.items()
        }
    )


def test_frozen_kernels_are_one_constant_for_all_devices() -> None:
    cases = {}
    for name in ("stride 2", "kernel 1, stride 3", "groups", "depthwise", "1-d", "transposed"):
        layer, x, weight, bias = CONVOLUTIONS[name]

        def turned(kernel: Tensor, x: Tensor, bias: Tensor, layer: Layer = layer) -> Tensor:
            return layer(x, kernel, bias)

        frozen = (numbers(*weight, seed=1)[0],)
        cases[name] = Case(turned, numbers(*x), numbers(bias, seed=2), frozen=frozen)
    check(cases)


POOLINGS: dict[str, tuple[Layer, tuple[int, ...]]] = {
    "max, overlapping": (lambda x: F.max_pool2d(x, 3, 2, 1), (2, 3, 7, 6)),
    "max, apart": (lambda x: F.max_pool2d(x, 2, 3), (2, 3, 7, 8)),
    "max, dilated": (lambda x: F.max_pool2d(x, (2, 3), 1, 1, (2, 1)), (2, 2, 5, 6)),
    "max, ceil": (lambda x: F.max_pool2d(x, 3, 2, ceil_mode=True), (2, 3, 6, 8)),
    "max, tiles": (lambda x: F.max_pool2d(x, (2, 3)), (2, 3, 5, 7)),
    "max, 1-d": (lambda x: F.max_pool1d(x, 2), (2, 3, 9)),
    "max, 3-d": (lambda x: F.max_pool3d(x, 2, 1), (2, 2, 3, 4, 3)),
    "max, adaptive": (lambda x: F.adaptive_max_pool2d(x, (2, 1)), (2, 3, 4, 5)),
    "mean": (lambda x: F.avg_pool2d(x, 2), (2, 3, 5, 6)),
    "mean, overlapping": (lambda x: F.avg_pool2d(x, 3, 2, 1, True, False), (2, 3, 6, 7)),
    "mean, divisor": (lambda x: F.avg_pool2d(x, 2, 1, divisor_override=3), (2, 3, 4, 4)),
    "mean, 1-d": (lambda x: F.avg_pool1d(x, 3, 2, 1), (2, 3, 9)),
    "mean, 3-d": (lambda x: F.avg_pool3d(x, 2), (2, 2, 4, 4, 5)),
    "mean, adaptive": (lambda x: F.adaptive_avg_pool2d(x, (3, 4)), (2, 3, 7, 5)),
    "mean of all": (lambda x: F.adaptive_avg_pool2d(x, 1), (2, 3, 7, 5)),
    "nearest": (lambda x: F.interpolate(x, scale_factor=2), (2, 3, 3, 4)),
    "nearest, 1-d": (lambda x: F.interpolate(x, size=5, mode="nearest-exact"), (2, 3, 3)),
    "bilinear": (lambda x: F.interpolate(x, size=(5, 7), mode="bilinear"), (2, 3, 3, 4)),
    "bilinear, corners": (
        lambda x: F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True),
        (2, 3, 3, 4),
    ),
    "bicubic": (lambda x: F.interpolate(x, size=(5, 7), mode="bicubic"), (2, 2, 4, 4)),
    "mirror": (lambda x: F.pad(x, (1, 2, 0, 1), mode="reflect"), (2, 2, 4, 3)),
    "edge": (lambda x: F.pad(x, (1, 2), mode="replicate"), (2, 2, 4)),
    "zeros": (lambda x: F.pad(x, (1, -1, -1, 2), value=0.5), (2, 2, 4, 3)),
    "pixels": (lambda x: F.pixel_unshuffle(F.pixel_shuffle(x, 2) * 2, 2), (2, 4, 2, 3)),
    "channels": (lambda x: F.channel_shuffle(x, 2), (2, 4, 2, 3)),
}


def test_poolings_resizing_and_padding() -> None:
    # In half steps, so that many values of a window are alike; x * 1 is no input, whose layout is fixed.
    check(
        {
            name: Case(lambda x, layer=layer: layer(x * 1.0), (numbers(*shape) * 2).round() / 2)
            for name, (layer, shape) in POOLINGS.items()
        }
    )


def test_what_is_not_translated_says_what_to_change() -> None:
    def lowered(function: Callable[[Tensor], Tensor], *shape: int) -> None:
        ports = (Port("x", shape),)
        lower(
            CapturedGraph(trace(lambda x: (function(x),), list(ports)), ports, ("y",)),
            stack_size=2,
            name="test",
        )

    with pytest.raises(LoweringError, match=r"adaptive max pooling of \[5, 4\] places to \[2, 2\].*divide"):
        lowered(lambda x: F.adaptive_max_pool2d(x, 2), 2, 3, 5, 4)
    with pytest.raises(LoweringError, match=r"max pooling over 2 dimensions of \[3, 4, 4\].*rows, channels"):
        lowered(lambda x: F.max_pool2d(x, 2), 3, 4, 4)

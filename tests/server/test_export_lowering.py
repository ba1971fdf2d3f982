"""Lowered operators against torch, device by device, in stacks and alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime as ort
import pytest
import torch
from fedstill_server.export.capture import trace
from fedstill_server.export.layout import split_groups
from fedstill_server.export.lowering import LoweringError, lower
from fedstill_server.export.ports import CapturedGraph, Port
from torch import Tensor
from torch.nn import functional

Function = Callable[..., tuple[Tensor, ...]]
DEVICES = 3


def run_stack(function: Function, *stacks: Tensor, parameters: int = 0) -> list[np.ndarray]:
    """Lowers a function of one device's tensors and runs it on stacks, the first of which are parameters."""
    return run_captured(captured(function, *stacks, parameters=parameters), *stacks)


def captured(function: Function, *stacks: Tensor, parameters: int = 0) -> CapturedGraph:
    """The graph of one device."""
    ports = [
        Port(f"input{i}", tuple(stack.shape[1:]), stack.dtype, is_state=i < parameters)
        for i, stack in enumerate(stacks)
    ]
    outputs = [f"output{i}" for i in range(len(function(*(stack[0] for stack in stacks))))]
    return CapturedGraph(trace(function, ports), tuple(ports), tuple(outputs))


def run_captured(captured: CapturedGraph, *stacks: Tensor) -> list[np.ndarray]:
    """Runs it on stacks."""
    graph = lower(captured, stack_size=stacks[0].shape[0], name="test")
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    given = {entry.name for entry in session.get_inputs()}
    feeds = {
        port.name: stack.numpy()
        for port, stack in zip(captured.inputs, stacks, strict=True)
        if port.name in given
    }
    return list(session.run(captured.outputs, feeds))


def check(function: Function, *stacks: Tensor, parameters: int = 0, tolerance: float = 1e-6) -> None:
    """Every device of the stack gets what torch gives it alone; tolerance: of the largest number."""
    graph = captured(function, *stacks, parameters=parameters)
    found = run_captured(graph, *stacks)
    alone = run_captured(graph, *(stack[-1:] for stack in stacks))
    assert all(np.array_equal(a[0], f[-1]) for a, f in zip(alone, found, strict=True))  # to the last bit
    for device in range(stacks[0].shape[0]):
        expected = function(*(stack[device] for stack in stacks))
        for number, (got, want) in enumerate(zip(found, expected, strict=True)):
            assert got[device].shape == want.shape
            difference = np.abs(got[device] - want.numpy()).max()
            assert difference <= tolerance * float(want.abs().max()), f"output {number}"


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(DEVICES, *shape, generator=torch.Generator().manual_seed(seed))


def test_elementwise_operators_broadcast_as_in_torch() -> None:
    def function(x: Tensor, row: Tensor, column: Tensor, single: Tensor) -> tuple[Tensor, ...]:
        return (
            (x + row) * single - column,
            x / (row * row + 1.0) + (1.0 - single),
            torch.relu(x) + (column.abs() + 0.5).log() + row.exp().sqrt(),
            torch.maximum(x, column).clamp_min(0.1).neg(),
        )

    check(function, random(4, 5), random(5, seed=1), random(4, 1, seed=2), random(seed=3))


def test_products_of_activations_and_parameters() -> None:
    def function(weight: Tensor, bias: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        y = torch.addmm(bias, x, weight.t())
        return y, y.t() @ x, y @ weight, (y.t() @ y).t()

    check(function, random(4, 6), random(4, seed=1), random(5, 6, seed=2), parameters=2)


def test_reductions_over_any_dimensions() -> None:
    def function(x: Tensor) -> tuple[Tensor, ...]:
        turned = x.permute(2, 0, 1)
        return (
            x.sum(),
            x.sum((0, 2)),
            x.mean(1, keepdim=True),
            turned.sum((0, 1)),
            turned.amax(-1),
            x.amax((0, 1), keepdim=True),
        )

    check(function, random(3, 4, 5))


def test_views_of_transposed_tensors() -> None:
    def function(x: Tensor) -> tuple[Tensor, ...]:
        turned = x.permute(1, 2, 0) * 2.0  # [4, 5, 3], lying as x does
        return (
            turned.reshape(20, 3),  # dimensions that lie side by side
            turned.reshape(4, 15),  # dimensions that do not
            turned.unsqueeze(1).squeeze(1).transpose(0, 2),
        )

    check(function, random(3, 4, 5))


def test_scatter_writes_into_each_row() -> None:
    def function(x: Tensor, values: Tensor, indices: Tensor) -> tuple[Tensor, ...]:
        return (torch.zeros_like(x).scatter(1, indices, values) + x,)

    indices = torch.tensor([[0, 3], [4, 1], [2, 0]]).expand(DEVICES, 3, 2).contiguous()
    check(function, random(3, 5), random(3, 2, seed=1), indices)


def test_a_table_is_read_and_learned_by_word() -> None:
    """Word 3 stands at three places: its row gets the sum of their gradients, and that of no place is 0."""

    def function(table: Tensor, words: Tensor, gradient: Tensor) -> tuple[Tensor, ...]:
        rows, pull_back, *_ = torch.func.vjp(lambda table: functional.embedding(words, table), table)
        return (rows, rows * 2.0, *pull_back(gradient))

    words = torch.tensor([[3, 0], [3, 1], [4, 3]]).expand(DEVICES, 3, 2).contiguous()
    check(function, random(5, 4), words, random(3, 2, 4, seed=1), parameters=1)


def test_gather_reads_from_each_row() -> None:
    def function(x: Tensor, indices: Tensor) -> tuple[Tensor, ...]:
        return (x.gather(1, indices), (x * 2.0).t().gather(0, indices.t()))

    indices = torch.tensor([[0, 3], [4, 4], [2, 0]]).expand(DEVICES, 3, 2).contiguous()
    check(function, random(3, 5), indices)


@pytest.mark.parametrize("dimension", [0, 1, -1])
def test_softmaxes_and_their_gradients_over_any_dimension(dimension: int) -> None:
    def function(x: Tensor, gradient: Tensor) -> tuple[Tensor, ...]:
        y, pull_back, *_ = torch.func.vjp(lambda x: torch.softmax(x * 3.0, dimension), x)
        return (y, *pull_back(gradient), torch.log_softmax(x.permute(1, 2, 0), dimension))

    check(function, random(3, 4, 5), random(3, 4, 5, seed=1))


def test_products_of_many_matrices_however_they_lie() -> None:
    def function(x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        turned = y.transpose(1, 2)  # [2, 5, 4]
        return (
            torch.bmm(x, y),
            torch.bmm(turned, x.transpose(1, 2)),
            torch.bmm(x.permute(1, 0, 2), x.permute(1, 2, 0)),  # matrices that lie scattered
            torch.bmm(torch.full((2, 6, 3), 0.5), x),  # the same for all devices
        )

    check(function, random(2, 3, 4), random(2, 4, 5, seed=1))


def test_what_a_place_may_see_is_compared() -> None:
    def function(x: Tensor) -> tuple[Tensor, ...]:
        places = torch.arange(4)
        mask = (places.unsqueeze(1) < places).to(x.dtype) * -1e9
        return (x + mask, (x < 0.1).to(x.dtype))

    check(function, random(3, 4, 4), tolerance=0)


def test_logits_of_a_whole_table_lie_by_row() -> None:
    """A product with a table as it stands, and its gradients, which read it the other way."""

    def function(table: Tensor, x: Tensor, gradient: Tensor) -> tuple[Tensor, ...]:
        y, pull_back, *_ = torch.func.vjp(lambda table, x: x @ table.t(), table, x)
        return (y, *pull_back(gradient))

    check(function, random(7, 4), random(5, 4, seed=1), random(5, 7, seed=2), parameters=1)


@pytest.mark.parametrize(
    ("size", "kernel", "padding"),
    [((6, 8), (3, 3), (1, 1)), ((7, 5), (3, 2), (0, 1)), ((1, 9), (1, 3), (0, 1)), ((4, 4), (1, 1), (0, 0))],
)
def test_convolution_and_its_gradients(
    size: tuple[int, int], kernel: tuple[int, int], padding: tuple[int, int]
) -> None:
    def function(weight: Tensor, bias: Tensor, x: Tensor) -> tuple[Tensor, ...]:
        def convolve(weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
            return functional.conv2d(x, weight, bias, padding=padding)

        y, pull_back, *_ = torch.func.vjp(convolve, weight, bias, x)
        return (y, *pull_back(y * y))

    stacks = random(4, 3, *kernel), random(4, seed=1), random(5, 3, *size, seed=2)
    check(function, *stacks, parameters=2)


@pytest.mark.parametrize("size", [(4, 6), (5, 7)])
@pytest.mark.parametrize("window", [(2, 2), (1, 2), (3, 2)])
def test_max_pooling_gives_the_gradient_to_the_first_maximum(
    size: tuple[int, int], window: tuple[int, int]
) -> None:
    def function(x: Tensor, gradient: Tensor) -> tuple[Tensor, ...]:
        y, pull_back, *_ = torch.func.vjp(lambda image: torch.max_pool2d(torch.relu(image), window), x)
        return (y, *pull_back(gradient))

    ties = random(5, 2, *size).round()  # whole numbers: most windows hold a tie
    pooled = (size[0] // window[0], size[1] // window[1])
    check(function, ties, random(5, 2, *pooled, seed=1), tolerance=0)


def test_one_window_by_hand() -> None:
    def function(x: Tensor) -> tuple[Tensor, ...]:
        y, pull_back, *_ = torch.func.vjp(lambda image: torch.max_pool2d(image, 2), x)
        return pull_back(torch.full_like(y, 7.0))  # type: ignore[no-any-return]

    (gradient,) = run_stack(function, torch.tensor([[[[[1.0, 3.0], [3.0, 2.0]]]]]))

    assert gradient.reshape(-1).tolist() == [0, 7, 0, 0]


def test_relu_is_masked_before_a_pooled_gradient_is_spread() -> None:
    """All of a window negative: no gradient, in whatever order ReLU and pooling are undone."""

    def function(x: Tensor) -> tuple[Tensor, ...]:
        y, pull_back, *_ = torch.func.vjp(lambda image: torch.max_pool2d(torch.relu(image), 2), x)
        return pull_back(torch.ones_like(y))  # type: ignore[no-any-return]

    check(function, torch.tensor([[[[[-1.0, -3.0, 5.0, 4.0], [-3.0, -2.0, 0.0, 5.0]]]]]), tolerance=0)


def test_all_missing_operators_are_named_at_once() -> None:
    with pytest.raises(LoweringError, match=r"(?s)aten\.lgamma\.default \(2 times\).*aten\.digamma"):
        run_stack(lambda x: (x.lgamma().digamma().lgamma(),), random(3))


@pytest.mark.parametrize(
    ("before", "after", "groups"),
    [
        ((16, 2, 3), (16, 6), [([0], [0]), ([1, 2], [1])]),
        ((6,), (6, 1), [([0], [0]), ([], [1])]),
        ((4, 6), (2, 12), [([0, 1], [0, 1])]),
        ((), (1,), [([], [0])]),
    ],
)
def test_a_reshape_is_split_into_the_smallest_groups(
    before: tuple[int, ...], after: tuple[int, ...], groups: list[tuple[list[int], list[int]]]
) -> None:
    assert split_groups(before, after) == groups

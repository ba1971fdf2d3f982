"""Every kind of operator of networks against torch: results and gradients, in a stack and alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import pytest
import torch
from fedstill_server.export.lowering import OPERATORS, LoweringError
from torch import Tensor
from torch.func import vjp
from torch.nn import functional

from tests.server.test_export_lowering import DEVICES, check, random, run_stack

Function = Callable[[Tensor], Tensor]
X = [[-3.5, -3.0, -1.0, -0.5], [0.0, 0.25, 0.5, 1.0], [2.5, 3.0, 7.0, -0.75]]
"""Among them the corners of activations."""


def grid() -> Tensor:
    return torch.tensor(X) + torch.tensor([0.0, 0.125, -0.125])[:, None, None]  # [DEVICES, 3, 4]


def answers_and_gradients(functions: Iterable[Function]) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """All results, each with a gradient."""

    def all_of_them(x: Tensor) -> tuple[Tensor, ...]:
        found: list[Tensor] = []
        for function in functions:
            y, pull_back, *_ = vjp(function, x)
            found += [y, *pull_back(y + torch.arange(y.numel()).reshape(y.shape))]
        return tuple(found)

    return all_of_them


NAMES = (
    *(
        "celu",
        "elu",
        "gelu",
        "hardshrink",
        "hardsigmoid",
        "hardswish",
        "hardtanh",
        "leaky_relu",
        "logsigmoid",
    ),
    *("mish", "relu6", "selu", "silu", "softplus", "softshrink", "softsign", "tanhshrink"),
)
ACTIVATIONS: dict[str, Function] = {
    **{name: getattr(functional, name) for name in NAMES},
    "gelu by tanh": partial(functional.gelu, approximate="tanh"),
    "glu": functional.glu,
    "prelu": lambda x: functional.prelu(x, torch.tensor([0.3])),
    "softmin": lambda x: functional.softmin(x, -1),
    "softplus bent": lambda x: functional.softplus(x, 2.0, 3.0),
    "threshold": lambda x: functional.threshold(x, 0.1, 0.7),
}
NORMALIZATIONS: dict[str, Function] = {
    "layer": lambda x: functional.layer_norm(x, (4,), torch.arange(4.0), torch.ones(4)),
    "layers": lambda x: functional.layer_norm(x, (3, 4)),
    "group": lambda x: functional.group_norm(x.reshape(1, 4, 3), 2, torch.arange(4.0), torch.ones(4)),
    "instance": lambda x: functional.instance_norm(x.reshape(1, 2, 6)),
    "local response": lambda x: functional.local_response_norm(x.reshape(1, 3, 4), 3),
    "root mean square": lambda x: functional.rms_norm(x, (4,), torch.arange(4.0)),
    "length": lambda x: functional.normalize(x, dim=-1),
}
SMOOTH: dict[str, Function] = {
    "roots": lambda x: (x.abs() + 0.1).rsqrt() + (x.abs() + 1).sqrt() + (x * x + 1).reciprocal(),
    "powers": lambda x: x**2 + x**3 + (x.abs() + 0.5) ** 1.5 + 2.0**x + (x.abs() + 1).pow(0.5),
    "exponentials": lambda x: x.exp() + x.expm1() + x.exp2(),
    "logarithms": lambda x: (x.abs() + 1).log2() + (x.abs() + 1).log10() + x.abs().log1p(),
    "waves": lambda x: x.sin() + (3 * x).cos() * (0.1 * x).tan() + torch.sinc(x / 3),
    "arcs": lambda x: (x / 8).asin() + (x / 8).acos() + (x * 9).atan() + torch.atan2(x, x.flip(0) + 0.1),
    "hyperbolas": lambda x: x.sinh() + x.cosh() + (x.abs() + 1.5).acosh() + x.asinh() + (x / 8).atanh(),
    "error functions": lambda x: x.erf() + x.erfc(),
    "choices": lambda x: torch.where(x > 0.3, x * x, -x) + x.masked_fill(x <= 0, 5.0) + x.clamp(-1, 2),
    "limits": lambda x: x.clamp_max(1.0) + torch.maximum(x, x.flip(0)) + torch.clamp(x, x.flip(1), x.flip(0)),
    "variances": lambda x: x.var() + x.std(1) @ x + x.var(0, unbiased=False),
    "norms": lambda x: x.norm(dim=0) + x.norm(1, dim=0) + x.norm(3, dim=0) + x.norm(torch.inf, dim=0),
    "extremes": lambda x: x.amax(0) + x.amin(0) + x.max(0).values + x.min(0).values + x.median(0).values,
    "products": lambda x: x.prod(0) + x.cumprod(1)[1] + x.cumsum(0)[2] + x.logsumexp(0) + x.cummax(0)[0][2],
    "slices": lambda x: x[::2, 1:3] + x[1, :2] + x[:2, -1:],
    "writes": lambda x: x.slice_scatter(x[:1] * 2, 0, 1, 2) + x.select_scatter(x[0] * x[1], 0, 2),
    "diagonals": lambda x: x.diagonal(1) + x.tril().sum(0)[:3] + x.triu(-1).sum(1),
    "turns": lambda x: x.flip(1) + x.roll(1, 0) * x.roll(5) + x.repeat(2, 1)[2:5] + x.t().reshape(3, 4),
    "windows": lambda x: x.unfold(1, 2, 1).prod(-1) + functional.pad(x, (1, -2, 0, 0), value=2.0),
    "parts": lambda x: torch.stack([a * b for a, b in zip(x.unbind(1), x.flip(1).t(), strict=True)]),
    "places": lambda x: (
        x[torch.tensor([2, 0]), torch.tensor([1, -1])] + x.index_select(1, torch.tensor([3, 3]))[0]
    ),
    "order": lambda x: (
        x.sort(1, descending=True).values * x.topk(2, 0).values[0] + x.kthvalue(2, 1).values.sum()
    ),
    "distances": lambda x: torch.cdist(x, x.flip(0) + 0.25) + torch.cdist(x, x.flip(0) + 0.25, p=1.0),
    "einsum": lambda x: torch.einsum("ij,kj,ik->ij", x, x, x[:, :3]),
    "bilinear": lambda x: functional.bilinear(x, x.flip(0), torch.arange(32.0).reshape(2, 4, 4) / 16),
    "attention": lambda x: functional.scaled_dot_product_attention(x[None], x[None] * 2, x[None]),
    "batches": lambda x: torch.baddbmm(x, x[None].expand(2, 3, 4), (x.t() @ x).expand(2, 4, 4), alpha=0.5),
    "vectors": lambda x: torch.addmv(x[0], x.t(), x[:, 1]) + x.mv(x[1]).dot(x[:, 0]),
}


def test_activations() -> None:
    check(answers_and_gradients(ACTIVATIONS.values()), grid(), tolerance=3e-6)


def test_normalizations() -> None:
    check(answers_and_gradients(NORMALIZATIONS.values()), random(3, 4), tolerance=1e-5)


def test_functions_and_their_gradients() -> None:
    check(answers_and_gradients(SMOOTH.values()), random(3, 4), tolerance=1e-5)


def test_whole_numbers_and_truth_values() -> None:
    def function(x: Tensor, n: Tensor) -> tuple[Tensor, ...]:
        holds = x > 0
        return (
            torch.stack([x.sign(), x.floor(), x.ceil(), x.round(), x.trunc()]),
            torch.stack([x.fmod(0.75), x.remainder(0.75), x.div(0.75, rounding_mode="floor")]),
            torch.stack([n // 3, n % 3, n.fmod(3), torch.div(n, -3, rounding_mode="trunc"), n.sign(), n**2]),
            ((holds & (x < 1)) | holds.logical_not() ^ (x != 0.5)).long(),
            torch.stack([holds.any(1), (x >= 0).all(1), (n <= 2).any(1)]).long(),
            torch.stack([n.sum(1), holds.sum(1), n.prod(1), n.cumsum(1)[:, -1], x.argmax(1), x.argmin(1)]),
            torch.where(holds, n, -n) + torch.where(holds, holds, ~holds).to(torch.int32),
            n * 0.5 + n / 2 + holds * x,
            (torch.isnan(x) | torch.isinf(x / 0) | (n.argsort(1) == 2)).long(),
            functional.one_hot(n.abs() % 3, 3).sum(0),
        )

    numbers = torch.arange(12).reshape(3, 4).expand(DEVICES, 3, 4) - 5
    check(function, grid(), numbers.contiguous(), tolerance=1e-6)


def test_tables_are_read_and_written_at_places() -> None:
    def function(x: Tensor, places: Tensor) -> tuple[Tensor, ...]:
        added = x.scatter_add(0, places, x * 2)
        put = x.index_put((places[0, :2], places[1, :2]), torch.tensor([5.0, 6.0]))
        rows, pull_back, *_ = vjp(lambda t: functional.embedding(places, t, padding_idx=1), x)
        return (added, put, x[places[:, 0]], x[1:, places[0]], *pull_back(rows), x.scatter(1, places, 7.0))

    places = torch.tensor([[0, 2, 1, 1], [1, 0, 2, 2], [2, 1, 0, 0]]).expand(DEVICES, 3, 4)
    check(function, random(3, 4), places.contiguous() % 3, tolerance=1e-6)


def test_constants_are_made_for_all_devices() -> None:
    def function(x: Tensor) -> tuple[Tensor, ...]:
        steps = torch.arange(0, 2, 0.5)
        made = torch.stack([torch.linspace(0, 1, 4), torch.full((4,), 2.5), steps, torch.eye(4)[1]])
        grids = torch.meshgrid(torch.arange(3), torch.arange(4), indexing="ij")
        return (x @ made, x + grids[0] * grids[1], x * torch.tril(torch.ones(3, 4), 1), made)

    check(function, random(3, 4))


def test_numbers_that_follow_one_another_are_a_part_of_a_table() -> None:
    table = torch.randn(DEVICES, 5, 2)
    (rows,) = run_stack(lambda t: (functional.embedding(torch.arange(1, 4), t),), table)
    assert np.array_equal(rows, table[:, 1:4].numpy())


def test_what_hangs_on_numbers_or_chance_has_no_translation() -> None:
    assert not {torch.ops.aten.nonzero.default, torch.ops.aten.rand.default} & OPERATORS.keys()
    with pytest.raises(LoweringError, match=r"aten\.lgamma\.default \(2 times\) at .*test_export_operators"):
        run_stack(two_gammas, torch.ones(1, 3))


def two_gammas(x: Tensor) -> tuple[Tensor, ...]:
    return (Gammas().forward(x),)


class Gammas:
    def forward(self, x: Tensor) -> Tensor:
        return x.lgamma() + (x + 1).lgamma()

"""The multiply-adds of operators that multiply matrices, exactly, by the shapes of what they read and make.

A product of [m, k] and [k, n] has m n k, whether its weights are float32 or codes of 8 bits; a convolution
has so many weights of a channel for each value that it makes; attention over t places has t for each value
of the queries and t for each one that comes out; a recurrent layer reads all its weights once in each place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedstill_server.inspection.graph.work import Work

Shape = tuple[int, ...]
SOFTMAX = 5  # a maximum, a difference, an exponential, a sum, a quotient


@dataclass(frozen=True, kw_only=True)
class ShapedNode:
    """One node with the shapes of what it reads and makes; None where an optional one is left out."""

    operator: str
    inputs: Sequence[Shape | None]
    outputs: Sequence[Shape | None]
    options: Mapping[str, Any]

    def read(self, place: int) -> Shape:
        """The shape of an input that has to be there."""
        shape = self.inputs[place] if place < len(self.inputs) else None
        assert shape is not None, f"{self.operator} without input {place}"
        return shape

    def has(self, place: int) -> bool:
        """Whether it reads something in this place."""
        return place < len(self.inputs) and self.inputs[place] is not None

    @property
    def made(self) -> Shape:
        """The shape of the first output."""
        shape = self.outputs[0]
        assert shape is not None
        return shape

    @property
    def size(self) -> int:
        """Values of the first output."""
        return math.prod(self.made)


def _matrices(node: ShapedNode) -> Work:
    """MatMul and its kin: the last size of the left factor, for each value that is made."""
    left = node.read(0)
    inner = left[-2] if node.options.get("transA") else left[-1]
    return Work(multiply_adds=node.size * inner)


def _gemm(node: ShapedNode) -> Work:
    scaled = sum(node.options.get(name, 1.0) != 1.0 for name in ("alpha", "beta"))
    left = node.read(0)
    inner = left[0] if node.options.get("transA") else left[1]
    return Work(multiply_adds=node.size * inner, other=node.size * (int(node.has(2)) + scaled))


def _blocks(node: ShapedNode) -> Work:
    """MatMulNBits, whose codes count as the weights that they stand for."""
    return Work(multiply_adds=node.size * int(node.options["K"]), other=node.size * int(node.has(5)))


def _convolution(weights: int, bias: int) -> Callable[[ShapedNode], Work]:
    def work(node: ShapedNode) -> Work:
        of_a_value = math.prod(node.read(weights)[1:])
        return Work(multiply_adds=node.size * of_a_value, other=node.size * int(node.has(bias)))

    return work


def _transposed_convolution(node: ShapedNode) -> Work:
    taken = math.prod(node.read(0))
    return Work(multiply_adds=taken * math.prod(node.read(1)[1:]), other=node.size * int(node.has(2)))


def _einsum(node: ShapedNode) -> Work:
    """One for each combination of indices, and each factor beyond the first; a lone factor is summed."""
    equation = node.options["equation"].decode().replace(" ", "")
    terms = equation.partition("->")[0]
    sizes: dict[str, int] = {}
    for term, shape in zip(terms.split(","), node.inputs, strict=True):
        assert shape is not None
        for index, size in zip(_indices(term, len(shape)), shape, strict=True):
            sizes[index] = max(size, sizes.get(index, 1))
    combinations = math.prod(sizes.values())
    factors = len(node.inputs)
    if factors > 1:
        return Work(multiply_adds=(factors - 1) * combinations)
    return Work(other=combinations if combinations > node.size else 0)


def _indices(term: str, rank: int) -> list[str]:
    """The names of a term's dimensions; those of an ellipsis are counted from the right."""
    before, dots, after = term.partition("...")
    if not dots:
        return list(term)
    hidden = rank - len(before) - len(after)
    return [*before, *(f"...{place}" for place in range(hidden, 0, -1)), *after]


def _attention(node: ShapedNode) -> Work:
    """ONNX's Attention, and MultiHeadAttention and GroupQueryAttention with keys of their own."""
    query, key = node.read(0), node.read(1)
    places = _places_attended(node, key)
    heads = query[1] if len(query) == 4 else _heads(node)
    batch, asked = query[0], query[2] if len(query) == 4 else query[1]
    scores = batch * heads * asked * places
    return Work(multiply_adds=places * (math.prod(query) + node.size), other=(SOFTMAX + 1) * scores)


def _places_attended(node: ShapedNode, key: Shape) -> int:
    present = node.outputs[1] if len(node.outputs) > 1 else None
    if present is not None and len(present) == 4:  # keys from before are among them
        return present[2]
    return key[2] if len(key) == 4 else key[1]


def _heads(node: ShapedNode) -> int:
    return int(node.options.get("q_num_heads") or node.options["num_heads"])


def _packed_attention(node: ShapedNode) -> Work:
    """com.microsoft's Attention: x [b, s, d] times the weights [d, queries, keys and values] first."""
    x, weights = node.read(0), node.read(1)
    projected = math.prod(x) * weights[1]
    sizes = node.options.get("qkv_hidden_sizes")
    width = int(sizes[0]) if sizes else weights[1] // 3
    past = node.inputs[4] if len(node.inputs) > 4 else None
    places = x[1] + (past[3] if past is not None else 0)
    scores = x[0] * x[1] * places * int(node.options["num_heads"])
    return Work(
        multiply_adds=projected + places * (x[0] * x[1] * width + node.size),
        other=(SOFTMAX + 1) * scores + x[0] * x[1] * weights[1] * int(node.has(2)),
    )


_CELLS = {"RNN": (1, 0), "GRU": (3, 5), "LSTM": (4, 5)}  # gates, and products and sums behind them


def _recurrent(node: ShapedNode) -> Work:
    """All weights of words and state in each place; biases, gates, and what the gates do to the state."""
    x, words, state = node.read(0), node.read(1), node.read(2)
    rows = x[0] * x[1]  # places times examples, whichever comes first
    gates, behind = _CELLS[node.operator]
    hidden, directions = state[2], words[0]
    beside = gates * hidden * (2 + 2 * int(node.has(3))) + behind * hidden
    return Work(multiply_adds=rows * (math.prod(words) + math.prod(state)), other=rows * directions * beside)


PRODUCTS: dict[str, Callable[[ShapedNode], Work]] = {
    "MatMul": _matrices,
    "FusedMatMul": _matrices,
    "MatMulInteger": _matrices,
    "MatMulIntegerToFloat": _matrices,
    "DynamicQuantizeMatMul": _matrices,
    "QLinearMatMul": _matrices,
    "MatMulNBits": _blocks,
    "Gemm": _gemm,
    "FusedGemm": _gemm,
    "Conv": _convolution(1, 2),
    "FusedConv": _convolution(1, 2),
    "ConvInteger": _convolution(1, 99),
    "QLinearConv": _convolution(3, 8),
    "ConvTranspose": _transposed_convolution,
    "Einsum": _einsum,
    "MultiHeadAttention": _attention,
    "GroupQueryAttention": _attention,
    "RNN": _recurrent,
    "GRU": _recurrent,
    "LSTM": _recurrent,
}
"""By operator; Attention is two of one name, told apart by their domain."""


def attention_of(domain: str) -> Callable[[ShapedNode], Work]:
    """The rule of an operator called Attention."""
    return _packed_attention if domain == "com.microsoft" else _attention

"""The answers of 8-bit forms on an x86 processor without VNNI, computed with numpy.

Such a processor multiplies unsigned by signed bytes with vpmaddubsw: the products of every two neighbours are
added in 16 bits, and what is more than these hold is cut off. Of two unsigned factors nothing is lost: they
are widened to 16 bits first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator

# Where an operator on bytes has its weight, and one on numbers that were bytes.
_OF_BYTES = {
    "MatMulInteger": 1,
    "ConvInteger": 1,
    "DynamicQuantizeMatMul": 1,
    "MatMulIntegerToFloat": 1,
    "QLinearMatMul": 3,
    "QLinearConv": 3,
    "QGemm": 3,
}
_OF_NUMBERS = {"MatMul": 1, "Gemm": 1, "Conv": 1}


def weights_of_products(graph: bytes) -> Iterator[tuple[str, np.ndarray]]:
    """Operator and integer weight of every product of bytes in a graph."""
    model = onnx.load_from_string(graph)
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    sources = {
        node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "DequantizeLinear"
    }
    for node in model.graph.node:
        if node.op_type in _OF_BYTES:
            yield node.op_type, arrays[node.input[_OF_BYTES[node.op_type]]]
        elif node.op_type in _OF_NUMBERS and node.input[_OF_NUMBERS[node.op_type]] in sources:
            yield node.op_type, arrays[sources[node.input[_OF_NUMBERS[node.op_type]]]]


def pair_sums(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The product of unsigned bytes [n, K] by bytes [K, m], in the pairs that vpmaddubsw cuts off."""
    products = left.astype(np.int64)[:, :, None] * right.astype(np.int64)[None]  # [n, K, m]
    if len(right) % 2:
        products = np.pad(products, ((0, 0), (0, 1), (0, 0)))
    pairs = products.reshape(len(left), -1, 2, right.shape[1]).sum(axis=2)
    if right.dtype == np.int8:
        limits = np.iinfo(np.int16)
        pairs = pairs.clip(limits.min, limits.max)
    total: np.ndarray = pairs.sum(axis=1)
    return total


@dataclass(frozen=True, eq=False)
class _Codes:
    """What stands for the numbers (codes - zero) * scale."""

    codes: np.ndarray
    scale: np.ndarray
    zero: np.ndarray


def logits_without_vnni(graph: bytes, x: np.ndarray) -> np.ndarray:
    """Logits [n, K] of a dynamic or static form of linear layers, for x [n, *input_shape]."""
    model = onnx.load_from_string(graph)
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer} | {"x": x}
    codes: dict[str, _Codes] = {}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear":
            codes[node.output[0]] = _Codes(*(values[name] for name in node.input))
        if node.op_type == "MatMulInteger":
            left, right, left_zero, right_zero = (values[name] for name in node.input)
            made = [_integer_product(left, right, left_zero, right_zero)]
        elif node.op_type == "Gemm":
            a, b = codes[node.input[0]], codes[node.input[1]]
            options = {each.name: helper.get_attribute_value(each) for each in node.attribute}
            right = b.codes.T if options.get("transB") else b.codes
            product = _integer_product(a.codes, right, a.zero, b.zero)
            made = [(product * a.scale * b.scale + values[node.input[2]]).astype(np.float32)]
        else:
            made = ReferenceEvaluator(node).run(None, {name: values[name] for name in node.input})
        values |= dict(zip(node.output, made, strict=True))
    return values["logits"]


def _integer_product(
    left: np.ndarray, right: np.ndarray, left_zero: np.ndarray, right_zero: np.ndarray
) -> np.ndarray:
    """(left - left_zero) (right - right_zero): the bytes as they are, then what the zeros take off."""
    a, b = left.astype(np.int64), right.astype(np.int64)
    za, zb = int(left_zero), int(right_zero)
    off = za * b.sum(axis=0)[None] + zb * a.sum(axis=1)[:, None] - len(b) * za * zb
    return (pair_sums(left, right) - off).astype(np.int32)

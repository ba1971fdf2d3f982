"""Turns a student's inference graph into one with 8-bit weights.

The weights of linear layers become codes and scales (see `fedstill_proto.package.quantization`), multiplied
by ONNX Runtime's MatMulNBits; convolutions, biases and small weights stay as they are. A table of words that
is read by word, and maybe multiplied as well, is there once, in 8 bits: the rows of a batch's words are made
float32 as they are read. A device puts its own codes and scales in place of the graph's.

What goes into such a product is rounded to 8 bits, too, block by block. Otherwise ONNX Runtime would make a
float32 weight of the codes first, in every run: for a single row of a table of 10,000 words that takes twenty
times as long. benchmarks/student_agreement.py measures what it costs in answers.

No processor cuts the products off. On x86 without VNNI, ONNX Runtime's kernels for 8-bit blocks multiply
codes of 0 to 255 by activations of -127 to 127 one at a time in 16 bits (255 * 127 is 32,385), not in pairs
that end at 32,767, as its other products of unsigned and signed bytes do (distill/quantization.py). On arm
without dot products activations stay float32, which is nearer still.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from fedstill_proto.arrays import Parameters
from fedstill_proto.package.manifest import QuantizedWeight
from fedstill_proto.package.quantization import CODE_OF_ZERO, quantized_arrays
from onnx import helper, numpy_helper

BLOCK = 32
LEAST_VALUES = 256
"""Smaller weights gain nothing: a scale for each block and a node more cost as much."""

_DOMAIN = "com.microsoft"
_ROUNDED_ACTIVATIONS = 4  # MatMulNBits' accuracy_level; 1 would leave them float32


@dataclass(frozen=True, eq=False)
class QuantizedStudent:
    """An 8-bit inference graph, and which weights it holds as codes."""

    quantized: tuple[QuantizedWeight, ...]
    graph: bytes


def quantize_student(
    graph: bytes, parameters: Parameters, *, block: int = BLOCK, only: Collection[str] | None = None
) -> QuantizedStudent | None:
    """The 8-bit form of an inference graph.

    A weight is in 8 bits where everything that reads it can read codes. A table whose rows a block does not
    fill has blocks of half the size.

    Args:
        graph: A graph whose initializers bear the names of `parameters`.
        parameters: The student's.
        block: Values that share a scale.
        only: The parameters that may be in 8 bits, where another graph of the student decides.

    Returns:
        The graph, or None for a student without a linear layer of `LEAST_VALUES` weights: it has nothing to
            gain.
    """
    model = onnx.load_from_string(graph)
    entries = {
        name: QuantizedWeight(name, size, f"{name}.codes", f"{name}.scales")
        for name in parameters
        if only is None or name in only
        for size in [_block_of(parameters[name], block)]
        if _is_linear(model.graph, name, parameters[name], block=size)
    }
    if not entries:
        return None
    quantized = tuple(entries.values())
    arrays: dict[str, np.ndarray] = dict(quantized_arrays(parameters, quantized))
    ranks = {
        value.name: len(value.type.tensor_type.shape.dim)
        for value in (*model.graph.input, *model.graph.value_info)
    } | {tensor.name: len(tensor.dims) for tensor in model.graph.initializer}
    turned = _turned(model.graph)
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.op_type == "Gemm" and node.input[1] in entries:
            nodes += _product(node, entries[node.input[1]], *parameters[node.input[1]].shape)
        elif node.op_type == "MatMul" and turned.get(node.input[1]) in entries:
            entry = entries[turned[node.input[1]]]
            nodes.append(_multiply(node.input[0], entry, node.output[0], *parameters[entry.parameter].shape))
        elif node.op_type == "Transpose" and node.output[0] in turned and node.input[0] in entries:
            continue
        elif node.op_type == "Gather" and node.input[0] in entries:
            nodes += _lookup(node, entries[node.input[0]])
            arrays |= {
                _ZERO: _ZERO_CODE,
                _LAST_AXIS: _LAST,
                f"{node.output[0]}.shape": _rows(ranks[node.input[1]]),
            }
        else:
            nodes.append(node)
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in entries]
    inputs = [port for port in model.graph.input if port.name not in entries]
    del model.graph.node[:], model.graph.initializer[:], model.graph.value_info[:], model.graph.input[:]
    model.graph.input.extend(inputs)
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(kept)
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items())
    if all(one.domain != _DOMAIN for one in model.opset_import):
        model.opset_import.append(helper.make_opsetid(_DOMAIN, 1))
    return QuantizedStudent(quantized, model.SerializeToString(deterministic=True))


def _block_of(weight: np.ndarray, block: int) -> int:
    """The block that fills the rows, of the two sizes that are fast."""
    return (
        block // 2
        if weight.shape[-1:] and weight.shape[-1] % block and not weight.shape[-1] % (block // 2)
        else block
    )


def _is_linear(graph: onnx.GraphProto, name: str, weight: np.ndarray, *, block: int) -> bool:
    """Whether a parameter is the weight [out, in] of linear layers, worth 8 bits and read in no other way.

    It may be a table that words look up, if blocks fill its rows: padding would be read with them.
    """
    readers = [node for node in graph.node if name in node.input]
    turned = {output for output, source in _turned(graph).items() if source == name}
    products = [_is_product(node, name) or node.output[0] in turned for node in readers]
    lookups = [_is_lookup(node, name) and weight.shape[-1] % block == 0 for node in readers]
    read_in_codes = all(product or lookup for product, lookup in zip(products, lookups, strict=True))
    return weight.ndim == 2 and weight.size >= LEAST_VALUES and bool(readers) and read_in_codes


def _turned(graph: onnx.GraphProto) -> dict[str, str]:
    """The parameters [out, in] that are turned round for nothing but products x weight^T, by what is made."""
    found = {}
    for node in graph.node:
        if node.op_type == "Transpose" and list(_options(node).get("perm", ())) == [1, 0]:
            readers = [one for one in graph.node if node.output[0] in one.input]
            if all(one.op_type == "MatMul" and one.input[1] == node.output[0] for one in readers):
                found[node.output[0]] = node.input[0]
    return found


def _is_product(node: onnx.NodeProto, weight: str) -> bool:
    """x weight^T, with a bias or none."""
    if node.op_type != "Gemm" or node.domain not in ("", "ai.onnx") or list(node.input).index(weight) != 1:
        return False
    options = {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 0} | _options(node)
    return options == {"alpha": 1.0, "beta": 1.0, "transA": 0, "transB": 1}


def _is_lookup(node: onnx.NodeProto, table: str) -> bool:
    """The rows of a table that words name."""
    return node.op_type == "Gather" and node.input[0] == table and _options(node).get("axis", 0) == 0


def _options(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def _product(node: onnx.NodeProto, entry: QuantizedWeight, outputs: int, inputs: int) -> list[onnx.NodeProto]:
    biased = len(node.input) > 2 and bool(node.input[2])
    product = f"{node.output[0]}.product" if biased else node.output[0]
    multiply = _multiply(node.input[0], entry, product, outputs, inputs)
    if not biased:
        return [multiply]
    return [multiply, helper.make_node("Add", [product, node.input[2]], [node.output[0]])]


def _multiply(x: str, entry: QuantizedWeight, product: str, outputs: int, inputs: int) -> onnx.NodeProto:
    return helper.make_node(
        "MatMulNBits",
        [x, entry.codes, entry.scales],
        [product],
        domain=_DOMAIN,
        K=inputs,
        N=outputs,
        bits=8,
        block_size=entry.block,
        accuracy_level=_ROUNDED_ACTIVATIONS,
    )


_ZERO, _LAST_AXIS = "codes.zero", "codes.last_axis"
_ZERO_CODE, _LAST = np.array(CODE_OF_ZERO, np.float32), np.array([-1], np.int64)


def _lookup(node: onnx.NodeProto, entry: QuantizedWeight) -> list[onnx.NodeProto]:
    """(codes[words] - zero) * scales[words], one row a word.

    GatherBlockQuantized would do it in one node, but wants the scales in another shape than MatMulNBits: the
    package would hold them twice.
    """
    words, rows = node.input[1], node.output[0]

    def name(part: str) -> str:
        return f"{rows}.{part}"

    def make(operator: str, inputs: list[str], output: str, **options: Any) -> onnx.NodeProto:
        return helper.make_node(operator, inputs, [output], **options)

    return [
        make("Gather", [entry.codes, words], name("codes"), axis=0),  # [..., blocks, block]
        make("Gather", [entry.scales, words], name("scales"), axis=0),  # [..., blocks]
        make("Cast", [name("codes")], name("numbers"), to=onnx.TensorProto.FLOAT),
        make("Sub", [name("numbers"), _ZERO], name("steps")),
        make("Unsqueeze", [name("scales"), _LAST_AXIS], name("step")),
        make("Mul", [name("steps"), name("step")], name("blocks")),
        make("Reshape", [name("blocks"), name("shape")], rows),
    ]


def _rows(rank: int) -> np.ndarray:
    """The shape of words of this rank, each a row: Reshape reads a 0 as "as it is"."""
    return np.array([0] * rank + [-1], np.int64)

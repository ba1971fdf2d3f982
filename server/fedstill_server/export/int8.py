"""Turns a student's inference graph into one with 8-bit weights.

The weights of linear layers become codes and scales (see `fedstill_proto.quantization`), multiplied by
ONNX Runtime's MatMulNBits with activations in float32; convolutions, biases and small weights stay as they
are. A device puts its own codes and scales in place of the graph's.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx
from fedstill_proto.manifest import QuantizedWeight
from fedstill_proto.messages import Parameters
from fedstill_proto.quantization import quantized_arrays
from onnx import helper, numpy_helper

from fedstill_server.export.errors import ExportError

BLOCK = 32
LEAST_VALUES = 256
"""Smaller weights gain nothing: a scale for each block and a node more cost as much."""

_DOMAIN = "com.microsoft"
_FLOAT32_ACTIVATIONS = 1  # MatMulNBits' accuracy_level; 4 would round activations to 8 bits, too


@dataclass(frozen=True, eq=False)
class QuantizedStudent:
    """An 8-bit inference graph, and which weights it holds as codes."""

    quantized: tuple[QuantizedWeight, ...]
    graph: bytes


def quantize_student(graph: bytes, parameters: Parameters, *, block: int = BLOCK) -> QuantizedStudent | None:
    """The 8-bit form of an inference graph whose initializers bear the names of `parameters`.

    None for a student without a linear layer of `LEAST_VALUES` weights: it has nothing to gain.
    """
    model = onnx.load_from_string(graph)
    quantized, nodes = [], []
    for node in model.graph.node:
        weight = _linear_weight(node, parameters)
        if weight is None:
            nodes.append(node)
            continue
        entry = QuantizedWeight(weight, block, f"{weight}.codes", f"{weight}.scales")
        quantized.append(entry)
        nodes += _eight_bit_product(node, entry, *parameters[weight].shape)
    if not quantized:
        return None
    _check_used_once(model.graph, quantized)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    replaced = {entry.parameter for entry in quantized}
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in replaced]
    arrays = quantized_arrays(parameters, quantized)
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in arrays.items())
    del model.graph.value_info[:]
    if all(one.domain != _DOMAIN for one in model.opset_import):
        model.opset_import.append(helper.make_opsetid(_DOMAIN, 1))
    return QuantizedStudent(tuple(quantized), model.SerializeToString(deterministic=True))


def _linear_weight(node: onnx.NodeProto, parameters: Parameters) -> str | None:
    """The weight [out, in] of a linear layer that is worth 8 bits."""
    if node.op_type != "Gemm" or node.domain not in ("", "ai.onnx") or node.input[1] not in parameters:
        return None
    options = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    plain = {"alpha": 1.0, "beta": 1.0, "transA": 0} | options
    if (plain["alpha"], plain["beta"], plain["transA"], plain.get("transB", 0)) != (1.0, 1.0, 0, 1):
        return None
    return node.input[1] if parameters[node.input[1]].size >= LEAST_VALUES else None


def _eight_bit_product(
    node: onnx.NodeProto, entry: QuantizedWeight, outputs: int, inputs: int
) -> list[onnx.NodeProto]:
    biased = len(node.input) > 2 and bool(node.input[2])
    product = f"{node.output[0]}.product" if biased else node.output[0]
    multiply = helper.make_node(
        "MatMulNBits",
        [node.input[0], entry.codes, entry.scales],
        [product],
        domain=_DOMAIN,
        K=inputs,
        N=outputs,
        bits=8,
        block_size=entry.block,
        accuracy_level=_FLOAT32_ACTIVATIONS,
    )
    if not biased:
        return [multiply]
    return [multiply, helper.make_node("Add", [product, node.input[2]], [node.output[0]])]


def _check_used_once(graph: onnx.GraphProto, quantized: list[QuantizedWeight]) -> None:
    used = [name for node in graph.node for name in node.input]
    for entry in quantized:
        if used.count(entry.parameter) != 1:
            raise ExportError(
                f"weight {entry.parameter!r} is used {used.count(entry.parameter)} times in the graph; "
                "8-bit weights of linear layers may be used once"
            )

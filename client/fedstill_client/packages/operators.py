"""Reads a graph before ONNX Runtime may: which operators it is made of, and that it stands for itself.

A signed graph can still be a wrong one. What is let through is a model without functions and without files
beside it, in which every node, in nested graphs too, is an operator of the list. The list holds what
students' graphs are made of; none of it reads files or draws random numbers, and the one loop, Scan, ends
with the tensor that it reads.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from fedstill_proto.errors import WireError
from fedstill_proto.package.artifact import (
    BLOCK_FILE,
    BLOCK_INT8_FILE,
    FORWARD_FILE,
    INFERENCE_FILE,
    INT8_FILE,
    PREFIX_FILE,
    SLOTS_GRAPH_FILE,
    STEP_FILE,
    STEP_INT8_FILE,
    TRAINING_FILE,
    StudentPackage,
)
from fedstill_proto.text.lexicon import Lexicon
from fedstill_proto.text.vocabulary import WordList
from fedstill_proto.v1 import onnx_outline_pb2 as pb
from google.protobuf.message import DecodeError

from fedstill_client.model.intent_schema import intent_schema
from fedstill_client.model.slots import slot_schema
from fedstill_client.model.suppression import Suppression
from fedstill_client.packages.errors import PackageError
from fedstill_client.subwords.package_reader import check_subwords

GRAPH_LIMIT_BYTES = 256 << 20
NODE_LIMIT = 20_000
DEPTH_LIMIT = 4  # of graphs in graphs
VALUES_LIMIT = 1 << 28  # of one tensor of weights

_STANDARD = """
    Abs Add And ArgMax ArgMin AveragePool BatchNormalization Cast Ceil Clip Concat Constant ConstantOfShape
    Conv ConvTranspose Cos CumSum DequantizeLinear Div DynamicQuantizeLinear Einsum Equal Erf Exp Expand
    Flatten Floor GRU Gather GatherElements GatherND Gelu Gemm GlobalAveragePool Greater GreaterOrEqual
    GroupNormalization HardSigmoid HardSwish Identity InstanceNormalization LSTM LayerNormalization
    LeakyRelu Less LessOrEqual Log LogSoftmax MatMul MatMulInteger Max MaxPool Mean Min Mod Mul Neg Not OneHot
    Or Pad Pow QuantizeLinear RNN Range Reciprocal ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean
    ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Round Scan ScatterElements ScatterND Shape
    Sigmoid Sign Sin Size Slice Softmax Softplus Split Sqrt Squeeze Sub Sum Tanh Tile TopK Transpose
    Trilu Unsqueeze Where Xor
"""
_MICROSOFT = """
    DynamicQuantizeMatMul FastGelu FusedGemm FusedMatMul GatherBlockQuantized MatMulIntegerToFloat MatMulNBits
    QuickGelu SkipLayerNormalization
"""
ALLOWED_OPERATORS = frozenset(
    [("", name) for name in _STANDARD.split()] + [("com.microsoft", name) for name in _MICROSOFT.split()]
)
"""(domain, name); the domain of ONNX's own operators is ""."""

_DOMAINS = frozenset(domain for domain, _ in ALLOWED_OPERATORS)


def check_package(package: StudentPackage) -> None:
    """Check every graph of a package, its constraints, and its student's words, intents, slots or sub-words;
    raises PackageError.
    """
    graphs = {
        INFERENCE_FILE: package.inference_graph,
        INT8_FILE: package.int8_graph,
        TRAINING_FILE: package.training_graph,
        FORWARD_FILE: package.forward_graph,
        PREFIX_FILE: package.prefix_graph,
        STEP_FILE: package.step_graph,
        STEP_INT8_FILE: package.step_int8_graph,
        BLOCK_FILE: package.block_graph,
        BLOCK_INT8_FILE: package.block_int8_graph,
        SLOTS_GRAPH_FILE: package.slots_graph,
    }
    for name, graph in graphs.items():
        if graph is not None:
            check_graph(graph, name=name)
    if package.vocabulary is not None:
        try:
            words = WordList.from_json(package.vocabulary, size=package.manifest.classes)
            if package.lexicon is not None:
                Lexicon.from_bytes(package.lexicon, words)
        except WireError as error:
            raise PackageError("vocabulary", str(error)) from None
    try:
        intent_schema(package)
    except WireError as error:
        raise PackageError("intents", str(error)) from None
    try:
        slot_schema(package)
    except WireError as error:
        raise PackageError("slots", str(error)) from None
    try:
        Suppression(package)
    except WireError as error:
        raise PackageError("constraints", str(error)) from None
    try:
        check_subwords(package)
    except WireError as error:
        raise PackageError("tokenizer", str(error)) from None


def check_graph(graph: bytes, *, name: str = "the graph") -> None:
    """Raises PackageError unless these bytes are a model that ONNX Runtime may be given."""
    if len(graph) > GRAPH_LIMIT_BYTES:
        raise PackageError("graph", f"{name}: {len(graph)} bytes, more than {GRAPH_LIMIT_BYTES}")
    try:
        model = pb.Model.FromString(graph)
    except DecodeError as error:
        raise PackageError("graph", f"{name}: not an ONNX model: {str(error)[:100]}") from None
    if not model.ir_version or not model.HasField("graph") or not model.graph.node:
        raise PackageError("graph", f"{name}: not an ONNX model: it has no version or no nodes")
    if model.functions or model.training_info:
        raise PackageError("operator", f"{name}: defines operators of its own (functions or training_info)")
    for opset in model.opset_import:
        if _domain(opset.domain) not in _DOMAINS:
            raise PackageError("operator", f"{name}: imports the operators of {opset.domain[:60]!r}")
    nodes = 0
    for part in _graphs(model.graph, name, depth=0):
        nodes += len(part.node)
        if nodes > NODE_LIMIT:
            raise PackageError("graph", f"{name}: more than {NODE_LIMIT} nodes")
        _check_nodes(part, name)
        for tensor in _tensors(part):
            _check_tensor(tensor, name)


def _graphs(graph: pb.Graph, name: str, *, depth: int) -> Iterator[pb.Graph]:
    """The graph and all that are nested in it."""
    if depth > DEPTH_LIMIT:
        raise PackageError("graph", f"{name}: graphs in graphs, more than {DEPTH_LIMIT} deep")
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            inner = [attribute.g] if attribute.HasField("g") else []
            for nested in (*inner, *attribute.graphs):
                yield from _graphs(nested, name, depth=depth + 1)


def _check_nodes(graph: pb.Graph, name: str) -> None:
    for node in graph.node:
        if (_domain(node.domain), node.op_type) not in ALLOWED_OPERATORS or node.overload:
            shown = f"{node.domain[:60] or 'ai.onnx'}:{node.op_type[:60]}"
            raise PackageError("operator", f"{name}: operator {shown} is not one that this agent runs")


def _tensors(graph: pb.Graph) -> Iterator[pb.Tensor]:
    """All constants of a graph: its initializers and its nodes' attributes."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from ([attribute.t] if attribute.HasField("t") else [])
            yield from attribute.tensors
            lone = [attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else []
            for sparse in (*lone, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)


def _check_tensor(tensor: pb.Tensor, name: str) -> None:
    if tensor.data_location or tensor.external_data:
        raise PackageError("graph", f"{name}: the weights {tensor.name[:60]!r} are in another file")
    if any(size < 0 for size in tensor.dims) or math.prod(tensor.dims) > VALUES_LIMIT:
        raise PackageError("graph", f"{name}: the weights {tensor.name[:60]!r} have no shape for a device")


def _domain(domain: str) -> str:
    """ONNX's own operators go by two names."""
    return "" if domain == "ai.onnx" else domain

"""The work of every operator that is known, and the names of those that are not.

An element-wise function is one operation for each value that it makes, an exponential like a sum: what it
costs in cycles is for the clock to say. What moves values and computes none is no work. An operator that is
in none of these lists is named by the cost of its graph, and not guessed.
"""

from __future__ import annotations

import math

from fedstill_server.inspection.graph.products import PRODUCTS, SOFTMAX, ShapedNode, attention_of
from fedstill_server.inspection.graph.work import Work


def _named(text: str) -> frozenset[str]:
    return frozenset(text.split())


_MOVES = _named(
    """Cast CastLike Concat Constant ConstantOfShape DepthToSpace Dropout Expand EyeLike Flatten Gather
    GatherElements GatherND Identity NonZero OneHot Pad Range Reshape ReverseSequence ScatterElements
    ScatterND Shape Size Slice SpaceToDepth Split Squeeze Tile Transpose Trilu Unsqueeze Compress"""
)
_ELEMENTWISE = _named(
    """Abs Acos Acosh Add And Asin Asinh Atan Atanh BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Ceil Celu Clip
    Cos Cosh Div Elu Equal Erf Exp FastGelu Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish IsInf
    IsNaN LeakyRelu Less LessOrEqual Log Mish Mod Mul Neg Not Or PRelu Pow QuickGelu Reciprocal Relu Round
    Selu Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Swish Tan Tanh ThresholdedRelu Where Xor"""
)
_SUMS = _named(
    """ArgMax ArgMin CumSum GlobalAveragePool GlobalMaxPool ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp
    ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare"""
)
# For each value: of a normalization a mean, a difference, a square, a mean of those, a quotient, a factor
# and a summand.
_EACH_VALUE = {
    "Softmax": SOFTMAX,
    "LogSoftmax": SOFTMAX,
    "LayerNormalization": 7,
    "SkipLayerNormalization": 8,
    "EmbedLayerNormalization": 9,
    "InstanceNormalization": 7,
    "GroupNormalization": 7,
    "RMSNormalization": 4,
    "SimplifiedLayerNormalization": 4,
    "SkipSimplifiedLayerNormalization": 5,
    "BatchNormalization": 2,
    "BiasGelu": 2,
    "QuantizeLinear": 2,
    "DequantizeLinear": 2,
    "DynamicQuantizeLinear": 4,
    "RotaryEmbedding": 3,
}
VIEWS = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Identity", "Dropout"})
"""Operators whose output is their input's memory."""
CONTROL = frozenset({"If", "Loop", "Scan"})
"""Operators whose work is their body's."""
_STANDARD = ("", "ai.onnx", "com.microsoft")


def work_of(node: ShapedNode, *, domain: str = "") -> Work | None:
    """What a node computes; None where its operator is not known."""
    name = node.operator
    if domain not in _STANDARD:
        return None
    rule = attention_of(domain) if name == "Attention" else PRODUCTS.get(name)
    if rule is not None:
        return rule(node)
    if name in _MOVES or name in CONTROL:
        return Work()
    if name in _ELEMENTWISE:
        return Work(other=node.size)
    if name in ("Sum", "Mean", "Max", "Min"):
        return Work(other=max(len(node.inputs) - 1, 0) * node.size)
    if name in _SUMS:
        return Work(other=math.prod(node.read(0)))
    if name in ("MaxPool", "AveragePool"):
        return Work(other=node.size * math.prod(node.options["kernel_shape"]))
    each = _EACH_VALUE.get(name)
    return None if each is None else Work(other=each * node.size)

"""A tagger as an ONNX graph: numbers [words, grams] and features [words, FEATURES] -> logits [words, labels].

The table of n-grams is in 8 bits with a scale for each of its columns, which is a quarter of its size; all
else is float32. The graph carries its weights: a tagger is not trained on devices.
"""

from __future__ import annotations

import numpy as np
import onnx
from fedstill_proto.text.slot_words import FEATURES, GRAMS
from onnx import TensorProto, helper, numpy_helper

from fedstill_server.tasks.utterances.slots.tagger import DILATIONS
from fedstill_server.tasks.utterances.slots.training import LearnedTagger

_OPSET, _IR = 17, 8


def tagger_graph(learned: LearnedTagger) -> bytes:
    """slots.onnx"""
    weights = {name: value.detach().numpy() for name, value in learned.network.named_parameters()}
    table = weights["embedding.weight"]
    scale = np.maximum(np.abs(table).max(0), 1e-8) / 127.0
    constants: dict[str, np.ndarray] = {
        "table": np.rint(table / scale).astype(np.int8),
        "scale": scale.astype(np.float32),
        "zero": np.zeros((), np.int64),
        "one": np.ones((), np.float32),
        "grams": np.array([1], np.int64),
        "last": np.array([2], np.int64),
        "first": np.array([0], np.int64),
        "input_weight": weights["input.weight"].T.copy(),
        "input_bias": weights["input.bias"],
        "output_weight": weights["output.weight"].T.copy(),
        "output_bias": weights["output.bias"],
    }
    nodes = [
        helper.make_node("Gather", ["table", "numbers"], ["rows8"]),
        helper.make_node("Cast", ["rows8"], ["rows"], to=TensorProto.FLOAT),
        helper.make_node("Greater", ["numbers", "zero"], ["is_heard"]),
        helper.make_node("Cast", ["is_heard"], ["heard"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["heard", "last"], ["heard3"]),
        helper.make_node("Mul", ["rows", "heard3"], ["heard_rows"]),
        helper.make_node("ReduceSum", ["heard_rows", "grams"], ["total8"], keepdims=0),
        helper.make_node("Mul", ["total8", "scale"], ["total"]),
        helper.make_node("ReduceSum", ["heard", "grams"], ["count"], keepdims=1),
        helper.make_node("Max", ["count", "one"], ["at_least_one"]),
        helper.make_node("Sqrt", ["at_least_one"], ["root"]),
        helper.make_node("Div", ["total", "root"], ["mean"]),
        helper.make_node("Concat", ["mean", "features"], ["read"], axis=1),
        helper.make_node("MatMul", ["read", "input_weight"], ["product"]),
        helper.make_node("Add", ["product", "input_bias"], ["by_word"]),
        helper.make_node("Transpose", ["by_word"], ["turned"], perm=[1, 0]),
        helper.make_node("Unsqueeze", ["turned", "first"], ["state0"]),  # [1, hidden, words]
    ]
    for place, apart in enumerate(DILATIONS):
        weight, bias = f"convolution{place}_weight", f"convolution{place}_bias"
        constants |= {
            weight: weights[f"convolutions.{place}.weight"],
            bias: weights[f"convolutions.{place}.bias"],
        }
        near, seen = f"near{place}", f"seen{place}"
        nodes += [
            helper.make_node(
                "Conv", [f"state{place}", weight, bias], [near], dilations=[apart], pads=[apart, apart]
            ),
            helper.make_node("Relu", [near], [seen]),
            helper.make_node("Add", [f"state{place}", seen], [f"state{place + 1}"]),
        ]
    nodes += [
        helper.make_node("Relu", [f"state{len(DILATIONS)}"], ["heard_words"]),
        helper.make_node("Squeeze", ["heard_words", "first"], ["flat"]),
        helper.make_node("Transpose", ["flat"], ["words"], perm=[1, 0]),
        helper.make_node("MatMul", ["words", "output_weight"], ["scores"]),
        helper.make_node("Add", ["scores", "output_bias"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "slots",
        [
            helper.make_tensor_value_info("numbers", TensorProto.INT64, ["words", GRAMS]),
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["words", FEATURES]),
        ],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["words", learned.schema.labels])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())

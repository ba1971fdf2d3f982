"""The smallest text student, a bigram model with tied embeddings, and its training step written out in ONNX.

logits[s] = E[x[s]] E^T. The step is plain or heavy-ball gradient descent, differentiated by hand.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from fedstill_proto.arrays import Parameters, ParameterSpec
from fedstill_proto.messages import Optimizer
from fedstill_proto.package.artifact import StudentManifest, StudentPackage, TrainingArtifact
from fedstill_proto.package.manifest import Vocabulary
from onnx import ModelProto, TensorProto, helper, numpy_helper

TABLE, WORDS, WIDTH, PLACES = "embedding.weight", 30, 4, 3
_FLOAT, _INT = TensorProto.FLOAT, TensorProto.INT64


def bigram_student(seed: int = 0, *, words: int = WORDS) -> Parameters:
    table = np.random.default_rng(seed).normal(size=(words, WIDTH)) * 0.5
    return {TABLE: table.astype(np.float32)}


def bigram_artifact(
    *,
    step_size: int = 20,
    step_rows: int = 4,
    optimizer: Optimizer = Optimizer.SGD,
    words: int = WORDS,
    places: int = PLACES,
) -> TrainingArtifact:
    manifest = StudentManifest(
        family="bigram",
        classes=words,
        input_shape=(places,),
        parameters=(ParameterSpec(TABLE, (words, WIDTH)),),
        optimizer=optimizer,
        soft_labels="none",
        opset=20,
        step_rows=step_rows,
        label_shape=(places,),
        input_type="int64",
        vocabulary=Vocabulary(words, step_size, (TABLE,)),
    )
    step = _step_graph(step_size, (1, step_rows, places), momentum=optimizer is Optimizer.MOMENTUM)
    forward = _forward_graph((1, 8, places), words)
    return TrainingArtifact(manifest, step.SerializeToString(), forward.SerializeToString())


def _step_graph(words: int, examples: tuple[int, int, int], *, momentum: bool) -> ModelProto:
    table, slot = [1, words, WIDTH], f"{TABLE}.momentum"
    shapes = {"flat": [-1], "one": [words, WIDTH], "many": table, "column": [-1, 1]}
    constants = [numpy_helper.from_array(np.array(shape, np.int64), name) for name, shape in shapes.items()]
    constants += [
        numpy_helper.from_array(np.array(words, np.int64), "depth"),
        numpy_helper.from_array(np.array([0, 1], np.float32), "off_on"),
        numpy_helper.from_array(np.array(0.9, np.float32), "decay"),
        numpy_helper.from_array(np.array([0], np.int64), "row_axis"),
        numpy_helper.from_array(np.array([1], np.int64), "word_axis"),
    ]
    node = helper.make_node
    nodes = [
        node("Reshape", [TABLE, "one"], ["E"]),
        node("Reshape", ["x", "flat"], ["words"]),
        node("Reshape", ["labels", "flat"], ["next"]),
        node("Reshape", ["hard_weight", "column"], ["weight"]),
        node("OneHot", ["words", "depth", "off_on"], ["is_word"]),
        node("OneHot", ["next", "depth", "off_on"], ["is_next"]),
        node("Gather", ["E", "words"], ["h"]),
        node("Transpose", ["E"], ["E_t"], perm=[1, 0]),
        node("MatMul", ["h", "E_t"], ["logits"]),
        node("LogSoftmax", ["logits"], ["log_p"], axis=-1),
        node("Exp", ["log_p"], ["p"]),
        node("Sub", ["p", "is_next"], ["wrong"]),
        node("Mul", ["wrong", "weight"], ["g"]),
        node("MatMul", ["g", "E"], ["into_h"]),
        node("Transpose", ["is_word"], ["is_word_t"], perm=[1, 0]),
        node("Transpose", ["g"], ["g_t"], perm=[1, 0]),
        node("MatMul", ["is_word_t", "into_h"], ["as_input"]),
        node("MatMul", ["g_t", "h"], ["as_output"]),
        node("Add", ["as_input", "as_output"], ["gradient"]),
        node("Mul", ["log_p", "is_next"], ["named"]),
        node("Mul", ["named", "weight"], ["weighed"]),
        node("ReduceSum", ["weighed", "word_axis"], ["of_rows"], keepdims=0),
        node("ReduceSum", ["of_rows", "row_axis"], ["total"], keepdims=1),
        node("Neg", ["total"], ["loss"]),
    ]
    inputs = [
        helper.make_tensor_value_info(TABLE, _FLOAT, table),
        helper.make_tensor_value_info("x", _INT, examples),
        helper.make_tensor_value_info("labels", _INT, examples),
        helper.make_tensor_value_info("hard_weight", _FLOAT, examples),
        helper.make_tensor_value_info("lr", _FLOAT, [1]),
    ]
    outputs = [
        helper.make_tensor_value_info(f"{TABLE}.new", _FLOAT, table),
        helper.make_tensor_value_info("loss", _FLOAT, [1]),
    ]
    velocity = "gradient"
    if momentum:
        inputs.append(helper.make_tensor_value_info(slot, _FLOAT, table))
        outputs.append(helper.make_tensor_value_info(f"{slot}.new", _FLOAT, table))
        nodes += [
            node("Reshape", [slot, "one"], ["m"]),
            node("Mul", ["m", "decay"], ["decayed"]),
            node("Add", ["decayed", "gradient"], ["velocity"]),
            node("Reshape", ["velocity", "many"], [f"{slot}.new"]),
        ]
        velocity = "velocity"
    nodes += [
        node("Mul", [velocity, "lr"], ["step"]),
        node("Sub", ["E", "step"], ["E_new"]),
        node("Reshape", ["E_new", "many"], [f"{TABLE}.new"]),
    ]
    return _model(helper.make_graph(nodes, "bigram step", inputs, outputs, constants))


def bigram_package(*, version: int, words: int, places: int, step_size: int) -> StudentPackage:
    """A package to install; its graph for answers has the weights in it."""
    artifact, weights = (
        bigram_artifact(words=words, places=places, step_size=step_size),
        bigram_student(0, words=words),
    )
    table = weights[TABLE]
    nodes = [
        helper.make_node("Gather", [TABLE, "x"], ["h"]),
        helper.make_node("MatMul", ["h", "E_t"], ["logits"]),
    ]
    inputs = [helper.make_tensor_value_info("x", _INT, ["n", places])]
    outputs = [helper.make_tensor_value_info("logits", _FLOAT, ["n", places, words])]
    constants = [numpy_helper.from_array(table, TABLE), numpy_helper.from_array(table.T.copy(), "E_t")]
    graph = _model(helper.make_graph(nodes, "bigram", inputs, outputs, constants))
    return StudentPackage(
        replace(artifact.manifest, package_version=version),
        graph.SerializeToString(),
        weights,
        training_graph=artifact.training_graph,
        forward_graph=artifact.forward_graph,
    )


def _forward_graph(examples: tuple[int, int, int], words: int) -> ModelProto:
    nodes = [
        helper.make_node("Reshape", [TABLE, "one"], ["E"]),
        helper.make_node("Gather", ["E", "x"], ["h"]),
        helper.make_node("Transpose", ["E"], ["E_t"], perm=[1, 0]),
        helper.make_node("MatMul", ["h", "E_t"], ["logits"]),
    ]
    inputs = [
        helper.make_tensor_value_info(TABLE, _FLOAT, [1, words, WIDTH]),
        helper.make_tensor_value_info("x", _INT, examples),
    ]
    outputs = [helper.make_tensor_value_info("logits", _FLOAT, [*examples, words])]
    one = numpy_helper.from_array(np.array([words, WIDTH], np.int64), "one")
    return _model(helper.make_graph(nodes, "bigram forward", inputs, outputs, [one]))


def _model(graph: object) -> ModelProto:
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)  # type: ignore[arg-type]

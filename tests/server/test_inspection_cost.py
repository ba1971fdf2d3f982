"""What a graph costs, counted by hand for each operator that multiplies, and for bodies of loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from fedstill_server.inspection.errors import InspectionError
from fedstill_server.inspection.graph.cost import GraphCost, cost_of_graph
from onnx import TensorProto, helper, numpy_helper

RANDOM = np.random.default_rng(0)


def model_of(*nodes: onnx.NodeProto, weights: dict[str, np.ndarray], output: str = "y") -> bytes:
    """A graph from x to `output`."""
    graph = helper.make_graph(
        list(nodes),
        "hand",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)],
        [onnx.ValueInfoProto(name=output)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opsets = [helper.make_opsetid("", 23), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


def floats(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


def cost_of(
    operator: str, x: tuple[int, ...], *weights: np.ndarray | None, outputs: int = 1, **options: Any
) -> GraphCost:
    """The cost of one node that reads x and weights; None leaves an input out."""
    names = ["" if one is None else f"w{place}" for place, one in enumerate(weights)]
    given = {name: one for name, one in zip(names, weights, strict=True) if one is not None}
    made = ["y", *(f"y{place}" for place in range(1, outputs))]
    node = helper.make_node(operator, ["x", *names], made, **options)
    return cost_of_graph(model_of(node, weights=given), {"x": floats(*x)})


MICROSOFT = {"domain": "com.microsoft"}
CODES = RANDOM.integers(0, 255, (6, 2, 16)).astype(np.uint8)
COUNTS = [
    # 2 x 3 rows of 4 times [4, 5].
    (cost_of, ("MatMul", (2, 3, 4), floats(4, 5)), {}, 2 * 3 * 5 * 4, 0),
    # [3, 4] turned: 4 rows of 3; and 4 x 5 biases.
    (cost_of, ("Gemm", (3, 4), floats(3, 5), floats(5)), {"transA": 1}, 4 * 5 * 3, 20),
    # 8 channels of 4 x 4 outputs, each of 3 x 3 values of one of two groups of 2 channels; and biases.
    (cost_of, ("Conv", (1, 4, 6, 6), floats(8, 2, 3, 3), floats(8)), {"group": 2}, 128 * 18, 128),
    # Each of 2 x 3 x 3 values goes to 5 channels of 2 x 2.
    (cost_of, ("ConvTranspose", (1, 2, 3, 3), floats(2, 5, 2, 2)), {}, 18 * 20, 0),
    # b 2, i 3, j 4, k 5.
    (cost_of, ("Einsum", (2, 3, 4), floats(2, 4, 5)), {"equation": "bij,bjk->bik"}, 2 * 3 * 4 * 5, 0),
    (cost_of, ("Einsum", (2, 3, 4), floats(4, 5)), {"equation": "...j,jk->...k"}, 2 * 3 * 4 * 5, 0),
    # A trace has no product: 9 values are read. Turned round, none is computed.
    (cost_of, ("Einsum", (3, 3)), {"equation": "ij->i"}, 0, 9),
    (cost_of, ("Einsum", (3, 3)), {"equation": "ij->ji"}, 0, 0),
    # 3 rows of 32 values times 6 columns, as codes in two blocks of 16.
    (
        cost_of,
        ("MatMulNBits", (3, 32), CODES, floats(12)),
        {"K": 32, "N": 6, "bits": 8, "block_size": 16, **MICROSOFT},
        3 * 6 * 32,
        0,
    ),
    # 5 places of 2 examples, 3 gates of 4 values of 3 and of 4; two biases, 2 for sum and gate, 5 behind.
    (
        cost_of,
        ("GRU", (5, 2, 3), floats(1, 12, 3), floats(1, 12, 4), floats(1, 24)),
        {"hidden_size": 4},
        10 * (12 * 3 + 12 * 4),
        10 * (3 * 4 * 4 + 5 * 4),
    ),
    # Both ways, 4 gates.
    (
        cost_of,
        ("LSTM", (5, 2, 3), floats(2, 16, 3), floats(2, 16, 4)),
        {"hidden_size": 4, "direction": "bidirectional"},
        10 * 2 * 16 * (3 + 4),
        10 * 2 * (4 * 4 * 2 + 5 * 4),
    ),
    # 2 heads of 4: 3 places ask 5; for each head 15 scores of 4, and 15 x 4 of values; 6 for each score.
    (
        cost_of,
        ("Attention", (1, 2, 3, 4), floats(1, 2, 5, 4), floats(1, 2, 5, 4)),
        {},
        2 * (15 * 4 + 15 * 4),
        6 * 30,
    ),
    (
        cost_of,
        ("MultiHeadAttention", (1, 3, 8), floats(1, 5, 8), floats(1, 5, 8)),
        {"num_heads": 2, **MICROSOFT},
        2 * (15 * 4 + 15 * 4),
        6 * 30,
    ),
    # 3 places of 8 times [8, 24] first; then 9 scores of 2 heads; 72 biases.
    (
        cost_of,
        ("Attention", (1, 3, 8), floats(8, 24), floats(24)),
        {"num_heads": 2, **MICROSOFT},
        3 * 8 * 24 + 2 * 2 * 9 * 4,
        6 * 18 + 72,
    ),
    (cost_of, ("Softmax", (2, 3)), {}, 0, 5 * 6),
    (cost_of, ("ReduceMean", (2, 3)), {}, 0, 6),
    (cost_of, ("Transpose", (2, 3)), {}, 0, 0),
]


@pytest.mark.parametrize(
    ("count", "given", "options", "multiply_adds", "other"), COUNTS, ids=[str(one[1][0]) for one in COUNTS]
)
def test_operators_by_hand(
    count: Any, given: tuple[Any, ...], options: dict[str, Any], multiply_adds: int, other: int
) -> None:
    cost = count(*given, **options)
    assert (cost.multiply_adds, cost.flops) == (multiply_adds, 2 * multiply_adds + other)
    assert cost.not_counted == ()


def test_keys_of_before_are_attended_to() -> None:
    # One place asks 6 of the past and itself, with 2 heads of 8 that share one of keys.
    past = [floats(1, 1, 6, 8), floats(1, 1, 6, 8)]
    lengths = [np.array([6], np.int32), np.array(7, np.int32)]
    cost = cost_of(
        "GroupQueryAttention",
        (1, 1, 16),
        floats(1, 1, 8),
        floats(1, 1, 8),
        *past,
        *lengths,
        outputs=3,
        num_heads=2,
        kv_num_heads=1,
        **MICROSOFT,
    )
    assert cost.multiply_adds == 2 * 7 * (8 + 8)


def scan() -> onnx.NodeProto:
    """state <- state + row @ w, over the 7 rows of x."""
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["row", "w"], ["product"]),
            helper.make_node("Add", ["state", "product"], ["after"]),
        ],
        "body",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [size])
            for name, size in (("state", 5), ("row", 3))
        ],
        [helper.make_tensor_value_info("after", TensorProto.FLOAT, [5])],
    )
    return helper.make_node("Scan", ["start", "x"], ["y"], body=body, num_scan_inputs=1)


def test_a_body_counts_as_often_as_it_is_run() -> None:
    graph = model_of(scan(), weights={"w": floats(3, 5), "start": floats(5)})
    cost = cost_of_graph(graph, {"x": floats(7, 3)})
    assert cost.multiply_adds == 7 * 3 * 5
    assert cost.flops == 2 * 105 + 7 * 5
    assert cost.not_counted == ()


def test_an_unknown_operator_is_named_and_not_guessed() -> None:
    top = helper.make_node("TopK", ["h", "two"], ["y", "places"])
    graph = model_of(
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        top,
        weights={"w": floats(4, 5), "two": np.array([2], np.int64)},
    )
    cost = cost_of_graph(graph, {"x": floats(3, 4)})
    assert cost.not_counted == (("TopK", 1),)
    assert (cost.multiply_adds, cost.flops) == (60, 120)


def test_parameters_and_memory_by_hand() -> None:
    # Rows of a table [10, 4], a layer [4, 6], a ReLU, and their sum with what the layer made.
    graph = model_of(
        helper.make_node("Cast", ["x"], ["words"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "words"], ["rows"]),
        helper.make_node("Reshape", ["rows", "flat"], ["line"]),
        helper.make_node("MatMul", ["line", "w"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Add", ["h", "r"], ["y"]),
        weights={"table": floats(10, 4), "w": floats(4, 6), "flat": np.array([-1, 4], np.int64)},
    )

    cost = cost_of_graph(graph, {"x": np.zeros((5,), np.float32)})

    assert (cost.parameters, cost.table_parameters) == (40 + 24, 40)
    assert cost.weights_bytes == 4 * 64 + 8 * 2
    # At the sum, three of [5, 6] are alive; at the layer it would be 5 x 4 and 5 x 6 values.
    assert (cost.activations_bytes, cost.largest) == (3 * 4 * 30, "Add y")
    assert cost.multiply_adds == 5 * 4 * 6
    assert cost.flops == 2 * 120 + 30 + 30


def test_more_examples_cost_more() -> None:
    graph = model_of(helper.make_node("MatMul", ["x", "w"], ["y"]), weights={"w": floats(4, 5)})
    one, eight = (cost_of_graph(graph, {"x": floats(rows, 4)}) for rows in (1, 8))
    assert eight.multiply_adds == 8 * one.multiply_adds == 160
    assert (eight.examples, eight.parameters) == (8, one.parameters)
    with pytest.raises(InspectionError, match="ONNX Runtime does not run it"):
        cost_of_graph(graph, {"x": floats(1, 3)})

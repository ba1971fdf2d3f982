"""What a run of a graph may take: time for each run, memory for all; both are ended, and nothing else is."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from fedstill_client.model import limits
from fedstill_client.model.limits import LimitExceeded, limited
from fedstill_client.model.runtime import session
from onnx import TensorProto, helper

X = np.ones(1, np.float32)


def endless_graph() -> bytes:
    """x is doubled for ever."""
    scalar, one = (lambda name, kind: helper.make_tensor_value_info(name, kind, [])), [1]
    body = helper.make_graph(
        [helper.make_node("Identity", ["on"], ["go_on"]), helper.make_node("Add", ["a", "a"], ["b"])],
        "body",
        [
            scalar("i", TensorProto.INT64),
            scalar("on", TensorProto.BOOL),
            helper.make_tensor_value_info("a", TensorProto.FLOAT, one),
        ],
        [scalar("go_on", TensorProto.BOOL), helper.make_tensor_value_info("b", TensorProto.FLOAT, one)],
    )
    always = helper.make_tensor("always", TensorProto.BOOL, [], [True])
    nodes = [
        helper.make_node("Constant", [], ["always"], value=always),
        helper.make_node("Loop", ["", "always", "x"], ["y"], body=body),
    ]
    return model(nodes, [helper.make_tensor_value_info("x", TensorProto.FLOAT, one)], one)


def greedy_graph() -> bytes:
    """`count` floats, and their sum."""
    nodes = [
        helper.make_node("Expand", ["x", "count"], ["many"]),
        helper.make_node("ReduceSum", ["many"], ["y"], keepdims=0),
    ]
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1]),
        helper.make_tensor_value_info("count", TensorProto.INT64, [1]),
    ]
    return model(nodes, inputs, [])


def model(nodes: list[onnx.NodeProto], inputs: list[onnx.ValueInfoProto], shape: list[int]) -> bytes:
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, "graph", inputs, [output])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(made.SerializeToString())


def test_a_run_that_never_ends_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RUN_LIMIT_S", 0.3)
    endless = session(endless_graph())
    started = time.monotonic()
    with pytest.raises(LimitExceeded, match=r"more than 0\.3 s"):
        limited(lambda options: endless.run(None, {"x": X}, options))
    assert time.monotonic() - started < 10


def test_others_go_on_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RUN_LIMIT_S", 1.0)
    endless, greedy = session(endless_graph()), session(greedy_graph())
    seen: list[Exception] = []

    def never_ends() -> None:
        try:
            limited(lambda options: endless.run(None, {"x": X}, options))
        except LimitExceeded as error:
            seen.append(error)

    beside = threading.Thread(target=never_ends)
    beside.start()
    counts = {"x": X, "count": np.array([1000])}
    while beside.is_alive():
        assert limited(lambda options: greedy.run(None, counts, options))[0] == 1000
    assert len(seen) == 1


def test_another_error_stays_what_it_is() -> None:
    greedy = session(greedy_graph())
    with pytest.raises(Exception, match="count") as caught:
        limited(lambda options: greedy.run(None, {"x": X}, options))
    assert not isinstance(caught.value, LimitExceeded)


def test_memory_has_an_end_and_the_next_run_has_it_again(tmp_path: Path) -> None:
    (tmp_path / "graph.onnx").write_bytes(greedy_graph())
    script = """
import sys
import numpy as np
from pathlib import Path
from fedstill_client.model import limits
from fedstill_client.model.runtime import session
limits.MEMORY_LIMIT_MB = 64
limits.limit_memory()
limits.limit_memory()
opened = session(Path(sys.argv[1]).read_bytes())
def run(count):
    given = {"x": np.ones(1, np.float32), "count": np.array([count])}
    return float(limits.limited(lambda options: opened.run(None, given, options))[0])
print(run(1000))
try:
    run(40 << 20)
except limits.LimitExceeded as error:
    print(error)
print(run(1 << 20))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "graph.onnx")], capture_output=True, text=True
    )
    first, refused, last = done.stdout.splitlines()
    assert (float(first), float(last)) == (1000, 1 << 20)
    assert refused == "the graph asks for more than the 64 MB of memory that a device gives it."

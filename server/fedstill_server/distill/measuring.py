"""What a graph costs on a device: its size, and how long ONNX Runtime takes for one answer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from fedstill_proto.arrays import FloatArray, IntArray

from fedstill_server.data.examples import Examples
from fedstill_server.export.opened import open_graph

_WARM_UP = 20
_ANSWERS = 300


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a graph costs: the latency is the median of one example on one thread of this machine."""

    size_bytes: int
    latency_us: float


def cost_of(graph: bytes, x: FloatArray) -> Cost:
    """The size of a graph, and its median latency for single examples of x [n, *input_shape]."""
    session = open_graph(graph)
    seconds = []
    for turn in range(_WARM_UP + _ANSWERS):
        row = x[turn % len(x) : turn % len(x) + 1]
        started = time.perf_counter()
        session.run(["logits"], {"x": row})
        seconds.append(time.perf_counter() - started)
    return Cost(size_bytes=len(graph), latency_us=1e6 * float(np.median(seconds[_WARM_UP:])))


def accuracy_of_graph(graph: bytes, examples: Examples) -> float:
    """The share of labels that are the first choice of the graph."""
    assert examples.y is not None
    labels: IntArray = examples.y
    logits = open_graph(graph).run(["logits"], {"x": examples.x})[0]
    return float((logits.argmax(-1) == labels).mean())


def pareto(costs: Mapping[str, Cost], accuracies: Mapping[str, float]) -> list[str]:
    """The names that nothing else beats in accuracy without a larger size or latency, the smallest first."""

    def beaten(name: str) -> bool:
        own = (-accuracies[name], costs[name].size_bytes, costs[name].latency_us)
        for other in accuracies:
            rival = (-accuracies[other], costs[other].size_bytes, costs[other].latency_us)
            if all(a <= b for a, b in zip(rival, own, strict=True)) and rival != own:
                return True
        return False

    return sorted((name for name in accuracies if not beaten(name)), key=lambda name: costs[name].size_bytes)

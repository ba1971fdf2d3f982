"""How one form of a graph is measured: its cost, memory, latency, throughput, energy, and prices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from fedstill_proto.arrays import FloatArray

from fedstill_server.inspection.energy import Energy, energy_of
from fedstill_server.inspection.forms import GraphForm, answering
from fedstill_server.inspection.graph.cost import GraphCost, cost_of_graph
from fedstill_server.inspection.options import InspectOptions
from fedstill_server.inspection.price import Efficiency, Price, efficiency_of, price_of
from fedstill_server.inspection.speed.latency import MeasuredLatency, latency_of
from fedstill_server.inspection.speed.load import busy_processes
from fedstill_server.inspection.speed.machine import usable_cores
from fedstill_server.inspection.speed.resident import ResidentSet, resident_set
from fedstill_server.inspection.speed.throughput import Throughput, throughput_of

_IDLE, _LOADED, _BATCHES, _ENERGY = 0.25, 0.25, 0.35, 0.15  # shares of a form's seconds
_SLACK_S = 60.0  # until a busy process that nobody ends gives up, beyond what is measured
_MOST_VALUES = 1 << 25  # logits of one batch: 128 MB


@dataclass(frozen=True, kw_only=True)
class Speed:
    """How fast a form answers, and what that takes.

    Attributes:
        latency: Of single examples, on the machine as it is.
        loaded: The same while other processes keep the cores busy; None without.
        throughput: By size of batch.
        resident: The memory of a fresh process.
        energy: Of an answer.
        efficiency: What a watt and a joule buy.
        price: Of a million answers.
    """

    latency: MeasuredLatency
    loaded: MeasuredLatency | None
    throughput: tuple[Throughput, ...]
    resident: ResidentSet
    energy: Energy
    efficiency: Efficiency
    price: Price

    @property
    def best(self) -> Throughput:
        """The batch size of the most examples a second."""
        return max(self.throughput, key=lambda one: one.examples_per_second)


def graph_cost(form: GraphForm, x: FloatArray, parameters: Mapping[str, int]) -> GraphCost:
    """The cost of one example of x [n, *input_shape]."""
    return cost_of_graph(form.graph, {"x": x[:1]}, parameters=parameters)


def processes_of(options: InspectOptions) -> int:
    """How many busy processes a load is."""
    return usable_cores() if options.load < 0 else options.load


def speed_of(
    form: GraphForm, x: FloatArray, *, accuracy: float, seconds: float, options: InspectOptions
) -> Speed:
    """Measure a form for about so many seconds, and a second or two for a fresh process.

    Args:
        form: The form.
        x: Examples [n, *input_shape], of which there has to be one.
        accuracy: The form's, for what a watt buys.
        seconds: How long.
        options: Threads, load, power and prices.
    """
    answer = answering(form.graph, threads=options.threads)

    def one(turn: int) -> FloatArray:
        row = turn % len(x)
        return answer(x[row : row + 1])

    several = np.resize(np.arange(len(x)), 1 << 6)

    def batch(size: int) -> FloatArray:
        return answer(x[several[:size]])

    idle = latency_of(one, seconds=_IDLE * seconds)
    loaded, processes = None, processes_of(options)
    if processes:
        with busy_processes(processes, seconds=seconds + _SLACK_S):
            loaded = latency_of(one, seconds=_LOADED * seconds, busy_processes=processes)
    values = max(one(0).size, 1)
    throughput = throughput_of(batch, seconds=_BATCHES * seconds, most=max(1, _MOST_VALUES // values))
    energy = energy_of(answer, x, watts=options.watts, seconds=_ENERGY * seconds)
    best = max(each.examples_per_second for each in throughput)
    return Speed(
        latency=idle,
        loaded=loaded,
        throughput=throughput,
        resident=resident_set(form.graph, {"x": x[:1]}, threads=options.threads),
        energy=energy,
        efficiency=efficiency_of(energy, accuracy=accuracy),
        price=price_of(
            energy,
            seconds_per_answer=1e-6 * idle.mean_us,
            answers_per_second=best,
            kwh=options.price_kwh,
            machine_hour=options.price_hour,
        ),
    )

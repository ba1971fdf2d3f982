"""A student of text one token at a time, as a keyboard asks it: what a step costs, and how long it takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.errors import FedstillError
from fedstill_proto.package.artifact import StudentPackage
from fedstill_proto.package.manifest import WORD_INPUT, Streaming

from fedstill_server.export.opened import open_graph
from fedstill_server.inspection.graph.cost import GraphCost, cost_of_graph
from fedstill_server.inspection.measuring import processes_of
from fedstill_server.inspection.options import FLOAT32, INT8, InspectOptions
from fedstill_server.inspection.speed.latency import MeasuredLatency, latency_of
from fedstill_server.inspection.speed.load import busy_processes
from fedstill_server.publish.text import as_text_package

_SLACK_S = 60.0


@dataclass(frozen=True, kw_only=True)
class StepSpeed:
    """A step of one token.

    Attributes:
        state_bytes: What is kept between one token and the next.
        places: Tokens that a state takes in; 0 is any number.
        cost: Of a step.
        latency: Of steps one after another, each from the state before.
        loaded: The same while other processes keep the cores busy; None without.
    """

    state_bytes: int
    places: int
    cost: GraphCost
    latency: MeasuredLatency
    loaded: MeasuredLatency | None

    @property
    def tokens_per_second(self) -> float:
        """One after another."""
        return 1e6 / self.latency.mean_us


class TokenSteps:
    """A graph of a step that is asked about a text over and over, with the state of its own answers."""

    def __init__(self, graph: bytes, streaming: Streaming, tokens: npt.NDArray[Any], *, threads: int) -> None:
        self._session = open_graph(graph, threads=threads)
        self._streaming, self._tokens = streaming, tokens.reshape(-1)
        self._length = streaming.places or len(self._tokens)
        self.state = self.start()

    def start(self) -> dict[str, npt.NDArray[Any]]:
        """The state before the first token."""
        return {port.name: np.zeros(port.shape, port.element_type) for port in self._streaming.state}

    def step(self, turn: int) -> npt.NDArray[Any]:
        """The logits [1, V] after the token of this turn; a full state begins anew."""
        if turn % self._length == 0:
            self.state = self.start()
        token = self._tokens[turn % len(self._tokens) : turn % len(self._tokens) + 1]
        logits, *after = self._session.run(None, {WORD_INPUT: token, **self.state})
        self.state = dict(zip(self.state, after, strict=True))
        made: npt.NDArray[Any] = logits
        return made


def streaming_package(package: StudentPackage) -> StudentPackage | None:
    """The package with its graphs of a step, made here where it has none; None where there can be none.

    A package of a family that nobody here can build, or that cannot stream, has none.
    """
    if package.step_graph is not None:
        return package
    try:
        made = as_text_package(package)
    except FedstillError:
        return None
    return made if made.step_graph is not None else None


def step_speed_of(
    package: StudentPackage, form: str, tokens: npt.NDArray[Any], *, seconds: float, options: InspectOptions
) -> StepSpeed | None:
    """Measure the steps of one form.

    Args:
        package: One with graphs of a step.
        form: The form's name.
        tokens: A text's, which is gone through.
        seconds: How long to measure, about.
        options: Threads and load.

    Returns:
        The figures; None for a form that has no such graph.
    """
    graph = {FLOAT32: package.step_graph, INT8: package.step_int8_graph}.get(form)
    streaming = package.manifest.streaming
    if graph is None or streaming is None:
        return None
    whole = package.whole(graph, int8=form == INT8)
    steps = TokenSteps(whole, streaming, tokens, threads=options.threads)
    feeds: Mapping[str, npt.NDArray[Any]] = {WORD_INPUT: tokens.reshape(-1)[:1], **steps.start()}
    parameters = {spec.name: math.prod(spec.shape) for spec in package.manifest.parameters}
    idle = latency_of(steps.step, seconds=seconds / 2)
    loaded, processes = None, processes_of(options)
    if processes:
        with busy_processes(processes, seconds=seconds + _SLACK_S):
            loaded = latency_of(steps.step, seconds=seconds / 2, busy_processes=processes)
    return StepSpeed(
        state_bytes=sum(array.nbytes for array in steps.start().values()),
        places=streaming.places,
        cost=cost_of_graph(whole, feeds, parameters=parameters),
        latency=idle,
        loaded=loaded,
    )

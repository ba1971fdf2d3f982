"""A student of text one word at a time: its prediction of the next one, and the state that it has come to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import FloatArray, Parameters
from fedstill_proto.package.artifact import StudentManifest, StudentPackage
from fedstill_proto.package.graph_weights import with_weights
from fedstill_proto.package.manifest import WORD_INPUT
from fedstill_proto.package.package_weights import graph_weights

from fedstill_client.agent_types import Precision
from fedstill_client.model.limits import limited
from fedstill_client.model.predictor import PredictionError
from fedstill_client.model.runtime import GraphError, session

State = Mapping[str, npt.NDArray[Any]]


class WordStream:
    """A package's graph that takes one word at a time, with weights in it; it keeps no state itself."""

    def __init__(
        self,
        package: StudentPackage,
        parameters: Parameters,
        *,
        threads: int = 1,
        precision: Precision = "float32",
    ) -> None:
        self.manifest: StudentManifest = package.manifest
        graph = package.step_int8_graph if precision == "int8" else package.step_graph
        streaming = self.manifest.streaming
        if graph is None or streaming is None:
            raise PredictionError(
                f"the package of {self.manifest.family!r} has no {precision} graph of a word."
            )
        self.places, self._state = streaming.places, streaming.state
        quantized = self.manifest.quantized if precision == "int8" else ()
        self._session = session(with_weights(graph, graph_weights(parameters, quantized)), threads=threads)
        inputs = [port.name for port in self._session.get_inputs()]
        outputs = [port.name for port in self._session.get_outputs()]
        names = [port.name for port in self._state]
        if inputs != [WORD_INPUT, *names] or outputs != ["logits", *(f"{name}.new" for name in names)]:
            raise GraphError(
                f"the graph of a word turns {inputs} into {outputs}, not what its manifest states."
            )

    def start(self) -> State:
        """The state before the first word."""
        return {port.name: np.zeros(port.shape, port.element_type) for port in self._state}

    def step(self, word: int, state: State) -> tuple[FloatArray, State]:
        """The logits [V] of the next word after `word`, and the state there."""
        if not 0 <= word < self.manifest.classes:
            raise PredictionError(f"word {word} is not among the {self.manifest.classes} that it knows.")
        given = {WORD_INPUT: np.array([word], np.int64), **state}
        logits, *after = limited(lambda options: self._session.run(None, given, options))
        return logits[0], dict(zip(state, after, strict=True))

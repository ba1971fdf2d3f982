"""A student of text one word at a time: its prediction of the next one, and the state that it has come to."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from fedstill_proto.arrays import FloatArray, Parameters
from fedstill_proto.package.artifact import StudentManifest, StudentPackage
from fedstill_proto.package.graph_weights import with_weights
from fedstill_proto.package.manifest import NEXT_PLACE, WORD_INPUT
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
        weights = graph_weights(parameters, quantized)

        def opened(graph: bytes) -> ort.InferenceSession:
            return self._checked(session(with_weights(graph, weights), threads=threads))

        self._session = opened(graph)
        blocks = package.block_int8_graph if precision == "int8" else package.block_graph
        self._open_blocks = None if blocks is None else functools.partial(opened, blocks)
        self._blocks: ort.InferenceSession | None = None

    def _checked(self, opened: ort.InferenceSession) -> ort.InferenceSession:
        inputs = [port.name for port in opened.get_inputs()]
        outputs = [port.name for port in opened.get_outputs()]
        names = [port.name for port in self._state]
        if inputs != [WORD_INPUT, *names] or outputs != ["logits", *(f"{name}.new" for name in names)]:
            raise GraphError(
                f"the graph of a word turns {inputs} into {outputs}, not what its manifest states."
            )
        return opened

    @property
    def has_blocks(self) -> bool:
        """Whether it takes several words in a run, and words can be taken back."""
        return self._open_blocks is not None

    def start(self) -> State:
        """The state before the first word."""
        return {port.name: np.zeros(port.shape, port.element_type) for port in self._state}

    def step(self, word: int, state: State) -> tuple[FloatArray, State]:
        """The logits [V] of the next word after `word`, and the state there."""
        logits, after = self._run(self._session, [word], state)
        return logits[0], after

    def block(self, words: Sequence[int], state: State) -> tuple[FloatArray, State]:
        """The logits [T, V] of the word after each of several, and the state after all; one run of a graph.

        They must fit into the places that are left.
        """
        if self._open_blocks is None:
            raise PredictionError(f"the package of {self.manifest.family!r} has no graph of several words.")
        if self._blocks is None:
            self._blocks = self._open_blocks()
        return self._run(self._blocks, words, state)

    @staticmethod
    def taken_back(state: State, words: int) -> State:
        """The state before the last words of those that a graph of several has given; it costs nothing."""
        return {**state, NEXT_PLACE: state[NEXT_PLACE] - words}

    def _run(
        self, opened: ort.InferenceSession, words: Sequence[int], state: State
    ) -> tuple[FloatArray, State]:
        if not 0 <= min(words) <= max(words) < self.manifest.classes:
            wrong = next(word for word in words if not 0 <= word < self.manifest.classes)
            raise PredictionError(f"word {wrong} is not among the {self.manifest.classes} that it knows.")
        given = {WORD_INPUT: np.array(words, np.int64), **state}
        logits, *after = limited(lambda options: opened.run(None, given, options))
        return logits, dict(zip(state, after, strict=True))

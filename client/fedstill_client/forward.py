"""The logits of a stack of students: the forward graph of a training artifact."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from fedstill_proto.artifact import TrainingArtifact
from fedstill_proto.errors import FedstillError
from fedstill_proto.soft_labels import FloatArray

from fedstill_client.private_stack import PrivateStack
from fedstill_client.runtime import Binding, GraphError, session


class Forward:
    """Logits of C students (1 on a device), in chunks of the rows that the graph was built for.

    on_chunk: called before each chunk; it may raise to end the work.
    """

    def __init__(
        self, artifact: TrainingArtifact, *, threads: int = 1, on_chunk: Callable[[], None] = lambda: None
    ) -> None:
        self.manifest = artifact.manifest
        self._on_chunk = on_chunk
        self._session = session(artifact.forward_graph, threads=threads)
        self._rows = self._rows_of_graph()
        stack = self.manifest.stack_size
        self._answer = (*self.manifest.label_shape, self.manifest.classes)  # shape of one example's logits
        self._x = np.zeros((stack, self._rows, *self.manifest.input_shape), self.manifest.input_type)
        self._logits = np.zeros((stack, self._rows, *self._answer), np.float32)

    def shared(self, parameters: Mapping[str, FloatArray], x: FloatArray) -> FloatArray:
        """The logits [C, n, K] of all students on the same examples x [n, *shape]; of text [C, n, S, K]."""

        def gather(start: int, stop: int) -> None:
            self._x[:, : stop - start] = x[start:stop]

        return self._run(parameters, x.shape[1:], len(x), gather)

    def own(self, parameters: Mapping[str, FloatArray], examples: PrivateStack) -> FloatArray:
        """The logits [C, n, K] of each student on its own device's examples.

        n is the largest number of examples of a device; what stands behind a device's own count means
        nothing.
        """

        def gather(start: int, stop: int) -> None:
            rows = examples.table_rows[:, start:stop]
            if rows.shape[1] == self._rows:
                np.take(examples.table, rows, axis=0, out=self._x, mode="clip")
            else:
                self._x[:, : stop - start] = np.take(examples.table, rows, axis=0)

        return self._run(parameters, examples.input_shape, int(examples.counts.max(initial=0)), gather)

    def _run(
        self,
        parameters: Mapping[str, FloatArray],
        input_shape: tuple[int, ...],
        examples: int,
        gather: Callable[[int, int], None],
    ) -> FloatArray:
        if input_shape != self.manifest.input_shape:
            raise FedstillError(
                f"examples have shape {input_shape}; the student {self.manifest.family!r} takes "
                f"{self.manifest.input_shape}."
            )
        binding = self._bind(parameters)
        logits = np.empty((self.manifest.stack_size, examples, *self._answer), np.float32)
        for start in range(0, examples, self._rows):
            stop = min(start + self._rows, examples)
            self._on_chunk()
            gather(start, stop)
            binding.run()
            logits[:, start:stop] = self._logits[:, : stop - start]
        return logits

    def _bind(self, parameters: Mapping[str, FloatArray]) -> Binding:
        # Weights that are already contiguous, as the personalizer's are, are bound where they stand.
        weights = {name: np.ascontiguousarray(array, np.float32) for name, array in parameters.items()}
        return Binding(self._session, inputs={**weights, "x": self._x}, outputs={"logits": self._logits})

    def _rows_of_graph(self) -> int:
        shapes = {port.name: port.shape for port in self._session.get_inputs()}
        rows = shapes["x"][1] if len(shapes.get("x", ())) > 1 else None
        if not isinstance(rows, int):
            raise GraphError(
                "the forward graph has no input 'x' with a fixed number of rows; rebuild the artifact."
            )
        return rows

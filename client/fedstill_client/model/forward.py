"""The logits of a stack of students: the forward graph of a training artifact."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

import numpy as np
from fedstill_proto.arrays import FloatArray
from fedstill_proto.errors import FedstillError
from fedstill_proto.package.artifact import StudentManifest, TrainingArtifact

from fedstill_client.model.prefix import prefix_of
from fedstill_client.model.private_stack import PrivateStack
from fedstill_client.model.runtime import Binding, GraphError, session


class ForwardPass(ABC):
    """What the students of a stack answer, whatever computes it.

    Attributes:
        manifest: Of the student: its shapes, its parameters, and how many are in the stack.
    """

    manifest: StudentManifest

    def shared(self, parameters: Mapping[str, FloatArray], x: FloatArray) -> FloatArray:
        """The logits [C, n, K] of all students on the same examples x [n, *shape]; of text [C, n, S, K]."""
        return self.shared_outputs(parameters, x)["logits"]

    def own(self, parameters: Mapping[str, FloatArray], examples: PrivateStack) -> FloatArray:
        """The logits [C, n, K] of each student on its own device's examples.

        n is the largest number of examples of a device; what stands behind a device's own count means
        nothing.
        """
        return self.own_outputs(parameters, examples)["logits"]

    @abstractmethod
    def shared_outputs(self, parameters: Mapping[str, FloatArray], x: FloatArray) -> dict[str, FloatArray]:
        """What `shared` gives as "logits", and "features" [C, n, width] where students have them."""

    @abstractmethod
    def own_outputs(
        self, parameters: Mapping[str, FloatArray], examples: PrivateStack
    ) -> dict[str, FloatArray]:
        """What `own` gives as "logits", and "features" [C, n, width] where students have them."""


class Forward(ForwardPass):
    """Logits of C students (1 on a device), in chunks of the rows that the graph was built for.

    on_chunk: called before each chunk; it may raise to end the work.
    """

    def __init__(
        self, artifact: TrainingArtifact, *, threads: int = 1, on_chunk: Callable[[], None] = lambda: None
    ) -> None:
        self.manifest = artifact.manifest
        self._on_chunk = on_chunk
        self.prefix = prefix_of(artifact)
        self._session = session(artifact.whole(artifact.forward_graph), threads=threads)
        self._rows = self._rows_of_graph()
        stack = self.manifest.stack_size
        self._answer = (*self.manifest.label_shape, self.manifest.classes)  # shape of one example's logits
        self._x = np.zeros((stack, self._rows, *self.manifest.read_shape), self.manifest.read_type)
        self._outputs = {"logits": np.zeros((stack, self._rows, *self._answer), np.float32)}
        if self.manifest.feature_width:
            width = self.manifest.feature_width
            self._outputs["features"] = np.zeros((stack, self._rows, width), np.float32)

    def shared_outputs(self, parameters: Mapping[str, FloatArray], x: FloatArray) -> dict[str, FloatArray]:
        self._check(x.shape[1:])
        read = self.prefix(x)

        def gather(start: int, stop: int) -> None:
            self._x[:, : stop - start] = read[start:stop]

        return self._run(parameters, len(x), gather)

    def own_outputs(
        self, parameters: Mapping[str, FloatArray], examples: PrivateStack
    ) -> dict[str, FloatArray]:
        self._check(examples.input_shape)
        table = self.prefix(examples.table)

        def gather(start: int, stop: int) -> None:
            rows = examples.table_rows[:, start:stop]
            if rows.shape[1] == self._rows:
                np.take(table, rows, axis=0, out=self._x, mode="clip")
            else:
                self._x[:, : stop - start] = np.take(table, rows, axis=0)

        return self._run(parameters, int(examples.counts.max(initial=0)), gather)

    def _run(
        self,
        parameters: Mapping[str, FloatArray],
        examples: int,
        gather: Callable[[int, int], None],
    ) -> dict[str, FloatArray]:
        binding = self._bind(parameters)
        answers = {
            name: np.empty((len(array), examples, *array.shape[2:]), np.float32)
            for name, array in self._outputs.items()
        }
        for start in range(0, examples, self._rows):
            stop = min(start + self._rows, examples)
            self._on_chunk()
            gather(start, stop)
            binding.run()
            for name, array in answers.items():
                array[:, start:stop] = self._outputs[name][:, : stop - start]
        return answers

    def _check(self, input_shape: tuple[int, ...]) -> None:
        if input_shape != self.manifest.input_shape:
            raise FedstillError(
                f"examples have shape {input_shape}; the student {self.manifest.family!r} takes "
                f"{self.manifest.input_shape}."
            )

    def _bind(self, parameters: Mapping[str, FloatArray]) -> Binding:
        # Weights that are already contiguous, as the personalizer's are, are bound where they stand.
        weights = {name: np.ascontiguousarray(array, np.float32) for name, array in parameters.items()}
        return Binding(self._session, inputs={**weights, "x": self._x}, outputs=self._outputs)

    def _rows_of_graph(self) -> int:
        shapes = {port.name: port.shape for port in self._session.get_inputs()}
        rows = shapes["x"][1] if len(shapes.get("x", ())) > 1 else None
        if not isinstance(rows, int):
            raise GraphError(
                "the forward graph has no input 'x' with a fixed number of rows; rebuild the artifact."
            )
        return rows

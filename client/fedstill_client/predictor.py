"""Answers of one student: a deployable student package, run by ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.artifact import StudentManifest, StudentPackage, load_student
from fedstill_proto.errors import FedstillError
from fedstill_proto.soft_labels import FloatArray

from fedstill_client.runtime import GraphError, as_value, session
from fedstill_client.summarizer import softened


class PredictionError(FedstillError):
    """Examples that this student does not take."""


class Predictor:
    """A student that answers: its inference graph with its weights in place of the graph's own."""

    def __init__(self, package: StudentPackage, *, threads: int = 1) -> None:
        self.manifest: StudentManifest = package.manifest
        # The session reads the weights where they stand.
        self._weights = {name: as_value(np.ascontiguousarray(v)) for name, v in package.parameters.items()}
        self._session = session(package.inference_graph, threads=threads, initializers=self._weights)
        inputs = [port.name for port in self._session.get_inputs()]
        if inputs != ["x"] or [port.name for port in self._session.get_outputs()] != ["logits"]:
            raise GraphError(f"the inference graph takes {inputs}; it should turn 'x' into 'logits'.")

    @classmethod
    def load(cls, folder: Path, *, threads: int = 1) -> Predictor:
        """The student package in a folder; its digests are verified first."""
        return cls(load_student(folder), threads=threads)

    def logits(self, x: npt.NDArray[Any]) -> FloatArray:
        """Logits [n, K] of the examples x [n, *input_shape]."""
        if x.shape[1:] != self.manifest.input_shape or x.ndim == 0 or x.dtype.kind not in "fiu":
            expected = ", ".join(map(str, ("n", *self.manifest.input_shape)))
            raise PredictionError(
                f"examples are {x.dtype} of shape {list(x.shape)}; "
                f"the student {self.manifest.family!r} takes real numbers of shape [{expected}]."
            )
        if len(x) == 0:
            return np.zeros((0, self.manifest.classes), np.float32)
        feeds = {"x": np.ascontiguousarray(x, np.float32)}
        logits: FloatArray = self._session.run(["logits"], feeds)[0]
        return logits

    def predict(self, x: npt.NDArray[Any]) -> FloatArray:
        """Class probabilities [n, K]."""
        return softened(self.logits(x), 1.0)

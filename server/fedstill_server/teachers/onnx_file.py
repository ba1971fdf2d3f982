"""An ONNX file as a teacher, run by ONNX Runtime from bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
from fedstill_proto.arrays import FloatArray

from fedstill_server.teachers.errors import TeacherError
from fedstill_server.teachers.interface import (
    TeacherAnswers,
    checked,
    logits_of_probabilities,
    refuse_layers,
)

_ROWS_AT_ONCE = 4096


class OnnxTeacher:
    """The first input takes the examples; the answer is the output `logits`, or `probabilities`, or the
    first.
    """

    layers: tuple[str, ...] = ()
    attention: tuple[str, ...] = ()

    def __init__(self, graph: bytes, *, name: str = "ONNX teacher") -> None:
        self.name = name
        self.digest = hashlib.sha256(graph).hexdigest()
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            self._session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors share no base class
            raise TeacherError(f"{name}: ONNX Runtime does not take it ({str(error)[:200]})") from None
        outputs = [port.name for port in self._session.get_outputs()]
        self._output = next((name for name in ("logits", "probabilities") if name in outputs), outputs[0])

    @classmethod
    def of_file(cls, path: Path) -> OnnxTeacher:
        try:
            return cls(path.read_bytes(), name=str(path))
        except OSError as error:
            raise TeacherError(f"{path}: cannot be read ({error.strerror})") from None

    def answer(self, x: FloatArray, *, layers: Sequence[str] = ()) -> TeacherAnswers:
        refuse_layers(layers, self.name)
        port = self._session.get_inputs()[0]
        if len(port.shape) == 2 and x.ndim > 2:
            x = x.reshape(len(x), -1)
        try:
            parts = [
                self._session.run([self._output], {port.name: x[start : start + _ROWS_AT_ONCE]})[0]
                for start in range(0, len(x), _ROWS_AT_ONCE)
            ]
        except Exception as error:
            raise TeacherError(
                f"{self.name}: input {port.name!r} {port.shape} does not take examples "
                f"{list(x.shape)} ({str(error)[:160]})"
            ) from None
        answers = np.concatenate(parts)
        if self._output == "probabilities":
            answers = logits_of_probabilities(answers)
        return TeacherAnswers(checked(answers, rows=len(x), who=self.name))

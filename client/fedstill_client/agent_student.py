"""The student that an agent answers with: the installed package's graph, with the newest weights in it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.artifact import StudentManifest, StudentPackage
from fedstill_proto.errors import InvalidValue
from fedstill_proto.messages import Parameters
from fedstill_proto.soft_labels import FloatArray

from fedstill_client.agent_values import AgentError
from fedstill_client.predictor import Predictor
from fedstill_client.summarizer import softened

ROW_LIMIT = 4096  # examples in one request
ANSWER_LIMIT_BYTES = 16 << 20  # as much as a message of the service holds


class AnsweringStudent:
    """Answers examples; `swap` changes the weights between two answers, under whoever asks."""

    def __init__(self, package: StudentPackage, *, threads: int = 1) -> None:
        if package.manifest.vocabulary is not None:
            raise AgentError(f"the agent answers no text yet, and {package.manifest.family!r} is for text.")
        # Only what answers: the training graphs and the public set are read again when they are needed.
        self._package = StudentPackage(package.manifest, package.inference_graph, package.parameters)
        self._in_place = package.parameters
        self._predictor = Predictor(self._package, threads=threads)

    @property
    def manifest(self) -> StudentManifest:
        return self._package.manifest

    def swap(self, parameters: Parameters | None) -> None:
        """Answer with these weights from now on, or with the package's own.

        An answer that has begun ends with the weights that it began with.
        """
        wanted = self._package.parameters if parameters is None else parameters
        if not _are_equal(wanted, self._in_place):
            self._predictor.swap(wanted)
            self._in_place = wanted

    def probabilities(self, x: npt.NDArray[Any], log_prior: FloatArray | None = None) -> FloatArray:
        """Class probabilities [n, classes] of x [n, *input_shape]; log_prior [classes] adds to the logits."""
        logits = self._predictor.logits(check_inputs(self.manifest, x))
        return softened(logits if log_prior is None else logits + log_prior, 1.0)


def check_inputs(manifest: StudentManifest, x: npt.NDArray[Any]) -> FloatArray:
    """Examples to answer, as the student's graph takes them; raises InvalidValue."""
    if x.dtype.kind not in "fiu":
        raise InvalidValue("x", f"is of type {x.dtype}; give floats or integers")
    if x.ndim == 0 or x.shape[1:] != manifest.input_shape:
        expected = ", ".join(map(str, ("n", *manifest.input_shape)))
        problem = f"has shape {list(x.shape)}; the student {manifest.family!r} takes [{expected}]"
        raise InvalidValue("x", problem)
    rows = min(ROW_LIMIT, ANSWER_LIMIT_BYTES // (4 * manifest.classes))
    if len(x) > rows:
        raise InvalidValue("x", f"{len(x)} examples; send {rows} at most at a time")
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, and is refused below
        converted = np.ascontiguousarray(x, np.float32)
    if not np.isfinite(converted).all():
        row = int(np.argmin(np.isfinite(converted.reshape(len(x), -1)).all(axis=1)))
        raise InvalidValue("x", f"row {row} holds a value that is not a finite float32")
    return converted


def _are_equal(one: Parameters, other: Parameters) -> bool:
    return one is other or all(np.array_equal(one[name], other[name]) for name in one)

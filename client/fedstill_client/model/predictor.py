"""The predictions of one student: a deployable student package, run by ONNX Runtime."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from fedstill_proto.arrays import FloatArray, Parameters
from fedstill_proto.errors import FedstillError
from fedstill_proto.package.artifact import StudentManifest, StudentPackage, load_student
from fedstill_proto.package.frozen import with_frozen
from fedstill_proto.package.graph_weights import with_weights, with_weights_instead
from fedstill_proto.package.package_weights import graph_weights

from fedstill_client.agent_types import Precision, check_precision
from fedstill_client.model.given_examples import ScaleWatch
from fedstill_client.model.label_means import softened
from fedstill_client.model.limits import limited
from fedstill_client.model.runtime import GraphError, as_value, session
from fedstill_client.model.student_shapes import check_student
from fedstill_client.model.suppression import Suppression
from fedstill_client.model.targets import app_answers

_VALUES_AT_ONCE = 1 << 22  # logits of text: a row of 20 places has 200,000 in a vocabulary of 10,000 words


class PredictionError(FedstillError):
    """The student does not take these examples, or its package does not hold this precision."""


@dataclass(frozen=True, eq=False)
class _Opened:
    """A session, and the weights that it reads where they stand; none where it has its own."""

    session: ort.InferenceSession
    weights: dict[str, ort.OrtValue]


class Predictor:
    """A student that predicts: its inference graph, with its weights in place of the graph's own.

    Args:
        package: The student package.
        threads: Processor threads of each call.
        precision: The precision of the weights.

    Raises:
        PredictionError: The package has no graph of this precision.
        GraphError: ONNX Runtime does not take the graph.
    """

    def __init__(
        self, package: StudentPackage, *, threads: int = 1, precision: Precision = "float32"
    ) -> None:
        self.manifest: StudentManifest = package.manifest
        self._watch = ScaleWatch(package.manifest.input_rule)
        self._graph, self._frozen = _graph_of(package, precision), package.frozen
        self._quantized = package.manifest.quantized if precision == "int8" else ()
        self._threads = threads
        self.suppression = Suppression(package)
        self._opened = self._open(package.parameters)
        opened = self._opened.session
        inputs = [port.name for port in opened.get_inputs()]
        if inputs != ["x"] or [port.name for port in opened.get_outputs()] != ["logits"]:
            raise GraphError(f"the inference graph takes {inputs}; it should turn 'x' into 'logits'.")

    @classmethod
    def load(cls, folder: Path, *, threads: int = 1, precision: Precision = "float32") -> Predictor:
        """Load the student package in a folder; its digests are verified first."""
        return cls(load_student(folder), threads=threads, precision=precision)

    def swap(self, parameters: Parameters) -> None:
        """Predict with these weights from now on; a call that has begun ends with those from before."""
        check_student(parameters, self.manifest, stacked=False)
        self._opened = self._open(parameters)

    def logits(self, x: npt.NDArray[Any]) -> FloatArray:
        """The logits of examples as they are given.

        Args:
            x: Examples [n, *given_shape], or words [n, S] for a student of text.

        Returns:
            Logits [n, K], or [n, S, K] for a student of text.

        Raises:
            PredictionError: x is not what the student takes.
        """
        self._check(x, self.manifest.given_shape)
        self._watch.look(x)
        return self.logits_of_inputs(self.manifest.input_rule.apply(x))

    def logits_of_inputs(self, x: npt.NDArray[Any]) -> FloatArray:
        """The logits of what the network reads [n, *input_shape]."""
        manifest = self.manifest
        self._check(x, manifest.input_shape)
        if len(x) == 0:
            return np.zeros((0, *manifest.label_shape, manifest.classes), np.float32)
        opened = self._opened  # held until the answer is there, whatever is swapped in meanwhile
        given = np.ascontiguousarray(x, manifest.input_type)
        answered = limited(lambda options: opened.session.run(["logits"], {"x": given}, options))
        logits: FloatArray = answered[0]
        return logits

    def _check(self, x: npt.NDArray[Any], shape: tuple[int, ...]) -> None:
        manifest = self.manifest
        whole = manifest.input_type == "int64"
        kinds, taken = ("iu", "the numbers of words") if whole else ("fiu", "real numbers")
        if x.shape[1:] != shape or x.ndim == 0 or x.dtype.kind not in kinds:
            expected = ", ".join(map(str, ("n", *shape)))
            raise PredictionError(
                f"examples are {x.dtype} of shape {list(x.shape)}; "
                f"the student {manifest.family!r} takes {taken} of shape [{expected}]."
            )
        if whole and x.size and not 0 <= x.min() <= x.max() < manifest.classes:
            raise PredictionError(
                f"examples hold words {x.min()} to {x.max()}; "
                f"the student {manifest.family!r} knows 0 to {manifest.classes - 1}."
            )

    def predict(self, x: npt.NDArray[Any]) -> FloatArray:
        """Class probabilities [n, K]; for words [n, S], those [n, S, K] of the word after each; of several
        labels the probability of each [n, K]; of numbers mean and standard deviation [n, D, 2] in the user's
        units.
        """
        answers = app_answers(self.manifest.target, self.logits(x))
        return answers if self.manifest.labels_each_place else self.suppression.answers(answers)

    def next_words(self, x: npt.NDArray[Any], *, suppressing: bool = True) -> FloatArray:
        """A student of text's probabilities [n, K] of the word after rows x [n, 1 to S] of words.

        suppressing: whether what the package suppresses has none.
        """
        if not self.manifest.labels_each_place:
            raise PredictionError(f"{self.manifest.family!r} is no student of text; it has no next word.")
        places, most = x.shape[1] if x.ndim == 2 else 0, self.manifest.label_shape[0]
        if not 1 <= places <= most:
            raise PredictionError(
                f"words are of shape {list(x.shape)}; {self.manifest.family!r} takes [n, 1 to {most}]."
            )
        answers = np.empty((len(x), self.manifest.classes), np.float32)
        rows = max(1, _VALUES_AT_ONCE // (most * self.manifest.classes))
        for start in range(0, len(x), rows):
            part = x[start : start + rows]
            # No place sees what stands behind it: any words will do there.
            whole = np.zeros((len(part), most), np.int64)
            whole[:, :places] = part
            answers[start : start + rows] = softened(self.logits(whole)[:, places - 1], 1.0)
        return self.suppression.next_words(x, answers) if suppressing else answers

    def _open(self, parameters: Parameters) -> _Opened:
        arrays = graph_weights(parameters, self._quantized)
        graph = with_frozen(self._graph, self._frozen)
        if self.manifest.external_weights:
            return _Opened(session(with_weights(graph, arrays), threads=self._threads), {})
        if self._frozen:
            # A runtime may lay out anew whatever is a constant of the graph: the frozen weights gain most.
            return _Opened(session(with_weights_instead(graph, arrays), threads=self._threads), {})
        # Copies: whoever handed the weights over may go on training them.
        weights = {name: as_value(np.array(array, order="C")) for name, array in arrays.items()}
        return _Opened(session(graph, threads=self._threads, initializers=weights), weights)


def _graph_of(package: StudentPackage, precision: Precision) -> bytes:
    if check_precision(precision) == "float32":
        return package.inference_graph
    if package.int8_graph is None:
        raise PredictionError(f"the package of {package.manifest.family!r} has no 8-bit graph; use float32.")
    return package.int8_graph

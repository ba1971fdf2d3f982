"""The student that an agent answers with: the installed package's graph, with the newest weights in it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import FloatArray, Parameters
from fedstill_proto.errors import InvalidValue
from fedstill_proto.package.artifact import StudentManifest, StudentPackage

from fedstill_client.agent_types import Precision, check_precision
from fedstill_client.model.label_means import softened
from fedstill_client.model.predictor import Predictor
from fedstill_client.model.streaming import WordStream
from fedstill_client.model.suppression import Suppression
from fedstill_client.model.targets import app_answers

ROW_LIMIT = 4096  # examples in one request
ANSWER_LIMIT_BYTES = 16 << 20  # as much as a message of the service holds


class AnsweringStudent:
    """The student that answers examples; `swap` changes its weights between two answers.

    Args:
        package: The installed student package.
        threads: Processor threads of each answer.
        precision: The precision of the weights that answer; float32 where the package has no others.
    """

    def __init__(
        self, package: StudentPackage, *, threads: int = 1, precision: Precision = "float32"
    ) -> None:
        self.precision = check_precision(precision) if package.int8_graph is not None else "float32"
        # Only what answers: the training graphs and the public set are read again when they are needed.
        self._package = replace(
            package,
            training_graph=None,
            forward_graph=None,
            prefix_graph=None,
            public_x=None,
            vocabulary=None,
            lexicon=None,
            constraints=None,
        )
        self._in_place, self._threads = package.parameters, threads
        self._predictor = Predictor(self._package, threads=threads, precision=self.precision)
        self.suppression = self._predictor.suppression = Suppression(package)
        self._stream: WordStream | None = None

    @property
    def manifest(self) -> StudentManifest:
        return self._package.manifest

    @property
    def weights(self) -> Parameters:
        """The weights that answer now."""
        return self._in_place

    def swap(self, parameters: Parameters | None) -> None:
        """Answer with these weights from now on, or with the package's own.

        An answer that has begun ends with the weights that it began with.
        """
        wanted = self._package.parameters if parameters is None else parameters
        if not _are_equal(wanted, self._in_place):
            self._predictor.swap(wanted)
            self._in_place, self._stream = wanted, None

    def with_weights(self, parameters: Parameters | None) -> AnsweringStudent:
        """The package's student with these weights, or with its own; this one where it has them."""
        wanted = self._package.parameters if parameters is None else parameters
        if _are_equal(wanted, self._in_place):
            return self
        other = AnsweringStudent(self._package, threads=self._threads, precision=self.precision)
        other.suppression = other._predictor.suppression = self.suppression
        other.swap(wanted)
        return other

    def probabilities(
        self, x: npt.NDArray[Any], log_prior: FloatArray | None = None, *, temperature: float = 1.0
    ) -> FloatArray:
        """Class probabilities, or for a student of text those of the next word.

        Args:
            x: Examples as they are given [n, *given_shape], or rows of words [n, 1 to S].
            log_prior: The device's log prior over the classes [classes]; a student of text has none.
            temperature: The temperature that the logits are divided by.

        Returns:
            softmax(logits / temperature + log_prior), [n, classes], without what the package suppresses; of
            another target, see `Predictor.predict`.

        Raises:
            InvalidValue: x is not what the student takes.
        """
        given = check_inputs(self.manifest, x)
        if self.manifest.labels_each_place:
            return self._predictor.next_words(given)
        if not self.manifest.target.is_single:
            answers = app_answers(self.manifest.target, self._predictor.logits_of_inputs(given))
            return self.suppression.answers(answers)
        logits = self._predictor.logits_of_inputs(given) / np.float32(temperature)
        return self.suppression.answers(softened(logits if log_prior is None else logits + log_prior, 1.0))

    def expected_words(self, x: npt.NDArray[np.int64]) -> FloatArray:
        """A student of text's probabilities [n, V] as they are, suppressed words among them: what a keyboard
        suggests of them is held to the package's constraints there.
        """
        return self._predictor.next_words(check_inputs(self.manifest, x), suppressing=False)

    def logits(self, x: npt.NDArray[Any]) -> FloatArray:
        """A classifier's logits [n, classes] for examples as they are given [n, *given_shape]."""
        return self._predictor.logits(x)

    def stream(self) -> WordStream | None:
        """A student of text one word at a time; None where the package has no such graph.

        It is the same one until other weights are swapped in.
        """
        package = self._package
        if self._stream is None and package.step_graph is not None:
            precision: Precision = "float32" if package.step_int8_graph is None else self.precision
            self._stream = WordStream(package, self._in_place, threads=self._threads, precision=precision)
        return self._stream

    def probabilities_along(self, x: npt.NDArray[np.int64]) -> FloatArray:
        """The probabilities [n, S, classes] of the word after each word of whole rows x [n, S]."""
        return self._predictor.predict(check_inputs(self.manifest, x))


@dataclass(frozen=True, eq=False)
class Answerer:
    """A student as it answers in a scope.

    Attributes:
        student: The student.
        temperature: What a classifier's logits are divided by.
        log_prior: What is added to them then [classes]; None adds nothing.
        reserved: A class whose probability the prior leaves as it is; None where there is none.
    """

    student: AnsweringStudent
    temperature: float = 1.0
    log_prior: FloatArray | None = None
    reserved: int | None = None

    def probabilities(self, x: npt.NDArray[Any]) -> FloatArray:
        """Class probabilities of x; see `AnsweringStudent.probabilities`."""
        found = self.student.probabilities(x, self.log_prior, temperature=self.temperature)
        if self.reserved is None or self.log_prior is None:
            return found
        return with_class_kept(found, self.log_prior, self.reserved)


def with_class_kept(found: FloatArray, log_prior: FloatArray, reserved: int) -> FloatArray:
    """Probabilities [n, classes] that have a prior in them, with one class as likely as without it."""
    before = found.astype(np.float64) * np.exp(-(log_prior.astype(np.float64)))
    kept = before[:, reserved] / np.maximum(before.sum(axis=1), 1e-300)
    others = np.delete(found, reserved, axis=1).sum(axis=1)
    scaled = found * ((1 - kept) / np.maximum(others, 1e-30))[:, None]
    scaled[:, reserved] = kept
    return np.asarray(scaled, np.float32)


def check_inputs(manifest: StudentManifest, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Examples to answer, as they are given, as the student's graph takes them; raises InvalidValue."""
    if manifest.input_type == "int64":
        return _check_words(manifest, x)
    if x.dtype.kind not in "fiu":
        raise InvalidValue("x", f"is of type {x.dtype}; give floats or integers")
    if x.ndim == 0 or x.shape[1:] != manifest.given_shape:
        expected = ", ".join(map(str, ("n", *manifest.given_shape)))
        problem = f"has shape {list(x.shape)}; the student {manifest.family!r} takes [{expected}]"
        raise InvalidValue("x", problem)
    _check_rows(manifest, len(x))
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, and is refused below
        converted = np.ascontiguousarray(manifest.input_rule.apply(x), np.float32)
    if not np.isfinite(converted).all():
        row = int(np.argmin(np.isfinite(converted.reshape(len(x), -1)).all(axis=1)))
        raise InvalidValue("x", f"row {row} holds a value that is not a finite float32")
    return converted


def _check_words(manifest: StudentManifest, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Numbers of words [n, 1 to S]."""
    if x.dtype.kind not in "iu":
        raise InvalidValue("x", f"is of type {x.dtype}; give the numbers of words, as integers")
    (places,) = manifest.input_shape
    if x.ndim != 2 or not 1 <= x.shape[1] <= places:
        problem = f"has shape {list(x.shape)}; the student {manifest.family!r} takes [n, 1 to {places}] words"
        raise InvalidValue("x", problem)
    _check_rows(manifest, len(x))
    if x.size and not 0 <= x.min() <= x.max() < manifest.classes:
        raise InvalidValue("x", f"holds a word outside 0 to {manifest.classes - 1}")
    return np.ascontiguousarray(x, np.int64)


def _check_rows(manifest: StudentManifest, rows: int) -> None:
    most = min(ROW_LIMIT, ANSWER_LIMIT_BYTES // (4 * manifest.classes))
    if rows > most:
        raise InvalidValue("x", f"{rows} examples; send {most} at most at a time")


def _are_equal(left: Parameters, right: Parameters) -> bool:
    return left is right or all(np.array_equal(left[name], right[name]) for name in left)

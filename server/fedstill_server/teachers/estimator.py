"""A scikit-learn-like estimator as a teacher: anything fitted with `predict_proba`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from fedstill_proto.arrays import FloatArray

from fedstill_server.teachers.errors import TeacherError
from fedstill_server.teachers.interface import (
    TeacherAnswers,
    checked,
    logits_of_probabilities,
    refuse_layers,
)

_PROBE_ROWS = 256


class Estimator(Protocol):
    def predict_proba(self, x: Any, /) -> Any:
        """Probabilities [n, classes] of flat examples [n, features]."""


class EstimatorTeacher:
    """Classes that the estimator never saw get the probability 0: column c is class `classes_[c]`."""

    layers: tuple[str, ...] = ()
    attention: tuple[str, ...] = ()

    def __init__(self, estimator: Estimator, *, classes: int, name: str = "estimator") -> None:
        if not hasattr(estimator, "predict_proba"):
            raise TeacherError(f"{name}: a {type(estimator).__name__} has no predict_proba")
        self.estimator, self.classes, self.name = estimator, classes, name
        self._digest: str | None = None

    @property
    def digest(self) -> str:
        """The digest of its answers to a fixed set of random examples: an estimator has no bytes of its
        own.
        """
        if self._digest is None:
            width = getattr(self.estimator, "n_features_in_", None)
            if width is None:
                raise TeacherError(f"{self.name}: no n_features_in_; is the estimator fitted?")
            probes = np.random.default_rng(0).random((_PROBE_ROWS, int(width)), np.float32)
            answers = np.ascontiguousarray(self.estimator.predict_proba(probes), np.float64)
            kind = f"{type(self.estimator).__module__}.{type(self.estimator).__qualname__}"
            self._digest = hashlib.sha256(kind.encode() + answers.tobytes()).hexdigest()
        return self._digest

    def answer(self, x: FloatArray, *, layers: Sequence[str] = ()) -> TeacherAnswers:
        refuse_layers(layers, self.name)
        predicted = np.asarray(self.estimator.predict_proba(x.reshape(len(x), -1)), np.float32)
        columns = np.asarray(getattr(self.estimator, "classes_", np.arange(predicted.shape[-1])))
        if columns.dtype.kind not in "iu" or columns.min() < 0 or columns.max() >= self.classes:
            raise TeacherError(
                f"{self.name}: its classes {columns[:8].tolist()} are not numbers from 0 to "
                f"{self.classes - 1}"
            )
        probabilities = np.zeros((len(x), self.classes), np.float32)
        probabilities[:, columns] = predicted
        return TeacherAnswers(checked(logits_of_probabilities(probabilities), rows=len(x), who=self.name))

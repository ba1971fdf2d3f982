"""Texts as vectors: what the installed package's student says of them, in ONNX Runtime, scaled to length 1.

With the package's own weights, whatever was learned here: so vectors stay what they are until the package
changes. A student of embeddings gives them itself; one of classes is asked how likely each class is, and the
vector is its log probabilities less their mean.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from fedstill_proto.arrays import FloatArray
from fedstill_proto.package.artifact import (
    FROZEN_FILE,
    INFERENCE_FILE,
    INT8_FILE,
    PARAMETERS_FILE,
    TOKENIZER_FILE,
)
from fedstill_proto.package.subwords import CLASSES, EMBEDDING
from fedstill_proto.subwords.reader import SubwordReader

from fedstill_client.agent_types import AgentError
from fedstill_client.model.answering_student import AnsweringStudent
from fedstill_client.model.label_means import softened

_TOGETHER = 16  # texts in one run of the graph
_TINY = 1e-12
_MAKING = frozenset({INFERENCE_FILE, INT8_FILE, PARAMETERS_FILE, FROZEN_FILE, TOKENIZER_FILE})


class TextEmbedder:
    """Makes vectors of texts.

    Args:
        student: The package's student, with the package's own weights.
        reader: Its tokenizer.

    Attributes:
        name: What the vectors are of (see `_made_by`).

    Raises:
        AgentError: The student says neither classes nor embeddings of a text.
    """

    def __init__(self, student: AnsweringStudent, reader: SubwordReader) -> None:
        subwords = student.manifest.subwords
        answer = "" if subwords is None else subwords.answer
        if answer not in (CLASSES, EMBEDDING) or not student.manifest.target.is_single:
            raise AgentError(
                f"the student {student.manifest.family!r} gives no vector of a text: its package has to "
                "answer with an embedding, or with one class of several."
            )
        self.name, self._is_embedding = _made_by(student), answer == EMBEDDING
        self._student, self._reader = student, reader

    def embed(self, texts: Sequence[str]) -> FloatArray:
        """The vectors [n, width] of texts; raises InvalidValue for a text with nothing in it."""
        rows = self._reader.rows(texts)
        starts = range(0, max(len(rows), 1), _TOGETHER)
        said = np.concatenate([self._student.logits(rows[start : start + _TOGETHER]) for start in starts])
        if not self._is_embedding:
            said = np.log(np.maximum(softened(said, 1.0), _TINY))
            said = said - said.mean(axis=1, keepdims=True)
        return of_length_one(said)


def of_length_one(vectors: FloatArray) -> FloatArray:
    """Vectors [n, width] scaled to length 1; those of zeros stay so."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, _TINY), np.float32)


def _made_by(student: AnsweringStudent) -> str:
    """The same for packages that make the same vectors, whatever their version."""
    digest = hashlib.sha256(student.precision.encode())
    for part in sorted(student.manifest.parts, key=lambda part: part.name):
        if part.name in _MAKING:
            digest.update(f"{part.name}:{part.sha256}".encode())
    return digest.hexdigest()[:32]

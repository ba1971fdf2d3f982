"""Texts of an agent whose student reads sub-words: what they are to the student, and what its answers say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import FloatArray
from fedstill_proto.errors import InvalidValue
from fedstill_proto.package.artifact import StudentManifest, StudentPackage
from fedstill_proto.package.subwords import CLASSES, EMBEDDING
from fedstill_proto.text.intents import ScoredIntent, Understanding

from fedstill_client.agent_types import AgentError
from fedstill_client.model.answering_student import AnsweringStudent
from fedstill_client.model.given_examples import class_numbers
from fedstill_client.subwords.package_reader import PackageTexts

SURE = 0.5
"""From this probability on, the likeliest class of a text is sure: all others together are less likely."""


class AgentTexts:
    """Texts for the student of one package."""

    def __init__(self, package: StudentPackage, texts: PackageTexts) -> None:
        self._manifest: StudentManifest = package.manifest
        self.texts = texts

    @classmethod
    def of(cls, package: StudentPackage) -> AgentTexts | None:
        """Those of a package; None where its student reads no sub-words."""
        texts = PackageTexts.of(package)
        return None if texts is None else cls(package, texts)

    @property
    def tells_classes(self) -> bool:
        """Whether the student tells classes of texts apart, one a text."""
        return self.texts.subwords.answer == CLASSES and self._manifest.target.is_single

    @property
    def is_embedding(self) -> bool:
        """Whether the student answers a text with a vector."""
        return self.texts.subwords.answer == EMBEDDING

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes, or their numbers; none where it tells no classes apart."""
        if not self.tells_classes:
            return ()
        return self._manifest.class_names or tuple(map(str, range(self._manifest.classes)))

    def rows(self, texts: Sequence[str]) -> FloatArray:
        """Texts as examples [texts, places]; raises InvalidValue, naming the text."""
        return self.texts.rows(list(texts))

    def fits(self, text: str) -> bool:
        """Whether a text fits into one row."""
        return self.texts.reader.fits(text)

    def labels(self, names: Sequence[str]) -> npt.NDArray[Any]:
        """Class numbers [n] of names, or of numbers in digits where the classes have none."""
        self.require_classes()
        return class_numbers(self.class_names, np.array(names, np.str_))

    def understood(self, probabilities: FloatArray, k: int) -> Understanding:
        """The k likeliest classes of a text, from its probabilities [classes]; none that has none at all."""
        names = self.class_names
        order = np.argsort(-probabilities, kind="stable")[:k]
        possible = [each for each in order if probabilities[each] > 0]
        scored = tuple(ScoredIntent(names[each], float(probabilities[each])) for each in possible)
        return Understanding(scored, sure=bool(scored) and scored[0].confidence >= SURE)

    def require_classes(self) -> None:
        """Raises AgentError unless the student tells classes of texts apart."""
        if not self.tells_classes:
            raise AgentError(
                f"the student {self._manifest.family!r} answers a text with "
                f"{'a vector' if self.is_embedding else self.texts.subwords.answer}, and with no class; "
                + ("embed gives the vector." if self.is_embedding else "ask it as its documentation says.")
            )


def as_given(x: npt.ArrayLike, texts: AgentTexts | None) -> npt.NDArray[Any]:
    """Examples as the student takes them: arrays as they are, texts as rows of sub-words.

    Raises:
        InvalidValue: They are texts, and the student reads none.
    """
    given = np.asarray(x)
    if given.dtype.kind not in "UOT" or given.size == 0:
        return given
    if texts is None:
        raise InvalidValue("x", "are texts; the installed student reads no sub-words: give numbers")
    if given.ndim > 1 or not all(isinstance(text, str) for text in given.ravel().tolist()):
        raise InvalidValue("x", "are no list of texts")
    return texts.rows(given.reshape(-1).tolist())


def predict_class(package: StudentPackage, text: str, k: int = 3) -> Understanding:
    """The k likeliest classes of a text by a package's own student of sub-words.

    Raises:
        InvalidValue: The text holds nothing.
        AgentError: The student tells no classes of texts apart.
    """
    texts = AgentTexts.of(package)
    assert texts is not None
    texts.require_classes()
    return texts.understood(AnsweringStudent(package).probabilities(texts.rows([text]))[0], k)

"""What a package's student must never answer, whatever its weights have become: its constraints.json.

A suppressed class has no probability, and what it had moves to the others. Of a student of text, words that
would complete something suppressed behind the words of a row have none.
"""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import FloatArray
from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.package.artifact import StudentPackage
from fedstill_proto.package.constraints.classes import class_numbers, without_classes, without_labels
from fedstill_proto.package.constraints.constraints import NO_CONSTRAINTS, Constraints
from fedstill_proto.package.constraints.suppressor import Suppressor, suppressor_of
from fedstill_proto.package.constraints.token_mask import TokenMask
from fedstill_proto.package.target import TargetKind
from fedstill_proto.text.vocabulary import WordList

from fedstill_client.model.intent_schema import intent_schema
from fedstill_client.model.word_list import package_word_list


def package_constraints(package: StudentPackage) -> Constraints:
    """What a package suppresses; raises WireError for a constraints.json that is none."""
    return NO_CONSTRAINTS if package.constraints is None else _read(package.constraints)


@functools.lru_cache(maxsize=4)
def _read(content: bytes) -> Constraints:
    return Constraints.from_json(content)


class Suppression:
    """The constraints of one package, as its answers are held to them."""

    def __init__(self, package: StudentPackage) -> None:
        constraints = package_constraints(package)
        self.suppressor: Suppressor = suppressor_of(constraints)
        self._target = package.manifest.target
        self.classes: frozenset[int] = frozenset()
        if constraints.all_classes and not package.manifest.labels_each_place:
            self.classes = _classes_of(package, constraints)
        self._words = None if self.suppressor.is_idle else package_word_list(package)

    @property
    def suppresses_words(self) -> bool:
        """Whether the student is one of text, and some of its words are suppressed somewhere."""
        return self._words is not None

    def answers(self, probabilities: FloatArray) -> FloatArray:
        """An app's answers [n, K] without the suppressed classes; those of numbers are as they were."""
        if not self.classes or self._target.is_regression:
            return probabilities
        if self._target.kind is TargetKind.MULTI_LABEL:
            return without_labels(probabilities, self.classes)
        return without_classes(probabilities, self.classes)

    def next_words(self, x: npt.NDArray[np.int64], probabilities: FloatArray) -> FloatArray:
        """Probabilities [n, V] of the word after rows x [n, S], without those that are suppressed there."""
        if self._words is None:
            return probabilities
        mask = _mask_of(self.suppressor, self._words)
        rows = [
            without_classes(row, np.flatnonzero(mask.suppressed(words.tolist())).tolist())
            for words, row in zip(x, probabilities, strict=True)
        ]
        return np.stack(rows) if rows else probabilities

    def names(self, names: tuple[str, ...]) -> frozenset[str]:
        """The names of the suppressed classes, among those of all."""
        return frozenset(names[each] for each in self.classes)


@functools.lru_cache(maxsize=2)
def _mask_of(suppressor: Suppressor, words: WordList) -> TokenMask:
    return TokenMask.of_word_list(suppressor, words)


def _classes_of(package: StudentPackage, constraints: Constraints) -> frozenset[int]:
    manifest, schema = package.manifest, intent_schema(package)
    names = manifest.class_names if schema is None else schema.names
    try:
        return class_numbers(constraints, classes=manifest.target.size or manifest.classes, names=names)
    except InvalidValue as error:
        raise WireError(f"constraints.json: {error.field}", error.problem) from None

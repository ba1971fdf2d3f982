"""Texts that were typed on a device, as the rows of words that its student learns from.

The texts of a part (to train on, or held out) make rows of their own; see token_rows.py of the contract.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.package.artifact import StudentManifest, StudentPackage
from fedstill_proto.text.token_rows import word_rows
from fedstill_proto.text.vocabulary import WordList

from fedstill_client.learning.examples import LearningStore
from fedstill_client.model.student_store import OwnStudent, StudentHistory
from fedstill_client.model.word_list import package_word_list
from fedstill_client.store import PrivateStore, StoredExamples, StoredText

# The ids of rows lie above those of examples: the row's number, and the text that it begins in.
_ROW_BITS = 40


def learning_examples(store: PrivateStore, package: StudentPackage, part: str) -> StoredExamples:
    """The examples of a part ("training" or "held-out"), and with them the texts that were typed."""
    given, words = store.examples(part), package_word_list(package)
    if words is None:
        return given
    texts = [text for text in store.texts() if text.held_out == (part == "held-out")]
    typed = typed_rows(texts, words, package.manifest)
    if not len(given.ids) or not len(typed.ids):
        return typed if len(typed.ids) else given
    return given.followed_by(typed)


def typed_rows(texts: Iterable[StoredText], words: WordList, manifest: StudentManifest) -> StoredExamples:
    """The rows of texts: x [n, S], and labels [n, S], the words that follow."""
    (places,) = manifest.input_shape
    texts = list(texts)
    rows = word_rows((words.encode(text.text) for text in texts), places=places)
    text_ids = np.array([text.id for text in texts], np.int64)[rows.text]
    ids = (np.arange(len(rows.text)) + 1) << _ROW_BITS | text_ids
    seen: npt.NDArray[Any] = rows.x
    return StoredExamples(ids, seen, rows.y)


def with_texts(store: PrivateStore, package: StudentPackage) -> LearningStore:
    """The private store as learning reads it: texts that were typed are among its examples."""
    return _StoreWithTexts(store, package)


class _StoreWithTexts:
    """A private store, whose texts are among its examples."""

    def __init__(self, store: PrivateStore, package: StudentPackage) -> None:
        self._store, self._package = store, package

    def examples(self, part: str) -> StoredExamples:
        return learning_examples(self._store, self._package, part)

    def students(self, manifest: StudentManifest, package_version: int) -> StudentHistory:
        return self._store.students(manifest, package_version)

    def soft_labels(self, package_version: int) -> bytes | None:
        return self._store.soft_labels(package_version)

    def save_learning(self, blob: bytes) -> None:
        self._store.save_learning(blob)

    def learning(self) -> bytes | None:
        return self._store.learning()

    def finish_learning(self, package_version: int, student: OwnStudent | None) -> None:
        self._store.finish_learning(package_version, student)

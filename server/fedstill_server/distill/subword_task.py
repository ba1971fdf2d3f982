"""Texts as a task of students that read sub-words: their classes, or a vector of each.

A student of vectors is tested on pairs of texts: by the rank correlation of its cosines with the scores that
people gave (Spearman's, as sentence models are compared), or, where there are none, with its teacher's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
from fedstill_proto.arrays import Float64Array, FloatArray
from fedstill_proto.package.subwords import CLASSES, EMBEDDING, MOST_SUBWORDS
from fedstill_proto.readers.classes import UNLABELLED

from fedstill_server.data.examples import Examples
from fedstill_server.data.forms import ExampleForm, SubwordsForm
from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.plan import DistillPlan
from fedstill_server.distill.tasks import Answers, DeviceStep, DistillTask
from fedstill_server.distill.text_tables import TextFiles, TextPairs, TextRows
from fedstill_server.hugging_face.tokenizer import SubwordTokenizer
from fedstill_server.tasks.interface import PackageFiles

MOST_PLACES = 128
"""Sub-words of a row where nobody says: longer texts are cut."""
_DRAWN_PAIRS = 2_000


@dataclass(frozen=True, kw_only=True, eq=False)
class RowPairs:
    """Pairs of rows [pairs, S] each, and how alike they are [pairs]."""

    first: FloatArray
    second: FloatArray
    scores: Float64Array

    def correlation(self, answers: Answers) -> float:
        """Spearman's rank correlation of the cosines of vectors with the scores."""
        from scipy.stats import spearmanr

        rows, place = np.unique(np.concatenate([self.first, self.second]), axis=0, return_inverse=True)
        vectors = answers(rows.astype(np.float32)).astype(np.float64)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        first, second = np.split(place.reshape(-1), 2)
        return float(spearmanr((vectors[first] * vectors[second]).sum(1), self.scores).statistic)


@dataclass(frozen=True, kw_only=True, eq=False)
class SubwordTask(DistillTask):
    """Texts as rows of sub-words.

    Attributes:
        answer: What students say of a text: "classes" or "embedding".
        tokenizer: What makes the rows.
        texts: The text of each row, by its bytes.
        pairs: To test vectors on.
    """

    form: ClassVar[ExampleForm] = SubwordsForm(MOST_SUBWORDS)
    teacher_plan: ClassVar[DistillPlan] = DistillPlan(
        epochs=4, batch_size=32, learning_rate=2e-4, weight_decay=0.01
    )
    rows_asked: ClassVar[int] = 256

    answer: str = CLASSES
    tokenizer: SubwordTokenizer
    texts: Mapping[bytes, str] = field(default_factory=dict)
    pairs: RowPairs | None = None

    @property
    def score_name(self) -> str:
        return "accuracy" if self.answer == CLASSES else "rank correlation"

    @property
    def has_classes(self) -> bool:
        return self.answer == CLASSES

    def device_step(self) -> DeviceStep:
        """A step on a few texts: a transformer keeps much of each for the way back."""
        return DeviceStep(rows=8)

    def texts_of(self, x: FloatArray) -> list[str]:
        """The texts of rows [n, S] of this task.

        Raises:
            DistillError: A row is none of a text of it.
        """
        found = [self.texts.get(row.tobytes()) for row in np.ascontiguousarray(x, np.float32)]
        texts = [text for text in found if text is not None]
        if len(texts) != len(found):
            raise DistillError(
                f"task: {self.name}: {len(found) - len(texts)} rows are of no text of it, and the teacher, "
                "which has another tokenizer, is asked by text; techniques that change rows need one of the "
                "student's tokenizer"
            )
        return texts

    def scored(self, answers: Answers) -> float | None:
        """The rank correlation of vectors; None for classes, whose accuracy counts."""
        if self.answer != EMBEDDING:
            return None
        if self.pairs is None:
            raise DistillError(
                f"task: {self.name}: no pairs to test vectors on, and no teacher to compare with"
            )
        return self.pairs.correlation(answers)

    def compared_with(self, answers: Answers) -> SubwordTask:
        """The task with pairs of held-out texts, as alike as the teacher finds them; own pairs stay."""
        if self.answer != EMBEDDING or self.pairs is not None:
            return self
        random = np.random.default_rng(0)
        first, second = random.integers(0, len(self.test), (2, _DRAWN_PAIRS))
        differ = first != second
        first, second = first[differ], second[differ]
        vectors = answers(self.test.x).astype(np.float64)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        scores = (vectors[first] * vectors[second]).sum(1)
        return replace(
            self, pairs=RowPairs(first=self.test.x[first], second=self.test.x[second], scores=scores)
        )


def make_subword_task(
    files: TextFiles,
    tokenizer: SubwordTokenizer,
    *,
    size: int,
    width: int,
    most_places: int | None,
    places: int = 0,
) -> SubwordTask:
    """The task of texts for students of a tokenizer.

    Args:
        files: The texts.
        tokenizer: The student's.
        size: How many sub-words the student knows.
        width: Numbers of a student's vector.
        most_places: How many sub-words it reads at most; None for any number.
        places: Sub-words of a row; 0 is as many as the longest text has, up to MOST_PLACES.
    """
    names = files.class_names
    answer = CLASSES if names else EMBEDDING
    if len(names) == 1:
        raise DistillError(f"task: {files.name}: all labels are {names[0]!r}; classes are 2 or more")
    parts = {part: getattr(files, part) for part in ("public", "private", "validation", "test")}
    spoken = [text for part in parts.values() for text in part.texts] + _both(files.pairs)
    if places and most_places is not None and places > most_places:
        raise DistillError(f"places: {places}, and the student reads {most_places} sub-words at most")
    longest = -(-max(tokenizer.lengths(spoken)) // 8) * 8  # in eights
    row = places or min(longest, MOST_PLACES, most_places or MOST_PLACES)
    texts: dict[bytes, str] = {}

    def rows(spoken: Sequence[str]) -> FloatArray:
        x = tokenizer.rows(spoken, places=row)
        texts.update((each.tobytes(), text) for each, text in zip(x, spoken, strict=True))
        return x

    made = {part: _examples(rows(each.texts), each, names) for part, each in parts.items()}
    if answer == CLASSES and (made["test"].y is None or not len(made["test"].labelled)):
        raise DistillError(f"task: {files.name}: no text to test on has a label")
    made["test"] = made["test"].labelled
    pairs = None
    if files.pairs is not None and answer == EMBEDDING:
        first, second = rows(files.pairs.first), rows(files.pairs.second)
        pairs = RowPairs(first=first, second=second, scores=files.pairs.scores)
        if not len(made["test"]):  # what graphs are compared on
            made["test"] = Examples(first)
    packaged, subwords = tokenizer.packaged(places=row, size=size, answer=answer)
    return SubwordTask(
        name=files.name,
        classes=len(names) or width,
        public=made["public"],
        private=made["private"],
        validation=made["validation"],
        test=made["test"],
        teaching=made["public"].labelled if made["public"].y is not None else Examples(made["public"].x[:0]),
        class_names=names,
        answer=answer,
        tokenizer=tokenizer,
        files=PackageFiles(tokenizer=packaged, subwords=subwords),
        texts=texts,
        pairs=pairs,
    )


def _both(pairs: TextPairs | None) -> list[str]:
    return [] if pairs is None else [*pairs.first, *pairs.second]


def _examples(x: FloatArray, rows: TextRows, names: Sequence[str]) -> Examples:
    if not names or rows.labels is None:
        return Examples(x, np.zeros(0, np.int64) if names and not len(x) else None)
    numbers = {name: number for number, name in enumerate(names)}
    y = np.array([numbers.get(label, UNLABELLED) for label in rows.labels], np.int64)
    return Examples(x, y)

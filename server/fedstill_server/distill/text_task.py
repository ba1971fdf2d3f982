"""Public text as a task: which word comes next.

    plays.txt                a text a line; of ten, one is held out to test and one to choose by
    folder/public.txt        the same; and test.txt, validation.txt (held out), private.txt, where they are
    folder/*.txt             where there is no public.txt, all of them

A text's labels are its own next words, so that all of it is labelled. The word list is made of the public
text, or read from a vocabulary.json: a teacher of text must know the same words by the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.package.artifact import VOCABULARY_FILE
from fedstill_proto.text.vocabulary import WordList, build_word_list
from torch import nn

from fedstill_server.data.examples import Examples
from fedstill_server.data.forms import WORDS, ExampleForm
from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.plan import DistillPlan
from fedstill_server.distill.scoring import perplexity_on
from fedstill_server.distill.tasks import DeviceStep, DistillTask
from fedstill_server.tasks.interface import PackageFiles
from fedstill_server.tasks.text.vocabulary import read_texts, text_examples

_HELD_OUT_EVERY = 10
_KEPT_WORDS, _STEP_WORDS = 16, 600  # that a soft label names, and that a step of training sees


@dataclass(frozen=True, kw_only=True, eq=False)
class TextDistillTask(DistillTask):
    """Next words. A row's logits are as many as its places times the words."""

    form: ClassVar[ExampleForm] = WORDS
    default_family: ClassVar[str] = "gru-64-128"
    teacher_plan: ClassVar[DistillPlan] = DistillPlan(
        epochs=8, batch_size=32, learning_rate=3e-3, weight_decay=0.05
    )
    rows_asked: ClassVar[int] = 32
    keeps_answers: ClassVar[bool] = False
    class_name: ClassVar[str] = "words"
    hint: ClassVar[str] = "; name its word list with vocabulary"

    @classmethod
    def is_at(cls, name: str) -> bool:
        path = Path(name)
        return path.suffix == ".txt" or (
            path.is_dir() and not any(path.glob("*.npz")) and any(path.glob("*.txt"))
        )

    def measured(self, network: nn.Module) -> dict[str, float]:
        """The perplexity of the next words."""
        return {"perplexity": perplexity_on(network, self.test)}

    def device_step(self) -> DeviceStep:
        """A step on soft labels of the likeliest words, over the words of its rows."""
        return DeviceStep(
            soft_labels="top-k", k=_KEPT_WORDS, rows=8, vocabulary=min(_STEP_WORDS, self.classes)
        )


def open_text(name: str, *, words: int, places: int, vocabulary: str = "") -> TextDistillTask:
    """Open a task of text.

    Args:
        name: A .txt file, or a folder of them.
        words: How many words the list has at most.
        places: The words of a row.
        vocabulary: A word list, or a package with one; "" makes one.

    Raises:
        DistillError: There is no such text, or too little of it.
    """
    parts = read_parts(name)
    listed = _word_list(vocabulary, parts.public, words)
    rows = parts.rows(lambda texts: text_examples(texts, listed, places=places), least=f"{places + 1} words")
    files = PackageFiles(vocabulary=listed.to_json())
    return TextDistillTask(
        name=parts.name,
        classes=len(listed.entries),
        public=rows["public"],
        private=rows["private"],
        validation=rows["validation"],
        test=rows["test"],
        teaching=rows["public"],
        files=files,
    )


@dataclass(frozen=True, kw_only=True)
class TaskTexts:
    """What is learned, what tests and validates, and what is private; the last two may be empty."""

    where: str
    public: Sequence[str]
    test: Sequence[str]
    validation: Sequence[str]
    private: Sequence[str]

    @property
    def name(self) -> str:
        """The task's."""
        return Path(self.where).resolve().stem

    def rows(self, rows_of: Callable[[Sequence[str]], Examples], *, least: str) -> dict[str, Examples]:
        """The rows of each part by its name.

        Args:
            rows_of: Makes rows of texts.
            least: What a row takes, for the error.

        Raises:
            DistillError: There are none to learn or to test.
        """
        made = {part: rows_of(getattr(self, part)) for part in ("public", "test", "validation", "private")}
        for part in ("public", "test"):
            if not len(made[part]):
                raise DistillError(
                    f"task: {self.where}: its {part} text has fewer than {least}, which a row takes"
                )
        return made


def read_parts(name: str) -> TaskTexts:
    """The texts of a .txt file, or of a folder of them."""
    path = Path(name)
    folder = path if (path / "public.txt").is_file() else None
    texts = read_texts(path if folder is None else folder / "public.txt")
    public, test, validation = _parts(texts)
    private: list[str] = []
    if folder is not None:
        held = {part: folder / f"{part}.txt" for part in ("test", "validation", "private")}
        test = read_texts(held["test"]) if held["test"].is_file() else test
        validation = read_texts(held["validation"]) if held["validation"].is_file() else validation
        public = texts if held["test"].is_file() and held["validation"].is_file() else public
        private = read_texts(held["private"]) if held["private"].is_file() else []
    return TaskTexts(where=name, public=public, test=test, validation=validation, private=private)


def _parts(texts: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """What is learned, what tests and what validates: of ten texts in a row, the last two are held out."""
    place = np.arange(len(texts)) % _HELD_OUT_EVERY
    kinds = np.select([place == _HELD_OUT_EVERY - 1, place == _HELD_OUT_EVERY - 2], [1, 2], 0)
    learned, test, validation = (
        [text for text, kind in zip(texts, kinds, strict=True) if kind == wanted] for wanted in range(3)
    )
    return learned, test, validation


def _word_list(vocabulary: str, texts: Sequence[str], words: int) -> WordList:
    if not vocabulary:
        try:
            return build_word_list(texts, size=words)
        except InvalidValue as error:
            raise DistillError(f"words: {error}") from None
    path = Path(vocabulary)
    path = path / VOCABULARY_FILE if path.is_dir() else path
    try:
        return WordList.from_json(path.read_bytes())
    except (OSError, WireError) as error:
        raise DistillError(f"vocabulary: {path}: not a word list ({error})") from None

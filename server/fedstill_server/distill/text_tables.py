"""Files of texts that a student of sub-words learns from.

texts.csv                columns text and label: classes. One named label is missing where it is unknown
texts.csv, texts.txt     column text, or a text a line: a vector of each text
folder/                  public.csv, .tsv, .parquet or .txt (or train.csv); and test, validation, private, and
                         pairs: columns text, other and score, how alike two texts are, to test vectors on

A table of two texts and a score is of pairs to test on, whatever its name; its texts are public ones, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from fedstill_proto.arrays import Float64Array
from fedstill_proto.readers.tables import TABLE_SUFFIXES, Table, read_table
from fedstill_proto.text.text_files import read_lines

from fedstill_server.distill.errors import DistillError

SUFFIXES = (*TABLE_SUFFIXES, ".txt")
_TEXT = ("text", "sentence", "sentence1", "text1", "text_a", "premise", "question")
_OTHER = ("other", "text2", "sentence2", "text_b", "hypothesis")
_SCORE, _LABEL = ("score", "similarity", "similarity_score"), ("label", "intent", "class")
_MOST_BYTES = 2 << 30
_HELD_OUT_EVERY = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class TextRows:
    """Texts, and the label of each: None where no text has any, "" where one's is unknown."""

    texts: Sequence[str]
    labels: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def part(self, rows: Sequence[int]) -> TextRows:
        """Some of the rows."""
        labels = None if self.labels is None else [self.labels[row] for row in rows]
        return TextRows(texts=[self.texts[row] for row in rows], labels=labels)


@dataclass(frozen=True, kw_only=True, eq=False)
class TextPairs:
    """Pairs of texts, and how alike each is; the scale is of no account."""

    first: Sequence[str]
    second: Sequence[str]
    scores: Float64Array  # [pairs]

    def __len__(self) -> int:
        return len(self.first)


@dataclass(frozen=True, kw_only=True, eq=False)
class TextFiles:
    """What the files of a task hold, apart from one another.

    Attributes:
        name: The task's.
        public: What is learned from.
        test: What is held out to test on.
        validation: What is held out to choose by.
        private: Labelled texts besides.
        pairs: Pairs to test on, or none.
    """

    name: str
    public: TextRows
    test: TextRows
    validation: TextRows
    private: TextRows
    pairs: TextPairs | None = None

    @property
    def class_names(self) -> tuple[str, ...]:
        """All labels, in order; none where the texts have none."""
        parts = (self.public, self.test, self.validation, self.private)
        return tuple(sorted({label for part in parts for label in part.labels or () if label}))


def is_text_table(name: str) -> bool:
    """Whether a task's name is that of a table, or of a folder of tables or texts and not of arrays."""
    path = Path(name)
    if path.is_dir():
        return not any(path.glob("*.npz")) and any(path.glob(f"*{suffix}") for suffix in SUFFIXES)
    return path.suffix.lower() in TABLE_SUFFIXES


def read_text_files(name: str) -> TextFiles:
    """Read the files of a task.

    Raises:
        DistillError: A file is missing, or holds something else.
        DataError: A table cannot be read.
    """
    path = Path(name)
    if path.is_dir():
        return _of_folder(path)
    if not path.is_file():
        raise DistillError(f"task: there is no file {path}")
    found = _read(path)
    if isinstance(found, TextPairs):
        raise DistillError(f"task: {path} has pairs of texts to test on, and none to learn from")
    return text_files(path.resolve().stem, found)


def text_files(
    name: str, public: TextRows, *, private: TextRows | None = None, test: TextRows | None = None
) -> TextFiles:
    """Texts in memory as the files of a task; of public ones some are held out, as of a file."""
    none = TextRows(texts=())
    files = TextFiles(name=name, public=public, private=private or none, test=test or none, validation=none)
    return _split(files, tests=test is None, chooses=True)


def _of_folder(folder: Path) -> TextFiles:
    named = {part: _file(folder, part) for part in ("test", "validation", "private", "pairs")}
    public = _file(folder, "public") or _file(folder, "train")
    if public is None:
        raise DistillError(f"task: {folder} has no public or train.csv, .tsv, .parquet or .txt")
    rows: dict[str, TextRows] = {}
    pairs = None
    for part, path in {"public": public, **named}.items():
        found = None if path is None else _read(path)
        if isinstance(found, TextPairs):
            pairs = found
            found = None
        elif found is not None and part == "pairs":
            raise DistillError(f"task: {path} has no second text and score")
        if part != "pairs":
            rows[part] = found or TextRows(texts=())
    files = TextFiles(
        name=folder.resolve().name,
        public=rows["public"],
        test=rows["test"],
        validation=rows["validation"],
        private=rows["private"],
        pairs=pairs,
    )
    if not len(files.public):
        raise DistillError(f"task: {public} holds no text to learn from")
    tests = named["test"] is None and pairs is None
    return _split(files, tests=tests, chooses=named["validation"] is None)


def _file(folder: Path, part: str) -> Path | None:
    found = [folder / f"{part}{suffix}" for suffix in SUFFIXES if (folder / f"{part}{suffix}").is_file()]
    if len(found) > 1:
        raise DistillError(f"task: {folder} has both {found[0].name} and {found[1].name}; keep one")
    return found[0] if found else None


def _read(path: Path) -> TextRows | TextPairs:
    if path.suffix.lower() == ".txt":
        return TextRows(texts=read_lines(path, most_bytes=_MOST_BYTES, error=DistillError))
    table = read_table(path)
    text, other = _column(table, _TEXT), _column(table, _OTHER)
    score, label = _column(table, _SCORE), _column(table, _LABEL)
    if text is None:
        raise DistillError(f"task: {path}: no column text among {', '.join(table.columns)}"[:300])
    texts = _texts(table, text)
    if other is None:
        return TextRows(texts=texts, labels=None if label is None else list(table.texts(label)))
    if score is None and label is None:
        raise DistillError(f"task: {path}: two texts and no column score, of how alike they are")
    scores = table.numbers(score or label or "")
    if np.isnan(scores).any():
        row = int(np.isnan(scores).argmax())
        raise DistillError(f"task: {table.where(row, score or label or '')} has no score")
    return TextPairs(first=texts, second=_texts(table, other), scores=scores)


def _column(table: Table, names: Sequence[str]) -> str | None:
    return next((column for column in table.columns if column.lower() in names), None)


def _texts(table: Table, column: str) -> list[str]:
    texts = list(table.texts(column))
    empty = next((row for row, text in enumerate(texts) if not text.strip()), None)
    if empty is not None:
        raise DistillError(f"task: {table.where(empty, column)} has no text")
    return texts


def _split(files: TextFiles, *, tests: bool, chooses: bool) -> TextFiles:
    """Of ten public texts in a row one is held out to test on, and one to choose by, where no file is."""
    place = np.arange(len(files.public)) % _HELD_OUT_EVERY
    test = (place == _HELD_OUT_EVERY - 1) & tests
    validation = (place == _HELD_OUT_EVERY - 2) & chooses

    def rows(chosen: np.ndarray) -> TextRows:
        return files.public.part([int(row) for row in np.flatnonzero(chosen)])

    return replace(
        files,
        public=rows(~test & ~validation),
        test=rows(test) if tests else files.test,
        validation=rows(validation) if chooses else files.validation,
    )

"""Examples and their labels, of a file or folder of any of the forms that people have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedstill_proto.arrays import IntArray
from fedstill_proto.readers.arrays import Array, read_array
from fedstill_proto.readers.classes import LabelNames, check_labels, label_array
from fedstill_proto.readers.columns import TableColumns
from fedstill_proto.readers.errors import DataError
from fedstill_proto.readers.example_files import (
    AS_THEY_ARE,
    EXAMPLE_SUFFIXES,
    PictureRule,
    class_folders,
    example_files,
    read_examples,
)
from fedstill_proto.readers.tables import TABLE_SUFFIXES, Table

X_FILE, Y_FILE = "x.npy", "y.npy"


@dataclass(frozen=True, eq=False)
class GivenExamples:
    """Examples of one place, such as a file, as they are given.

    Attributes:
        where: Begins an error's text.
        x: Examples [n, *shape], numbers.
        y: Their labels [n], whole numbers or texts; None where there are none.
        row: Names a row for an error.
        labels_where: Begins an error's text on labels, where that is not `where`.
        numbers: The rows' numbers in what was given, where some were taken of it [n].
    """

    where: str
    x: Array
    y: Array | None = None
    row: Callable[[int], str] | None = None
    labels_where: str = ""
    numbers: IntArray | None = None

    def __len__(self) -> int:
        return len(self.x)

    def row_name(self, row: int) -> str:
        """How an error names a row."""
        return self.row(row) if self.row is not None else f"{self.where}: row {self._number(row)}"

    def label_name(self, row: int) -> str:
        """How an error names the label of a row."""
        return self.row(row) if self.row is not None else f"{self.labels}: row {self._number(row)}"

    @property
    def labels(self) -> str:
        """How an error names the labels."""
        return self.labels_where or self.where

    def rows(self, rows: IntArray) -> GivenExamples:
        """Some of the rows."""
        y = None if self.y is None else self.y[rows]
        name = None if self.row is None else lambda row: self.row_name(int(rows[row]))
        numbers = rows if self.numbers is None else self.numbers[rows]
        return GivenExamples(self.where, self.x[rows], y, name, self.labels_where, numbers)

    def _number(self, row: int) -> int:
        return row if self.numbers is None else int(self.numbers[row])


def check_examples(part: GivenExamples, first: GivenExamples) -> None:
    """Refuse what are no examples of real numbers, or of another shape than those of `first`.

    Raises:
        DataError: Naming the place, the row and what to do.
    """
    x = part.x
    if x.dtype.kind not in "fiub":
        raise DataError(f"{part.where}: examples are {x.dtype}; give real numbers")
    if x.ndim < 2 or (x.size == 0 and len(x)):
        raise DataError(f"{part.where}: has shape {list(x.shape)}; expected [examples, ...]")
    if len(x) and x.shape[1:] != first.x.shape[1:]:
        raise DataError(
            f"{part.where}: has examples of shape {list(x.shape[1:])}, {first.where} of "
            f"{list(first.x.shape[1:])}; give all one shape"
        )
    with np.errstate(over="ignore"):
        finite = np.isfinite(x.astype(np.float32, copy=False)).all(axis=tuple(range(1, x.ndim)))
    if not finite.all():
        row = int(np.argmin(finite))
        raise DataError(
            f"{part.row_name(row)}: holds a value that is not finite as float32; remove or replace it"
        )


def check_whole(part: GivenExamples) -> None:
    """Refuse examples that no rows can be taken of: what are none, and labels that are not one for each.

    Raises:
        DataError: Naming the place, the row and what to do.
    """
    check_examples(part, part)
    if part.y is not None and len(part) and part.y.shape[:1] != (len(part),):
        raise DataError(
            f"{part.labels}: labels have shape {list(part.y.shape)}; give one for each of {len(part)} rows"
        )


def class_numbers(part: GivenExamples, names: LabelNames, *, unlabelled: bool = False) -> IntArray:
    """The class number of each example; UNLABELLED where there is none, if there may be none.

    Raises:
        DataError: Naming the row and its label.
    """
    if not len(part):
        return np.zeros(0, np.int64)
    if part.y is None:
        raise DataError(f"{part.labels}: there are no labels; give one for each example")
    labels = check_labels(label_array(part.y, where=part.labels), where=part.labels, rows=len(part))
    return names.numbers(labels, where=part.label_name, unlabelled=unlabelled)


def is_table(path: Path) -> bool:
    """Whether a path is a table by its name."""
    return path.suffix.lower() in TABLE_SUFFIXES


def given_table(table: Table, columns: TableColumns) -> GivenExamples:
    """The rows of a table as examples; with labels where it has their column."""
    y = np.array(table.texts(columns.label), np.str_) if columns.label in table.columns else None
    return GivenExamples(table.name, columns.read(table), y, lambda row: f"{table.name}: {table.rows[row]}")


def examples_in(file: Path, arrays: Mapping[str, Array], *, x: str = "x", y: str = "y") -> GivenExamples:
    """The examples and labels among the arrays of a .npz file.

    Raises:
        DataError: Where there are no such examples.
    """
    if x not in arrays:
        held = ", ".join(sorted(arrays)) or "nothing"
        raise DataError(f"{file}: {x} is missing; the file holds {held}")
    return GivenExamples(f"{file}: {x}", arrays[x], arrays.get(y), labels_where=f"{file}: {y}")


def joined_examples(parts: Sequence[GivenExamples]) -> GivenExamples:
    """Examples of several places, all labelled, as those of one."""
    starts = np.cumsum([0, *(len(part) for part in parts)])

    def row_name(row: int) -> str:
        place = int(np.searchsorted(starts, row, side="right")) - 1
        return parts[place].row_name(row - int(starts[place]))

    x, y = (np.concatenate([getattr(part, name) for part in parts]) for name in ("x", "y"))
    return GivenExamples(parts[0].where, x, y, row_name)


def given_files(
    where: str, folders: Mapping[str, Sequence[Path]], *, pictures: PictureRule = AS_THEY_ARE
) -> GivenExamples:
    """Examples with a file each, by class; the class "" is none."""
    files = [file for members in folders.values() for file in members]
    if not files:
        raise DataError(
            f"{where}: holds no example; there are files that end in {', '.join(EXAMPLE_SUFFIXES)}"
        )
    labels = [label for label, members in folders.items() for _ in members]
    y = None if set(labels) == {""} else np.array(labels, np.str_)
    return GivenExamples(where, read_examples(files, pictures=pictures), y, lambda row: str(files[row]))


def given_folder(folder: Path, *, pictures: PictureRule = AS_THEY_ARE) -> GivenExamples:
    """The examples of a folder: x.npy and y.npy; or <class>/<example>, those that lie in it having no label.

    Raises:
        DataError: Naming what is not an example, or of another shape than the first.
    """
    if (folder / X_FILE).is_file():
        x, labels = folder / X_FILE, folder / Y_FILE
        y = read_array(labels) if labels.is_file() else None
        return GivenExamples(str(x), read_array(x), y, labels_where=str(labels))
    own = example_files(folder)
    folders = class_folders(folder)
    return given_files(str(folder), {**({"": own} if own else {}), **folders}, pictures=pictures)

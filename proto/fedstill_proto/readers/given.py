"""Examples and their labels, of a file or folder of any of the forms that people have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedstill_proto.arrays import IntArray
from fedstill_proto.readers.arrays import Array
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


@dataclass(frozen=True, eq=False)
class GivenExamples:
    """Examples of one place, such as a file, as they are given.

    Attributes:
        where: Begins an error's text.
        x: Examples [n, *shape], numbers.
        y: Their labels [n], whole numbers or texts; None where there are none.
        row: Names a row for an error.
        labels_where: Begins an error's text on labels, where that is not `where`.
    """

    where: str
    x: Array
    y: Array | None = None
    row: Callable[[int], str] | None = None
    labels_where: str = ""

    def __len__(self) -> int:
        return len(self.x)

    def row_name(self, row: int) -> str:
        """How an error names a row."""
        return self.row(row) if self.row is not None else f"{self.where}: row {row}"

    def label_name(self, row: int) -> str:
        """How an error names the label of a row."""
        return self.row(row) if self.row is not None else f"{self.labels}: row {row}"

    @property
    def labels(self) -> str:
        """How an error names the labels."""
        return self.labels_where or self.where

    def rows(self, rows: IntArray) -> GivenExamples:
        """Some of the rows."""
        y = None if self.y is None else self.y[rows]
        name = None if self.row is None else lambda row: self.row_name(int(rows[row]))
        return GivenExamples(self.where, self.x[rows], y, name, self.labels_where)


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
    """The examples of a folder: <class>/<example>, those that lie in it having no label.

    Raises:
        DataError: Naming what is not an example, or of another shape than the first.
    """
    own = example_files(folder)
    folders = class_folders(folder)
    return given_files(str(folder), {**({"": own} if own else {}), **folders}, pictures=pictures)

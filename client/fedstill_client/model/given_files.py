"""Files of examples that people bring to a student: arrays, tables, pictures, or windows of measurements."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fedstill_proto.package.artifact import StudentManifest
from fedstill_proto.readers.arrays import read_arrays
from fedstill_proto.readers.classes import LabelNames
from fedstill_proto.readers.columns import TableColumns
from fedstill_proto.readers.errors import DataError
from fedstill_proto.readers.example_files import (
    EXAMPLE_SUFFIXES,
    PICTURE_SUFFIXES,
    PictureRule,
    read_example,
)
from fedstill_proto.readers.given import (
    GivenExamples,
    check_examples,
    examples_in,
    given_folder,
    given_table,
    is_table,
)
from fedstill_proto.readers.tables import has_names, read_numbers, read_table

_FORMS = ".npz, .csv or .parquet, a picture, or a folder"


@dataclass(frozen=True, kw_only=True)
class GivenForm:
    """What examples a student takes.

    Attributes:
        shape: Of one, as it is given.
        columns: Of the table that examples are rows of, if they are.
        resize: Whether pictures of another size are resized.
    """

    shape: tuple[int, ...]
    columns: TableColumns | None = None
    resize: bool = False

    @classmethod
    def of(cls, manifest: StudentManifest, *, resize: bool = False) -> GivenForm:
        """That of a package's student."""
        return cls(shape=manifest.given_shape, columns=manifest.columns, resize=resize)

    @property
    def pictures(self) -> PictureRule:
        """What is made of pictures, so that they have as many colours as the student takes."""
        in_colour = len(self.shape) == 3 and self.shape[2] == 3
        size = (self.shape[1], self.shape[0]) if self.resize and len(self.shape) in (2, 3) else None
        return PictureRule(size=size, colour="rgb" if in_colour else "grey")


def read_given(file: Path, form: GivenForm) -> GivenExamples:
    """The examples of a file or folder, as they are given, and their labels where it has some.

    Args:
        file: A .npz with x, and y where it is labelled; a table; a .csv of numbers, one example a line; a
            picture or a window; or a folder of such, in folders of classes.
        form: What the student takes.

    Raises:
        FedstillError: Naming the file, and the row, column or shape that does not fit.
    """
    given = _read(file, form)
    expected = GivenExamples("the student", np.empty((0, *form.shape), np.float32))
    if given.x.ndim != 1 + len(form.shape) or given.x.shape[1:] != form.shape:
        resize = "; --resize makes pictures fit" if _is_picture(file) and not form.resize else ""
        raise DataError(
            f"{given.where}: has examples of shape {list(given.x.shape[1:])}; the student takes "
            f"{list(form.shape)}{resize}"
        )
    check_examples(given, expected)
    return given


def named_labels(given: GivenExamples, *, classes: int, names: tuple[str, ...]) -> np.ndarray:
    """The labels of examples as an agent takes them: names where classes have some, and numbers otherwise.

    Raises:
        DataError: Naming the row, and the label that is none of the classes.
    """
    if given.y is None:
        raise DataError(f"{given.labels}: there are no labels; give one for each example")
    if given.y.shape != (len(given),):
        raise DataError(f"{given.labels}: labels have shape {list(given.y.shape)}; give one an example")
    numbers = LabelNames(classes, names).numbers(given.y, where=given.label_name)
    return np.array(names, np.str_)[numbers] if names else numbers


def _read(file: Path, form: GivenForm) -> GivenExamples:
    if file.is_dir():
        return given_folder(file, pictures=form.pictures)
    suffix = file.suffix.lower()
    if is_table(file) and (form.columns is not None or suffix == ".parquet"):
        if form.columns is None:
            raise DataError(f"{file}: the student takes no table's columns; give .npz or .csv of numbers")
        return given_table(read_table(file), form.columns)
    if suffix == ".csv":
        return _of_numbers(file, form.shape)
    if suffix in EXAMPLE_SUFFIXES:
        example = read_example(file, pictures=form.pictures)
        if suffix == ".npy" and example.ndim != len(form.shape):
            raise DataError(
                f"{file}: is a single array without a name, of shape {list(example.shape)}, and no example; "
                f"save named arrays: numpy.savez('{file.stem}.npz', x=x)"
            )
        return GivenExamples(str(file), example[None])
    if suffix != ".npz":
        raise DataError(f"{file}: is of no form that can be read; give {_FORMS}")
    return examples_in(file, read_arrays(file))


def _of_numbers(file: Path, shape: tuple[int, ...]) -> GivenExamples:
    """A .csv file of numbers alone: an example a line, or, of windows, one in all."""
    if has_names(file):
        window = read_example(file)
        if window.shape != shape:
            raise DataError(
                f"{file}: line 1 names columns, and the student was made of none; give numbers alone, "
                f"{math.prod(shape)} a line"
            )
        return GivenExamples(str(file), window[None])
    rows = read_numbers(file)
    if rows.shape == shape and len(shape) > 1:
        return GivenExamples(str(file), rows[None])
    if rows.shape[1] != math.prod(shape):
        raise DataError(
            f"{file}: a line has {rows.shape[1]} numbers; an example has {math.prod(shape)}: {list(shape)}"
        )
    return GivenExamples(str(file), rows.reshape(-1, *shape))


def _is_picture(file: Path) -> bool:
    return file.is_dir() or file.suffix.lower() in PICTURE_SUFFIXES

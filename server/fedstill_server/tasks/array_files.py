"""An operator's files of arrays, tables, pictures or windows: a public set, and what is measured on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fedstill_proto.readers.arrays import read_arrays
from fedstill_proto.readers.columns import TableColumns, columns_of
from fedstill_proto.readers.errors import DataError
from fedstill_proto.readers.given import (
    GivenExamples,
    check_examples,
    examples_in,
    given_folder,
    given_table,
    is_table,
)

from fedstill_server.config.reading import ReadOptions
from fedstill_server.data.errors import ExamplesError


@dataclass(frozen=True, kw_only=True)
class ArrayFiles:
    """What an operator's files hold, as it is given.

    Attributes:
        public: Everyone's examples; their labels may be missing.
        test: To measure on.
        columns: How the examples were made of a table's columns.
    """

    public: GivenExamples
    test: GivenExamples | None
    columns: TableColumns | None


def read_array_files(
    public: Path, test: Path | None, reading: ReadOptions, *, columns: TableColumns | None = None
) -> ArrayFiles:
    """Read a public set, and what is measured on, of one form; `columns` are those of a table where known.

    Raises:
        ExamplesError: Naming the file, and what does not fit.
    """
    try:
        if not is_table(public):
            read = _examples(public, reading)
            tested = None if test is None else _examples(test, reading)
            columns = None
        else:
            table = reading.table(public)
            columns = columns or columns_of(table, label=reading.label_column, missing=reading.missing)
            read = given_table(table, columns)
            if test is not None and not is_table(test):
                raise DataError(f"{test}: is no table, and {public} is one; give both in one form")
            tested = None if test is None else given_table(reading.table(test), columns)
        for part in (read, tested):
            if part is not None:
                check_examples(part, read)
                if not len(part):
                    raise DataError(f"{part.where}: holds no example")
    except DataError as error:
        raise ExamplesError(str(error)) from None
    return ArrayFiles(public=read, test=tested, columns=columns)


def _examples(path: Path, reading: ReadOptions) -> GivenExamples:
    if path.is_dir():
        return given_folder(path, pictures=reading.pictures)
    return examples_in(path, read_arrays(path))

"""Tables with named columns: .csv files (commas, semicolons or tabs) and .parquet files.

A value of a .csv file is a text until a column is asked for as numbers. A value that is empty, or NA, NaN,
nan or null, is missing.
"""

from __future__ import annotations

import csv
import datetime
import decimal
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fedstill_proto.arrays import Float64Array
from fedstill_proto.errors import unknown_name
from fedstill_proto.readers.errors import DataError
from fedstill_proto.system.extras import explain_missing
from fedstill_proto.text.text_files import read_text

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet")
_LIMIT_BYTES = 2 << 30
_TRUTHS = ("false", "true")
_MISSING = ("", "NA", "NaN", "nan", "null")


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of values under the names of columns.

    Attributes:
        name: What errors call it, such as the file.
        columns: The values of each column, as texts; "" is a missing value.
        rows: What errors call each row, such as "line 7".
    """

    name: str
    columns: Mapping[str, Sequence[str]]
    rows: Sequence[str]

    def __len__(self) -> int:
        return len(self.rows)

    def texts(self, column: str) -> Sequence[str]:
        """The values of a column; "" where one is missing.

        Raises:
            UnknownName: For a column that is not there, with those that are spelled alike.
        """
        if column not in self.columns:
            raise unknown_name(f"{self.name}: column", column, self.columns)
        return self.columns[column]

    def numbers(self, column: str) -> Float64Array:
        """The values of a column as numbers; NaN where one is missing.

        Raises:
            DataError: Naming the row of a value that is no finite number.
        """
        texts, found = self.texts(column), np.empty(len(self), np.float64)
        for row, text in enumerate(texts):
            try:
                found[row] = float(text) if text else math.nan
            except ValueError:
                found[row] = math.inf
            if math.isinf(found[row]):
                raise DataError(f"{self.where(row, column)} is {text!r:.40}, and no finite number")
        return found

    def is_numeric(self, column: str) -> bool:
        """Whether every value of a column that is there is a finite number, and one is there."""
        given = [text for text in self.texts(column) if text]
        try:
            return bool(given) and all(math.isfinite(float(text)) for text in given)
        except ValueError:
            return False

    def where(self, row: int, column: str) -> str:
        """How an error names a value."""
        return f"{self.name}: {self.rows[row]}: column {column!r}"

    def part(self, rows: Iterable[int]) -> Table:
        """Some of the rows."""
        chosen = list(rows)
        columns = {name: [values[row] for row in chosen] for name, values in self.columns.items()}
        return Table(self.name, columns, [self.rows[row] for row in chosen])

    def without(self, columns: Iterable[str]) -> Table:
        """The table without some of its columns.

        Raises:
            UnknownName: For one that is not there.
        """
        left_out = list(columns)
        for column in left_out:
            self.texts(column)
        kept = {name: values for name, values in self.columns.items() if name not in left_out}
        return Table(self.name, kept, self.rows)


def joined(tables: Sequence[Table]) -> Table:
    """Tables of the same columns beneath one another.

    Raises:
        UnknownName: For a column of the first that another has not.
    """
    if len(tables) == 1:
        return tables[0]
    columns: dict[str, list[str]] = {name: [] for name in tables[0].columns}
    for table in tables:
        for name, values in columns.items():
            values += table.texts(name)
    rows = [f"{table.name}: {row}" for table in tables for row in table.rows]
    return Table(f"{tables[0].name} and {len(tables) - 1} more", columns, rows)


def read_table(file: Path) -> Table:
    """Read a .csv, .tsv or .parquet file, whose columns have names.

    Raises:
        DataError: Naming the file, the line or column, and what to do.
        MissingExtra: For a .parquet file where pyarrow is not installed.
    """
    if file.suffix.lower() == ".parquet":
        return _read_parquet(file)
    if file.suffix.lower() not in TABLE_SUFFIXES:
        raise DataError(f"{file}: a table is a file that ends in {', '.join(TABLE_SUFFIXES)}")
    return _read_csv(file)


def header_of(file: Path) -> list[str]:
    """The first line of a .csv file, cut at its separators."""
    content = read_text(file, most_bytes=_LIMIT_BYTES, error=DataError)
    if not content.strip():
        raise DataError(f"{file}: holds no line")
    return _split(content)[0]


def has_names(file: Path) -> bool:
    """Whether a .csv file begins with names of columns, and not with numbers alone."""
    return not any(map(_is_number, header_of(file)))


def read_numbers(file: Path) -> Float64Array:
    """The numbers [lines, columns] of a .csv file without names of columns.

    Raises:
        DataError: For a file that is missing or holds anything else.
    """
    content = read_text(file, most_bytes=_LIMIT_BYTES, error=DataError)
    if not content.strip():
        raise DataError(f"{file}: holds no line")
    try:
        return np.loadtxt(io.StringIO(content), delimiter=",", ndmin=2)
    except ValueError as error:
        raise DataError(f"{file}: is not a table of numbers with commas: {error}") from None


def _read_csv(file: Path) -> Table:
    content = read_text(file, most_bytes=_LIMIT_BYTES, error=DataError)
    if not content.strip():
        raise DataError(f"{file}: holds no line; the first names the columns")
    header, delimiter = _split(content)
    for name in header:
        if not name or not name.isprintable() or header.count(name) > 1:
            problem = "has no name" if not name else f"is named {name!r:.40}, as another, or beyond printing"
            raise DataError(
                f"{file}: line 1: column {header.index(name) + 1} {problem}; name each differently"
            )
    values: list[list[str]] = [[] for _ in header]
    rows = []
    reader = csv.reader(io.StringIO(content), strict=True, delimiter=delimiter)
    try:
        next(reader)
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            where = f"line {reader.line_num}"
            if len(cells) != len(header):
                raise DataError(
                    f"{file}: {where}: {len(cells)} values for {len(header)} columns; a value that holds "
                    f"{delimiter!r} stands in quotation marks"
                )
            rows.append(where)
            for column, cell in zip(values, cells, strict=True):
                column.append(_text(cell))
    except csv.Error as error:
        raise DataError(f"{file}: line {reader.line_num}: {error}") from None
    return _of_rows(file, dict(zip(header, values, strict=True)), rows)


def _split(content: str) -> tuple[list[str], str]:
    """The names in the first line, and what separates them there."""
    first = content.lstrip("\n").splitlines()[0]
    delimiter = max(",;\t", key=first.count) if any(map(first.count, ",;\t")) else ","
    return [name.strip() for name in next(csv.reader([first], delimiter=delimiter))], delimiter


def _read_parquet(file: Path) -> Table:
    with explain_missing(f"{file.name}, a Parquet file,"):
        import pyarrow
        import pyarrow.parquet
    try:
        read = pyarrow.parquet.read_table(file)
    except FileNotFoundError:
        raise DataError(f"{file}: there is no such file") from None
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{file}: is no readable Parquet file ({str(error).splitlines()[0]})") from None
    return table_of(str(file), {name: read.column(name).to_pylist() for name in read.column_names})


def table_of(name: str, columns: Mapping[str, Sequence[Any]]) -> Table:
    """A table of Python's values: numbers, texts, truth values, and None for what is missing.

    Args:
        name: What errors call it.
        columns: The values of each column, all of one length.

    Raises:
        DataError: Naming the column and row of a value that is something else.
    """
    counts = {column: len(values) for column, values in columns.items()}
    if len(set(counts.values())) > 1:
        raise DataError(f"{name}: columns have different numbers of rows: {counts!r:.120}")
    rows = [f"row {row}" for row in range(next(iter(counts.values()), 0))]
    texts: dict[str, list[str]] = {}
    for column, values in columns.items():
        if not isinstance(column, str):
            raise DataError(f"{name}: {column!r:.40} is no name of a column; name each by a text")
        texts[column] = [
            _plain(value, f"{name}: {where}: column {column!r}")
            for value, where in zip(values, rows, strict=True)
        ]
    return _of_rows(name, texts, rows)


def _plain(value: Any, where: str) -> str:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53:
        return str(int(value))
    if isinstance(value, int | float | decimal.Decimal):
        return str(value)
    kind = "a time" if isinstance(value, datetime.date | datetime.time) else f"of type {type(value).__name__}"
    raise DataError(f"{where} is {kind}; make it a number or a text, or leave the column out")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _text(cell: str) -> str:
    cell = cell.strip()
    if cell.lower() in _TRUTHS:  # as each program writes them
        return cell.lower()
    return "" if cell in _MISSING else cell


def _of_rows(name: Path | str, columns: Mapping[str, Sequence[str]], rows: Sequence[str]) -> Table:
    if not columns or not rows:
        raise DataError(f"{name}: holds no row beneath the names of its columns")
    return Table(str(name), columns, rows)

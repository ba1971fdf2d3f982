"""How the named columns of a table become the numbers that a network reads.

A column of numbers is standardized: (value - mean) / scale. One of texts has a number for each of its
categories, 1 for its own and 0 for the others. Mean, scale and categories are those of the public set, are
computed once and travel in the student's package, so that simulator, server and device read alike.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fedstill_proto.arrays import FloatArray
from fedstill_proto.errors import InvalidValue
from fedstill_proto.readers.errors import DataError
from fedstill_proto.readers.tables import Table
from fedstill_proto.v1 import fedstill_pb2 as pb

NUMBER, CATEGORY = "number", "category"
REFUSE, FILL = "refuse", "fill"
MOST_CATEGORIES = 256
_MOST_VALUES = 1 << 16
_NAME_LIMIT = 200


@dataclass(frozen=True, kw_only=True)
class TableColumn:
    """One column.

    Attributes:
        name: As a table's first line has it.
        kind: "number" or "category".
        categories: The texts of a category, sorted.
        mean: Of the numbers.
        scale: Their standard deviation; 1 where all are alike.
    """

    name: str
    kind: str
    categories: tuple[str, ...] = ()
    mean: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        check_text("columns.name", self.name)
        if self.kind not in (NUMBER, CATEGORY):
            raise InvalidValue("columns.kind", f"{self.kind!r:.40} is neither {NUMBER} nor {CATEGORY}")
        if (self.kind == CATEGORY) != bool(self.categories) or len(self.categories) > MOST_CATEGORIES:
            raise InvalidValue("columns.categories", f"{len(self.categories)} of a column of {self.kind}")
        for category in self.categories:
            check_text("columns.categories", category)
        if len(set(self.categories)) != len(self.categories):
            raise InvalidValue("columns.categories", f"column {self.name!r} names one twice")
        if not (np.isfinite([self.mean, self.scale]).all() and self.scale > 0):
            raise InvalidValue("columns.scale", f"mean {self.mean} and scale {self.scale} of {self.name!r}")


@dataclass(frozen=True, kw_only=True)
class TableColumns:
    """The columns that a network reads, in order.

    Attributes:
        columns: Each with a name of its own.
        missing: What a missing value means, and a text that the public set has not: "refuse", an error;
            "fill", the mean, or of texts a category of its own.
        label: The column of the labels; "" where none is known.
    """

    columns: tuple[TableColumn, ...]
    missing: str = REFUSE
    label: str = ""

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        if not names or len({*names, self.label}) != len(names) + 1:
            raise InvalidValue("columns", f"{names!r:.120} beside the label {self.label!r:.40}")
        if self.missing not in (REFUSE, FILL):
            raise InvalidValue("columns.missing", f"{self.missing!r:.40} is neither {REFUSE} nor {FILL}")
        if self.label:
            check_text("columns.label", self.label)
        if self.width > _MOST_VALUES:
            raise InvalidValue("columns", f"{self.width} numbers a row; {_MOST_VALUES} at most")

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> TableColumns:
        """The columns that dataclasses.asdict made a JSON document of."""
        columns = tuple(
            TableColumn(**{**one, "categories": tuple(one["categories"])}) for one in document["columns"]
        )
        return cls(columns=columns, missing=document["missing"], label=document["label"])

    def to_json(self) -> str:
        """One JSON object."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> TableColumns | None:
        """Those of `to_json`; None of ""."""
        return cls.from_document(json.loads(text)) if text else None

    @property
    def width(self) -> int:
        """How many numbers a row becomes."""
        return sum(self._width(column) for column in self.columns)

    def _width(self, column: TableColumn) -> int:
        if column.kind == NUMBER:
            return 1
        return len(column.categories) + (self.missing == FILL)

    def read(self, table: Table) -> FloatArray:
        """The rows of a table, whose columns may stand in any order among others: float32 [rows, width].

        Raises:
            UnknownName: For a column that is not there.
            DataError: Naming the row, the column and the value that does not fit.
        """
        found = np.zeros((len(table), self.width), np.float32)
        first = 0
        for column in self.columns:
            width = self._width(column)
            part = found[:, first : first + width]
            if column.kind == NUMBER:
                part[:, 0] = self._standardized(table, column)
            else:
                part[np.arange(len(table)), self._categories(table, column)] = 1.0
            first += width
        return found

    def _standardized(self, table: Table, column: TableColumn) -> FloatArray:
        numbers = table.numbers(column.name)
        missing = np.isnan(numbers)
        if missing.any() and self.missing == REFUSE:
            raise _missing(table, int(np.argmax(missing)), column.name, "the mean")
        standardized = (np.where(missing, column.mean, numbers) - column.mean) / column.scale
        with np.errstate(over="ignore"):
            narrow = standardized.astype(np.float32)
        if not np.isfinite(narrow).all():
            row = int(np.argmin(np.isfinite(narrow)))
            raise DataError(f"{table.where(row, column.name)} is {numbers[row]:g}, far beyond all others")
        return narrow

    def _categories(self, table: Table, column: TableColumn) -> list[int]:
        places = {category: place for place, category in enumerate(column.categories)}
        found = []
        for row, text in enumerate(table.texts(column.name)):
            place = places.get(text, len(places))
            if place == len(places) and self.missing == REFUSE:
                if not text:
                    raise _missing(table, row, column.name, "a category of its own")
                raise DataError(
                    f"{table.where(row, column.name)} is {text!r:.40}, none of the public set's "
                    f"{', '.join(column.categories)[:80]}; correct it, or make the fleet with --missing fill"
                )
            found.append(place)
        return found


def columns_of(table: Table, *, label: str, missing: str) -> TableColumns:
    """The columns of a public set, all but its labels: what they hold, and how it is scaled.

    Args:
        table: The public set.
        label: The column of its labels.
        missing: "refuse" or "fill".

    Raises:
        DataError: For a column without a value, or of as many texts as rows.
    """
    described = tuple(_described(table, name) for name in table.columns if name != label)
    if not described:
        raise DataError(f"{table.name}: has no column beside the labels {label!r}")
    try:
        return TableColumns(columns=described, missing=missing, label=label)
    except InvalidValue as error:
        raise DataError(f"{table.name}: {error}") from None


def check_columns(columns: TableColumns | None, input_shape: Sequence[int]) -> None:
    """Raise InvalidValue unless a network that reads examples of this shape can read the columns."""
    if columns is not None and (columns.width,) != tuple(input_shape):
        raise InvalidValue("columns", f"{columns.width} numbers a row, for examples {list(input_shape)}")


def columns_message(columns: TableColumns | None) -> pb.TableColumns | None:
    """The columns as a message."""
    if columns is None:
        return None
    return pb.TableColumns(
        columns=[
            pb.TableColumn(
                name=one.name, kind=one.kind, categories=one.categories, mean=one.mean, scale=one.scale
            )
            for one in columns.columns
        ],
        missing=columns.missing,
        label=columns.label,
    )


def columns_of_message(message: pb.TableColumns) -> TableColumns:
    """The columns of a message; raises InvalidValue, naming the field."""
    return TableColumns(
        columns=tuple(
            TableColumn(
                name=one.name,
                kind=one.kind,
                categories=tuple(one.categories),
                mean=one.mean,
                scale=one.scale,
            )
            for one in message.columns
        ),
        missing=message.missing,
        label=message.label,
    )


def _described(table: Table, name: str) -> TableColumn:
    where = f"{table.name}: column {name!r}"
    if len(name) > _NAME_LIMIT:
        raise DataError(f"{where[:120]}: has a name of {len(name)} letters; {_NAME_LIMIT} at most")
    kinds = sorted({text for text in table.texts(name) if text})
    if not kinds:
        raise DataError(f"{where} has no value; leave it out: --leave-out {name}")
    if table.is_numeric(name):
        numbers = table.numbers(name)
        scale = float(np.nanstd(numbers))
        return TableColumn(name=name, kind=NUMBER, mean=float(np.nanmean(numbers)), scale=scale or 1.0)
    if len(kinds) > MOST_CATEGORIES or (len(kinds) > 20 and 2 * len(kinds) > len(table)):
        raise DataError(
            f"{where} holds {len(kinds)} different texts in {len(table)} rows, such as {kinds[0]!r:.40}; "
            f"leave it out (--leave-out {name}), or make it a number"
        )
    long = next((kind for kind in kinds if len(kind) > _NAME_LIMIT or not kind.isprintable()), None)
    if long is not None:
        raise DataError(f"{where}: {long!r:.40}...: a category is a line of {_NAME_LIMIT} letters at most")
    return TableColumn(name=name, kind=CATEGORY, categories=tuple(kinds))


def _missing(table: Table, row: int, column: str, instead: str) -> DataError:
    return DataError(
        f"{table.where(row, column)} is empty; fill it in, or make the fleet with --missing fill, "
        f"which takes {instead}"
    )


def check_text(field: str, text: str) -> None:
    """Raise InvalidValue unless this is a line of 1 to 200 printable characters."""
    if not 0 < len(text) <= _NAME_LIMIT or not text.isprintable():
        raise InvalidValue(field, f"{text!r:.40} is no line of 1 to {_NAME_LIMIT} characters")

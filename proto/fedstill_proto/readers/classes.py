"""Labels as people have them, as class numbers 0 to n - 1 and names.

Whole numbers of which none from 0 to the largest is missing are class numbers as they are. All others,
numbers with gaps and texts, are names: their classes are numbered in their order, numbers by size and texts
by letters. A label that is empty, or -1, is none.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedstill_proto.arrays import IntArray
from fedstill_proto.readers.arrays import Array
from fedstill_proto.readers.errors import DataError

UNLABELLED = -1
_NAME_LIMIT = 200


@dataclass(frozen=True, eq=False)
class LabelNames:
    """What labels become.

    Attributes:
        classes: How many there are.
        names: What each is called; () where labels are class numbers.
    """

    classes: int
    names: tuple[str, ...] = ()

    def numbers(self, labels: Array, *, where: Callable[[int], str], unlabelled: bool = False) -> IntArray:
        """Class numbers [n] of labels [n]; UNLABELLED where there is none.

        Args:
            labels: Whole numbers or texts.
            where: Names a row for an error.
            unlabelled: Whether a label may be missing.

        Raises:
            DataError: Naming the row and the label that is none of the classes.
        """
        kinds, rows = np.unique(labels, return_inverse=True)
        places = {name: number for number, name in enumerate(self.names)}
        found = np.array([self._number(_text(kind), places) for kind in kinds], np.int64)[rows.reshape(-1)]
        for row in np.flatnonzero(found < 0):
            text = _text(labels[row])
            if not _is_none(text):
                raise DataError(f"{where(int(row))}: label {text!r:.40} is none of {self._told(text)}")
            if not unlabelled:
                shown = "is missing" if not text else "-1 means that there is none"
                raise DataError(f"{where(int(row))}: label {shown}; give one, or remove the row")
        return found

    def _number(self, text: str, places: Mapping[str, int]) -> int:
        if _is_none(text):
            return UNLABELLED
        if self.names:
            return places.get(text, -2)
        return int(text) if _is_whole(text) and 0 <= int(text) < self.classes else -2

    def _told(self, text: str) -> str:
        if not self.names:
            return f"the classes 0 to {self.classes - 1}"
        alike = difflib.get_close_matches(text, self.names, n=1)
        meant = f" (did you mean {alike[0]}?)" if alike else ""
        return f"the {self.classes} classes {', '.join(self.names)[:80]}{meant}"


def names_of_labels(parts: Iterable[Array], *, where: str, classes: int | None = None) -> LabelNames:
    """The classes that labels name.

    Args:
        parts: Labels [n] of each part of the data: whole numbers, truth values or texts.
        where: Begins an error's text.
        classes: How many there are, where somebody says; labels are then the numbers 0 to classes - 1.

    Raises:
        DataError: For labels that are no classes.
    """
    texts: dict[str, int] = {}
    for labels in parts:
        found, counts = np.unique(check_labels(labels, where=where), return_counts=True)
        for kind, count in zip(found, counts, strict=True):
            text = _text(kind)
            texts[text] = texts.get(text, 0) + int(count)
    kinds = [text for text in texts if not _is_none(text)]
    if not kinds:
        raise DataError(f"{where}: holds no label; give one for each example")
    whole = all(_is_whole(text) for text in kinds)
    if whole and all(not text.startswith("-") for text in kinds):
        numbers = sorted(int(text) for text in kinds)
        if classes is not None:
            if numbers[-1] >= classes:
                raise DataError(
                    f"{where}: label {numbers[-1]}, but there are {classes} classes, 0 to {classes - 1}"
                )
            return LabelNames(classes)
        if numbers[-1] == len(numbers) - 1 and len({*numbers}) == len(numbers):
            return LabelNames(len(numbers))
    elif classes is not None and len(kinds) != classes:
        raise DataError(
            f"{where}: labels of {len(kinds)} kinds, but there are {classes} classes; leave that out"
        )
    if len(kinds) > 100 and len(kinds) > 0.8 * sum(texts.values()):
        raise DataError(
            f"{where}: {len(kinds)} different labels, such as {kinds[0]!r:.40}, in {sum(texts.values())}: "
            "each class needs several"
        )
    if not whole and all(map(_is_amount, kinds)):
        amount = next(kind for kind in kinds if not _is_whole(kind))
        raise DataError(f"{where}: label {amount} is an amount; classes are whole numbers, or texts")
    names = tuple(sorted(kinds, key=int) if whole else sorted(kinds))
    for name in names:
        if len(name) > _NAME_LIMIT or not name.isprintable():
            raise DataError(
                f"{where}: label {name!r:.40}: the name of a class is a line of {_NAME_LIMIT} letters"
            )
    return LabelNames(len(names), names)


def check_labels(labels: Array, *, where: str, rows: int | None = None) -> Array:
    """Labels [n] of whole numbers or texts.

    Raises:
        DataError: For anything else.
    """
    if labels.ndim != 1 or (rows is not None and len(labels) != rows):
        of = "one a row" if rows is None else f"one for each of {rows} examples"
        raise DataError(f"{where}: labels have shape {list(labels.shape)}; give {of}")
    if labels.dtype.kind == "f":
        whole = np.isnan(labels) | (labels == np.round(labels))
        if not whole.all():
            value = labels[np.argmin(whole)]
            raise DataError(f"{where}: label {value:g} is no class; labels are whole numbers or texts")
        return np.where(np.isnan(labels), UNLABELLED, labels).astype(np.int64)
    if labels.dtype.kind not in "biuUT":
        raise DataError(f"{where}: labels are {labels.dtype}; give whole numbers or texts")
    return labels


def label_array(labels: Any, *, where: str) -> Array:
    """Labels of a list, an array or a tensor, as an array of whole numbers or texts.

    Raises:
        DataError: For anything else.
    """
    given = labels.detach().cpu().numpy() if hasattr(labels, "detach") else labels
    try:
        array = np.asarray(given)
    except (ValueError, TypeError) as error:
        raise DataError(f"{where}: cannot be read as labels ({error})") from None
    if array.dtype == object and all(isinstance(one, str) or one is None for one in array.ravel()):
        array = np.array([one or "" for one in array.ravel()], np.str_).reshape(array.shape)
    return check_labels(array, where=where)


def _text(label: object) -> str:
    if isinstance(label, np.generic):
        label = label.item()
    return str(label).lower() if isinstance(label, bool) else str(label).strip()


def _is_none(text: str) -> bool:
    return text in ("", str(UNLABELLED))


def _is_whole(text: str) -> bool:
    return text.removeprefix("-").isdecimal() and text.isascii()


def _is_amount(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False

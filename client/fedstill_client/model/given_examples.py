"""Examples as apps and files give them: classes called by name, and values of another scale."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.errors import InvalidValue, unknown_name
from fedstill_proto.package.input_rule import InputRule

_LOG = logging.getLogger("fedstill.agent")
_LOOKED_AT = 64  # examples of a package; to look costs as much as a small student's answer


class ScaleWatch:
    """Says, once, that examples are of another scale than the fleet's public ones."""

    def __init__(self, rule: InputRule) -> None:
        self._rule, self._left = rule, _LOOKED_AT

    def doubt(self, x: npt.NDArray[Any]) -> str:
        """What is odd about the scale of examples, in a line; empty where nothing is."""
        return self._rule.doubt(x[:_LOOKED_AT])

    def look(self, x: npt.NDArray[Any]) -> None:
        """Look at examples [n, *given_shape], as they are given; they have been checked."""
        if self._left <= 0:
            return
        self._left -= max(1, len(x))
        if doubt := self.doubt(x):
            _LOG.warning("%s", doubt)
            self._left = 0


def class_numbers(names: Sequence[str], labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Labels as class numbers, where they may be names of classes.

    Whole numbers are names, too, where all classes are called by some.

    Args:
        names: What the classes are called; () where they have no names.
        labels: Names or numbers [n]; numbers are returned as they are, for others to check.

    Raises:
        InvalidValue: For a name that no class has.
    """
    texts = labels.dtype.kind in "UO"
    if not texts and not (names and labels.dtype.kind in "iu" and all(map(str.isdecimal, names))):
        return labels
    if not names:
        raise InvalidValue("labels", "are names, and the student's classes have none; give class numbers")
    if labels.ndim != 1:
        raise InvalidValue("labels", f"have shape {list(labels.shape)}; give one name an example")
    places = {name: number for number, name in enumerate(names)}
    for row, label in enumerate(labels):
        if str(label) not in places:
            error = unknown_name("class", str(label)[:80], names)
            raise InvalidValue(f"labels[{row}]", str(error))
    return np.array([places[str(label)] for label in labels], np.int64)

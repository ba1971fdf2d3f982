"""Labels of a few public examples that only the server's fold knows: by them it tells devices that lie.

Nobody learns them: no task and no package holds them, and neither teacher nor students see them. Which rows
they are is told to nobody, or liars would say the truth there and there only; they are asked for like any.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from fedstill_proto.arrays import IntArray

from fedstill_server.config.codec import ConfigError
from fedstill_server.randomness import generator

_NAME = "--secret-labels"


def secret_labels(
    words: str, *, public_y: IntArray | None, rows: int, classes: int, seed: int
) -> dict[str, int]:
    """The classes of some public rows, by the row's number as a text.

    Args:
        words: How many of the public set's own labels, the classes as alike in number as they can be; or a
            file with a row and its class on each line, with a comma between, both counted from 0.
        public_y: The public set's own labels [rows], if it has any.
        rows: Of the public set.
        classes: How many there are.
        seed: Decides which rows.

    Raises:
        ConfigError: For too many, or a file that is not there, or holds something else.
    """
    if not words.isdecimal():
        return checked_labels(_read(Path(words)), rows=rows, classes=classes, where=f"{_NAME} {words}")
    wanted = int(words)
    if public_y is None or public_y.ndim != 1:
        raise ConfigError(
            f"{_NAME}: {words} of a public set without a label for each row; name a file of labels"
        )
    if not 1 <= wanted <= rows:
        raise ConfigError(f"{_NAME}: {words} is not a number of public rows from 1 to {rows}")
    order = generator(seed, 0, "secret labels").permutation(rows)
    turn = np.empty(rows, np.int64)  # the how-many-eth of its class a row is in that order
    for label in range(classes):
        of_class = order[public_y[order] == label]
        turn[of_class] = np.arange(len(of_class))
    chosen = np.sort(order[np.argsort(turn[order], kind="stable")][:wanted])
    return {str(row): int(public_y[row]) for row in chosen}


def checked_labels(
    labels: Mapping[str, int], *, rows: int | None, classes: int, where: str
) -> dict[str, int]:
    """The same labels, if each is a class of a row that there is; rows: None where nobody knows how many.

    Raises:
        ConfigError: For one that is not, or where there is none.
    """
    if not labels:
        raise ConfigError(f"{where}: it holds no label")
    for row, label in labels.items():
        if not row.isdecimal() or (rows is not None and int(row) >= rows):
            raise ConfigError(f"{where}: {row!r} is no row of the public set, which are counted from 0")
        if not 0 <= label < classes:
            raise ConfigError(f"{where}: row {row} has class {label}; there are {classes}, counted from 0")
    return dict(labels)


def _read(path: Path) -> dict[str, int]:
    try:
        lines = path.read_text().split()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{_NAME}: {path} is no number of labels, nor a file that can be read: {error}"
        ) from None
    found: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        row, comma, label = line.partition(",")
        if not comma or not row.isdecimal() or not label.isdecimal():
            raise ConfigError(
                f"{_NAME}: {path}, line {number}: {line[:40]!r} is not a row and a class, as 17,3"
            )
        if str(int(row)) in found:
            raise ConfigError(f"{_NAME}: {path}, line {number}: row {row} has a class already")
        found[str(int(row))] = int(label)
    return found

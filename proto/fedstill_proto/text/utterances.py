"""A table of utterances: a .csv file with the columns text and label.

Slots may be marked in a text: turn on the [light](name) in the [living room](area).
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from fedstill_proto.errors import FedstillError, InvalidValue
from fedstill_proto.text.intents import NAME_LIMIT
from fedstill_proto.text.ngrams import words_of
from fedstill_proto.text.slots import SlotSpan, unmarked
from fedstill_proto.text.text_files import read_text

_FILE_LIMIT_BYTES = 64 << 20


class UtterancesError(FedstillError):
    """A file of utterances that cannot be read: names the file, the line and the value."""


def read_utterances(file: Path, *, labels_needed: bool = True) -> list[tuple[str, str]]:
    """The text and label of each line; the label is "" where it is missing and none is needed."""
    return [(text, label) for _, text, label in read_numbered_utterances(file, labels_needed=labels_needed)]


def read_numbered_utterances(file: Path, *, labels_needed: bool = True) -> list[tuple[int, str, str]]:
    """The same, behind the number of the line that each ends in."""
    rows = read_slotted_utterances(file, labels_needed=labels_needed)
    return [(line, text, label) for line, text, _, label in rows]


def read_slotted_utterances(
    file: Path, *, labels_needed: bool = True
) -> list[tuple[int, str, tuple[SlotSpan, ...], str]]:
    """The line, text, slots and label of each: [kitchen](area) in a text is a slot (see slots.py)."""
    rows = []
    content = read_text(file, most_bytes=_FILE_LIMIT_BYTES, error=UtterancesError)
    reader = csv.DictReader(io.StringIO(content), strict=True)
    try:
        columns = list(reader.fieldnames or ())
        if not {"text", "label"} <= set(columns):
            raise UtterancesError(f"{file}: line 1: {columns!r:.80} are no columns text and label")
        if len(set(columns)) != len(columns):
            raise UtterancesError(f"{file}: line 1: {columns!r:.80} has a column twice")
        for row in reader:
            if None in row:
                many = len(columns) + len(row[None])
                raise UtterancesError(
                    f"{file}: line {reader.line_num}: {many} values, more than the {len(columns)} columns; a "
                    "text with a comma stands in quotation marks"
                )
            if None in row.values():
                few = sum(value is not None for value in row.values())
                raise UtterancesError(
                    f"{file}: line {reader.line_num}: {few} of {len(columns)} values; put a comma "
                    "behind a text without a label"
                )
            text, label = (row["text"] or "").strip(), (row["label"] or "").strip()
            text, spans = _unmarked(f"{file}: line {reader.line_num}", text)
            _check(f"{file}: line {reader.line_num}", text, label, labels_needed=labels_needed)
            rows.append((reader.line_num, text, spans, label))
    except csv.Error as error:
        raise UtterancesError(f"{file}: line {reader.reader.line_num}: {error}") from None
    if not rows:
        raise UtterancesError(f"{file}: holds no utterance")
    return rows


def rare_labels(labels: Sequence[str]) -> dict[str, int]:
    """Labels that one utterance has, and the place of it: often a typing error, or a comma too many."""
    counts = Counter(labels)
    return {label: at for at, label in enumerate(labels) if label and counts[label] == 1}


def _unmarked(where: str, text: str) -> tuple[str, tuple[SlotSpan, ...]]:
    try:
        return unmarked(text)
    except InvalidValue as error:
        raise UtterancesError(f"{where}: {error}") from None


def _check(where: str, text: str, label: str, *, labels_needed: bool) -> None:
    try:
        words = words_of(text)
    except InvalidValue as error:
        raise UtterancesError(f"{where}: {error}") from None
    if not words:
        raise UtterancesError(f"{where}: text {text!r:.40} holds no word")
    if labels_needed and not label:
        raise UtterancesError(
            f"{where}: label is missing for {text!r:.40}; say what it means, or remove the line"
        )
    if len(label) > NAME_LIMIT or not label.isprintable():
        raise UtterancesError(
            f"{where}: label {label!r:.40}: give {NAME_LIMIT} characters at most, of one line"
        )

"""Soft labels of a summary, coded as the difference from levels that both sides hold: the delta base.

There are two: the soft labels that the task itself carries (see codec/task_base.py), and what the device sent
before (see base_table.py). Both sides come to the same table after an answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from fedstill_proto.arrays import BoolArray, IntArray
from fedstill_proto.errors import WireError
from fedstill_proto.soft_labels.base_table import BaseTable
from fedstill_proto.soft_labels.codec import SoftLabelCodec
from fedstill_proto.soft_labels.entropy import (
    NO_BASES,
    TABLE_BASE,
    Bases,
    CodedLevels,
    codings,
    decode_all,
    encode_all,
)
from fedstill_proto.soft_labels.label_arrays import SoftLabels
from fedstill_proto.soft_labels.levels import Levels, soft_labels_of
from fedstill_proto.v1 import fedstill_pb2 as pb


@dataclass(frozen=True, eq=False)
class DeltaBase:
    """What an answer may be coded against.

    Attributes:
        rows: The public rows that the task asks for [n]; empty where it asks for classes.
        task_base: Levels of these rows, made of the soft labels that the task carries.
        table: What the device sent of public rows before.
    """

    rows: IntArray
    task_base: Levels | None = None
    table: BaseTable | None = None

    def of_answered(self, answered: BoolArray | None) -> DeltaBase:
        """The base for an answer to some of the rows: `answered` [n], or None for all of them."""
        if answered is None:
            return self
        chosen = np.flatnonzero(answered)
        task_base = None if self.task_base is None else self.task_base.of_rows(chosen)
        return DeltaBase(self.rows[chosen], task_base, self.table)

    def table_base(self, like: Levels | None = None) -> Levels | None:
        """What the device sent last of these rows, and the task's base of rows of which it sent nothing.

        Args:
            like: Levels whose shape the base must have, if that is known.

        Returns:
            The base, or None where there is none of this shape.
        """
        if self.table is None or (like is not None and not like.is_like(self.table.levels)):
            return None
        return self.table.base(self.rows, self.task_base)

    def next_table(self, levels: Levels, form: int) -> BaseTable | None:
        """The table that both sides hold after an answer of these `levels`, coded in this form."""
        if len(self.rows) == 0:
            return None
        if form == TABLE_BASE and self.table is not None:
            return self.table.extended(self.rows, levels)
        return BaseTable.of(self.rows, levels)

    def bases(self, levels: Levels) -> Bases:
        """What levels may be coded against."""
        return Bases(self.task_base, self.table_base(levels))


def encode_answers(
    labels: Sequence[SoftLabels], codec: SoftLabelCodec, delta_bases: Sequence[DeltaBase | None]
) -> list[tuple[pb.SoftLabels, BaseTable | None]]:
    """Encode the soft labels of summaries, those of many devices together.

    Returns:
        Of each the message, which leaves out what the request says, and the table that is held from now on.
    """
    levels = codec.levels_of(labels)
    values = encode_all(levels, entropy=codec.entropy, bases=_bases(levels, delta_bases))
    return [
        (_message_of(data), _next_table(codec, delta_base, own, data[0]))
        for data, own, delta_base in zip(values, levels, delta_bases, strict=True)
    ]


class MeasuredLabels(NamedTuple):
    """What becomes of soft labels on their way.

    Attributes:
        received: As the server decodes them.
        message: As long as the one that brings them, and with nothing in it.
        table: What is held from now on.
    """

    received: SoftLabels
    message: pb.SoftLabels
    table: BaseTable | None = None


def measure_answers(
    labels: Sequence[SoftLabels], codec: SoftLabelCodec, delta_bases: Sequence[DeltaBase | None]
) -> list[MeasuredLabels]:
    """What `encode_answers` sends and the server decodes, without the bytes."""
    levels = codec.levels_of(labels)
    coded = codings(levels, entropy=codec.entropy, bases=_bases(levels, delta_bases))
    received = soft_labels_of(levels)
    return [
        MeasuredLabels(said, _message_of(bytes(one.bytes)), _next_table(codec, delta_base, own, one.form))
        for said, one, own, delta_base in zip(received, coded, levels, delta_bases, strict=True)
    ]


def _message_of(values: bytes) -> pb.SoftLabels:
    return pb.SoftLabels(encoding=pb.SOFT_LABEL_ENCODING_LEVELS, values=values)


def _bases(levels: Sequence[Levels], delta_bases: Sequence[DeltaBase | None]) -> list[Bases]:
    return [
        NO_BASES if delta_base is None else delta_base.bases(own)
        for own, delta_base in zip(levels, delta_bases, strict=True)
    ]


def _next_table(
    codec: SoftLabelCodec, delta_base: DeltaBase | None, levels: Levels, form: int
) -> BaseTable | None:
    return delta_base.next_table(levels, form) if delta_base is not None and codec.delta else None


@dataclass(frozen=True, eq=False)
class CodedAnswer:
    """The soft labels of a summary, as they came.

    Attributes:
        message: What `encode_answers` made.
        codec: The one that was asked for.
        delta_base: What they may be coded against.
        rows: How many there are to be.
        classes: Of how many classes.
        field: Their place, for errors.
    """

    message: pb.SoftLabels
    codec: SoftLabelCodec
    delta_base: DeltaBase | None
    rows: int
    classes: int
    field: str

    def coded(self) -> CodedLevels:
        """Their codes; raises WireError where the message says what it is to leave out."""
        for name in ("rows", "classes", "k", "bits", "grid", "indices"):
            if getattr(self.message, name):
                raise WireError(f"{self.field}.{name}", "not left out, though the request says it")
        shape, bases = self.codec.shape(self.rows, self.classes), NO_BASES
        if self.delta_base is not None:
            table_base = self.delta_base.table_base()
            fits = table_base is not None and shape.fits(table_base)
            bases = Bases(self.delta_base.task_base, table_base if fits else None)
        return CodedLevels(self.message.values, shape, f"{self.field}.values", bases)

    def table_after(self, levels: Levels) -> BaseTable | None:
        """The table that is held from now on."""
        return _next_table(self.codec, self.delta_base, levels, self.message.values[0])


ReceivedLabels = tuple[SoftLabels, BaseTable | None]


def decode_answers(answers: Sequence[CodedAnswer]) -> list[ReceivedLabels | WireError]:
    """Decode the soft labels of many summaries.

    Returns:
        Of each the soft labels, and the table that is held from now on; or why it is not such an answer:
        MissingBase where it is coded against a base that this side does not hold, else a WireError whose
        field starts with the answer's.
    """
    results: list[ReceivedLabels | WireError | None] = [None] * len(answers)
    coded: dict[int, CodedLevels] = {}
    for place, answer in enumerate(answers):
        try:
            coded[place] = answer.coded()
        except WireError as error:
            results[place] = error
    good: dict[int, Levels] = {}
    for place, levels in zip(coded, decode_all(list(coded.values())), strict=True):
        if isinstance(levels, WireError):
            results[place] = levels
        else:
            good[place] = levels
    for (place, levels), labels in zip(good.items(), soft_labels_of(list(good.values())), strict=True):
        results[place] = labels, answers[place].table_after(levels)
    return [result for result in results if result is not None]

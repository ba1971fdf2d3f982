"""Soft labels of a summary, coded as the difference from levels that both sides hold: the delta base.

There are two: the soft labels that the task itself carries (see codec/task_base.py), and what the device sent
before (see base_table.py). Both sides come to the same table after an answer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedstill_proto.arrays import BoolArray, IntArray
from fedstill_proto.errors import WireError
from fedstill_proto.soft_labels.base_table import BaseTable
from fedstill_proto.soft_labels.codec import SoftLabelCodec
from fedstill_proto.soft_labels.entropy import TABLE_BASE, decode_levels, encode_levels
from fedstill_proto.soft_labels.label_arrays import SoftLabels
from fedstill_proto.soft_labels.levels import Levels
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

    def next_table(self, levels: Levels, coded: bytes) -> BaseTable | None:
        """The table that both sides hold after an answer of these `levels`, whose bytes are `coded`."""
        if len(self.rows) == 0:
            return None
        if coded[0] == TABLE_BASE and self.table is not None:
            return self.table.extended(self.rows, levels)
        return BaseTable.of(self.rows, levels)


def encode_answer(
    labels: SoftLabels, codec: SoftLabelCodec, delta_base: DeltaBase | None
) -> tuple[pb.SoftLabels, BaseTable | None]:
    """Encode a summary's soft labels.

    Returns:
        The message, which leaves out what the request says, and the table that is held from now on.
    """
    levels = codec.levels(labels)
    task_base, table_base = None, None
    if delta_base is not None:
        task_base, table_base = delta_base.task_base, delta_base.table_base(levels)
    values = encode_levels(levels, entropy=codec.entropy, task_base=task_base, table_base=table_base)
    message = pb.SoftLabels(encoding=pb.SOFT_LABEL_ENCODING_LEVELS, values=values)
    return message, delta_base.next_table(levels, values) if delta_base is not None and codec.delta else None


def decode_answer(
    message: pb.SoftLabels,
    codec: SoftLabelCodec,
    delta_base: DeltaBase | None,
    *,
    rows: int,
    classes: int,
    field: str,
) -> tuple[SoftLabels, BaseTable | None]:
    """Decode what `encode_answer` made of `rows` soft labels of `classes` classes.

    Raises:
        MissingBase: The answer is coded against a base that this side does not hold.
        WireError: The message is not such an answer; its field starts with `field`.
    """
    for name in ("rows", "classes", "k", "bits", "grid", "indices"):
        if getattr(message, name):
            raise WireError(f"{field}.{name}", "not left out, though the request says it")
    shape = codec.shape(rows, classes)
    task_base, table_base = None, None
    if delta_base is not None:
        task_base, table_base = delta_base.task_base, delta_base.table_base()
        table_base = table_base if table_base is not None and shape.fits(table_base) else None
    levels = decode_levels(
        message.values, shape, field=f"{field}.values", task_base=task_base, table_base=table_base
    )
    table = delta_base.next_table(levels, message.values) if delta_base is not None and codec.delta else None
    return levels.soft_labels(), table

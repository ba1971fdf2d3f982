"""Soft labels of a summary on the wire, against what both sides hold; both come to the same table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedstill_proto.arrays import BoolArray, IntArray
from fedstill_proto.errors import WireError
from fedstill_proto.soft_labels.base_table import AnswerTable
from fedstill_proto.soft_labels.codec import SoftLabelCodec
from fedstill_proto.soft_labels.entropy import OWN_BASE, decode_levels, encode_levels
from fedstill_proto.soft_labels.label_arrays import SoftLabels
from fedstill_proto.soft_labels.levels import Levels
from fedstill_proto.v1 import fedstill_pb2 as pb


@dataclass(frozen=True, eq=False)
class Bases:
    """What an answer may be coded against.

    rows: the public rows that are asked for [n]; empty where classes are.
    offered: soft labels of these rows, of the task.
    held: what the device said before.
    """

    rows: IntArray
    offered: Levels | None = None
    held: AnswerTable | None = None

    def of(self, answered: BoolArray | None) -> Bases:
        """For an answer to some of the rows."""
        if answered is None:
            return self
        chosen = np.flatnonzero(answered)
        offered = None if self.offered is None else self.offered.of_rows(chosen)
        return Bases(self.rows[chosen], offered, self.held)

    def own(self, like: Levels | None = None) -> Levels | None:
        """The device's last word on these rows, with the task's on those that it said nothing of."""
        if self.held is None or (like is not None and not like.is_like(self.held.levels)):
            return None
        return self.held.base(self.rows, self.offered)

    def table(self, levels: Levels, coded: bytes) -> AnswerTable | None:
        """What is held after this answer."""
        if len(self.rows) == 0:
            return None
        if coded[0] == OWN_BASE and self.held is not None:
            return self.held.extended(self.rows, levels)
        return AnswerTable.of(self.rows, levels)


def encode_answer(
    labels: SoftLabels, codec: SoftLabelCodec, bases: Bases | None
) -> tuple[pb.SoftLabels, AnswerTable | None]:
    """The message, which leaves out what the request says, and what is held from now on."""
    levels = codec.levels(labels)
    offered, own = (None, None) if bases is None else (bases.offered, bases.own(levels))
    values = encode_levels(levels, entropy=codec.entropy, offered=offered, own=own)
    message = pb.SoftLabels(encoding=pb.SOFT_LABEL_ENCODING_LEVELS, values=values)
    return message, bases.table(levels, values) if bases is not None and codec.delta else None


def decode_answer(
    message: pb.SoftLabels, codec: SoftLabelCodec, bases: Bases | None, *, rows: int, classes: int, field: str
) -> tuple[SoftLabels, AnswerTable | None]:
    """Raises WireError, and NeedsWhole for an answer against what is not held here."""
    for name in ("rows", "classes", "k", "bits", "grid", "indices"):
        if getattr(message, name):
            raise WireError(f"{field}.{name}", "not left out, though the request says it")
    shape = codec.shape(rows, classes)
    offered, own = None, None
    if bases is not None:
        offered, own = bases.offered, bases.own()
        own = own if own is not None and shape.fits(own) else None
    levels = decode_levels(message.values, shape, field=f"{field}.values", offered=offered, own=own)
    table = bases.table(levels, message.values) if bases is not None and codec.delta else None
    return levels.soft_labels(), table

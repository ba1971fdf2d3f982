"""The fleet's soft labels in a task, coded against those that the device was told in an earlier round.

They change little from round to round, and what did not change costs nearly nothing. The device keeps the
levels of the last rounds that it did. The task names one of these rounds; its codes begin with a digest of
the levels that they are against. A device that does not hold just these refuses the task for its missing
base, and the server sends it whole: nothing is ever decoded wrong.

Text, of which a public row has a soft label at each place, travels whole.
"""

from __future__ import annotations

from collections.abc import Callable

from fedstill_proto.codec.public_rows import decode_rows, encode_rows
from fedstill_proto.errors import WireError
from fedstill_proto.messages import PublicSoftLabels, SoftTargets
from fedstill_proto.soft_labels.base_table import BaseTable
from fedstill_proto.soft_labels.codec import (
    Encoding,
    SoftLabelCodec,
    levels_of_message,
    message_of_levels,
)
from fedstill_proto.soft_labels.entropy import TABLE_BASE, MissingBase, encode_levels
from fedstill_proto.soft_labels.levels import Levels
from fedstill_proto.v1 import fedstill_pb2 as pb

KEPT_ROUNDS = 4
"""A device keeps what it was told in so many rounds: the server may not have got its last answers."""

OLDEST_ROUNDS = 32
"""A server names no round that is longer ago: it keeps what it told in so many."""

ToldTables = Callable[[str, int], BaseTable | None]
"""What this side holds of the soft labels that a run told in a round; None where it does not."""


def levels_told(targets: PublicSoftLabels, codec: SoftLabelCodec) -> Levels:
    """The targets as LEVELS of the codec: those that they were made as, where these fit."""
    levels = targets.levels
    if levels is not None and codec.shape(levels.rows, levels.classes).fits(levels):
        return levels
    return codec.levels(targets.soft_labels)


def table_told(targets: SoftTargets | None, codec: SoftLabelCodec | None = None) -> BaseTable | None:
    """What both sides hold of a task's soft labels; None where later ones cannot be coded against it.

    Args:
        targets: The soft labels.
        codec: How the server codes them; None where they were decoded.
    """
    if not isinstance(targets, PublicSoftLabels) or targets.soft_labels.rows != len(targets.public_rows):
        return None
    if codec is None:
        return None if targets.levels is None else BaseTable.of(targets.public_rows, targets.levels)
    if codec.encoding is not Encoding.LEVELS or not codec.delta or len(targets.public_rows) == 0:
        return None
    return BaseTable.of(targets.public_rows, levels_told(targets, codec))


def code_against(
    table: BaseTable, base_round: int, targets: PublicSoftLabels, levels: Levels
) -> pb.PublicSoftLabels | None:
    """The targets, coded against what was told in a round; None where that round says nothing of a row."""
    base = table.base(targets.public_rows, None)
    if base is None or not levels.is_like(base):
        return None
    values = encode_levels(levels, entropy=True, table_base=base)
    if values[0] != TABLE_BASE:
        return None
    message = pb.PublicSoftLabels(base_round=base_round, soft_labels=message_of_levels(levels, values=values))
    if targets.public_rows.tolist() != table.rows.tolist():
        encode_rows(targets.public_rows, message)
    return message


def make_whole(message: pb.RoundTask, told: ToldTables | None) -> None:
    """Decode soft labels that are coded against an earlier round, and put them whole in their place.

    Raises:
        MissingBase: This side does not hold what they are coded against.
        WireError: They are no such soft labels.
    """
    public, place = message.soft_targets.public_set, "soft_targets.public_set"
    if not public.base_round:
        return
    table = None if told is None else told(message.run, public.base_round)
    if table is None:
        problem = f"coded against what round {public.base_round} told, which is not held here; send it whole"
        raise MissingBase(f"{place}.base_round", problem)
    rows = decode_rows(public, place=place)
    listed = len(rows) > 0
    base = table.base(rows, None) if listed else table.levels
    if public.soft_labels.values[:1] != bytes([TABLE_BASE]):
        raise WireError(f"{place}.base_round", f"{public.base_round}, but its soft labels are whole")
    levels = levels_of_message(public.soft_labels, field=f"{place}.soft_labels", table_base=base)
    public.base_round = 0
    public.soft_labels.CopyFrom(message_of_levels(levels, entropy=False))
    if not listed:
        encode_rows(table.rows, public)

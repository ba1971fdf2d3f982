"""Levels as bytes: a first byte that says how the rest is coded, then that.

    0  plain bits (see bit_packing.py)
    1  entropy coded by itself (see entropy_model.py and range_coder.py)
    2  entropy coded against the soft labels of the task
    3  entropy coded against what the sender sent last (see base_table.py): the beginning of the base's
       digest, then the codes

The writer takes the shortest. There is one way to write levels down with each first byte, and a reader
refuses any other bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.soft_labels.bit_packing import pack, packed_bytes, unpack
from fedstill_proto.soft_labels.entropy_model import (
    LevelShape,
    StackRows,
    SymbolReader,
    SymbolWriter,
    code_levels,
)
from fedstill_proto.soft_labels.label_arrays import together_in_parts
from fedstill_proto.soft_labels.levels import Levels, joined_levels
from fedstill_proto.soft_labels.range_coder import Undecodable, range_decoder, range_encoder

PLAIN, ENTROPY, TASK_BASE, TABLE_BASE = range(4)
# Two bases of one round have the same beginning of a digest once in 2**32, as a damaged message does.
TABLE_NAME_BYTES = 4
_CODES_TOGETHER = 1 << 18


class MissingBase(WireError):
    """Levels that are coded against a base which this side does not hold."""


class Bases(NamedTuple):
    """What the levels of one device may be coded against, of the same shape.

    Attributes:
        task: Made of the task's soft labels.
        table: What the sender sent last.
    """

    task: Levels | None = None
    table: Levels | None = None


NO_BASES = Bases()


def encode_levels(
    levels: Levels, *, entropy: bool, task_base: Levels | None = None, table_base: Levels | None = None
) -> bytes:
    """Encode levels against `table_base`, else against `task_base`, else against nothing.

    Args:
        levels: What is encoded.
        entropy: Whether to code the entropy; else plain bits are written, as they are where that is shorter.
        task_base: Levels of the same shape, made of the task's soft labels.
        table_base: Levels of the same shape, which the sender sent last.
    """
    return encode_all([levels], entropy=entropy, bases=[Bases(task_base, table_base)])[0]


def encode_all(
    levels: Sequence[Levels], *, entropy: bool, bases: Sequence[Bases] | None = None
) -> list[bytes]:
    """Encode the levels of many devices: of each the bytes of `encode_levels`, in far less time.

    Args:
        levels: Those of each device; they may differ in their rows only.
        entropy: Whether to code the entropy.
        bases: Those of each device; none by default.
    """
    if not entropy:
        return [bytes([PLAIN]) + pack(one) for one in levels]
    data = _entropy_coded(levels, [NO_BASES] * len(levels) if bases is None else bases)
    for place, one in enumerate(levels):
        if len(data[place]) > packed_bytes(LevelShape.of(one)):
            data[place] = bytes([PLAIN]) + pack(one)
    return data


class Coding(NamedTuple):
    """How levels are written: in which form (see above), in how many bytes."""

    form: int
    bytes: int


def codings(levels: Sequence[Levels], *, entropy: bool, bases: Sequence[Bases] | None = None) -> list[Coding]:
    """How `encode_all` writes each, without plain bits being made."""
    plain = [Coding(PLAIN, 1 + packed_bytes(LevelShape.of(one))) for one in levels]
    if not entropy:
        return plain
    data = _entropy_coded(levels, [NO_BASES] * len(levels) if bases is None else bases)
    coded = [Coding(one[0], len(one)) for one in data]
    return [min(both, key=lambda one: one.bytes) for both in zip(plain, coded, strict=True)]


def _entropy_coded(levels: Sequence[Levels], bases: Sequence[Bases]) -> list[bytes]:
    """Each with its first byte, however long it is."""
    data: list[bytes] = [b""] * len(levels)
    starts, against = [], []
    for own in bases:
        base = own.task if own.table is None else own.table
        against.append(base)
        form = ENTROPY if base is None else TASK_BASE if own.table is None else TABLE_BASE
        starts.append(bytes([form]) + (b"" if own.table is None else own.table.digest()[:TABLE_NAME_BYTES]))
    sizes, kinds = [one.codes.size for one in levels], [one is not None for one in against]
    for places in together_in_parts(sizes, kinds, numbers=_CODES_TOGETHER):
        encoders = [range_encoder() for _ in places]
        together = [base for place in places if (base := against[place]) is not None]
        code_levels(
            SymbolWriter(encoders),
            LevelShape.of(levels[places[0]]),
            StackRows.of([levels[place].rows for place in places]),
            joined_levels([levels[place] for place in places]),
            joined_levels(together) if together else None,
        )
        for place, encoder in zip(places, encoders, strict=True):
            data[place] = starts[place] + encoder.finish()
    return data


@dataclass(frozen=True, eq=False)
class CodedLevels:
    """What `encode_levels` made of levels of a shape.

    Attributes:
        data: The bytes.
        shape: The shape.
        field: Their place, for errors.
        bases: Those that this side holds.
    """

    data: bytes
    shape: LevelShape
    field: str
    bases: Bases = NO_BASES

    def opened(self) -> tuple[bytes, Levels | None]:
        """The bytes without what comes before the codes, and the base of the codes; raises WireError."""
        data, field, limit = self.data, self.field, packed_bytes(self.shape)
        if not data:
            raise WireError(field, "empty; its first byte says how the rest is coded")
        form, body = data[0], data[1:]
        if len(body) > limit:
            raise WireError(field, f"{len(data)} bytes, more than {limit + 1} in plain bits")
        if form > TABLE_BASE:
            raise WireError(field, f"coded in form {form}, which this version does not know")
        if form == TASK_BASE and self.bases.task is None:
            raise WireError(field, "coded against a base, but none was offered")
        if form != TABLE_BASE:
            return body, self.bases.task if form == TASK_BASE else None
        name, body = body[:TABLE_NAME_BYTES], body[TABLE_NAME_BYTES:]
        if self.bases.table is None or self.bases.table.digest()[:TABLE_NAME_BYTES] != name:
            raise MissingBase(field, f"coded against {name.hex()}, which is not held here; send it whole")
        return body, self.bases.table

    def refused(self) -> WireError:
        """The error for a body that nobody writes."""
        return WireError(self.field, "bytes that stand for no soft labels of this shape")


def decode_levels(
    data: bytes,
    shape: LevelShape,
    *,
    field: str,
    task_base: Levels | None = None,
    table_base: Levels | None = None,
) -> Levels:
    """Decode what `encode_levels` made of levels of this shape; the bases are those that this side holds.

    Raises:
        MissingBase: The levels are coded against another table than this side holds.
        WireError: Nobody writes such bytes for levels of this shape; it names `field`.
    """
    levels = decode_all([CodedLevels(data, shape, field, Bases(task_base, table_base))])[0]
    if isinstance(levels, WireError):
        raise levels
    return levels


def decode_all(coded: Sequence[CodedLevels]) -> list[Levels | WireError]:
    """Decode the levels of many devices: of each what `decode_levels` returns, or its error."""
    results: list[Levels | WireError] = [one.refused() for one in coded]
    bodies: dict[int, tuple[bytes, Levels | None]] = {}
    for place, one in enumerate(coded):
        try:
            body, base = one.opened()
            if one.data[0] == PLAIN:
                results[place] = unpack(body, one.shape)
            else:
                bodies[place] = body, base
        except Undecodable:
            pass
        except InvalidValue as error:
            results[place] = WireError(one.field, error.problem)
        except WireError as error:
            results[place] = error
    chosen = list(bodies)
    kinds = [(replace(coded[place].shape, rows=0), bodies[place][1] is None) for place in chosen]
    sizes = [coded[place].shape.codes for place in chosen]
    for part in together_in_parts(sizes, kinds, numbers=_CODES_TOGETHER):
        places = [chosen[number] for number in part]
        shape = coded[places[0]].shape
        bases = [base for place in places if (base := bodies[place][1]) is not None]
        levels = _read(
            [bodies[place][0] for place in places],
            shape,
            StackRows.of([coded[place].shape.rows for place in places]),
            joined_levels(bases) if bases else None,
        )
        for place, one_read in zip(places, levels, strict=True):
            if isinstance(one_read, Levels):
                results[place] = one_read
            elif one_read is not None:
                results[place] = WireError(coded[place].field, one_read.problem)
    return results


def _read(
    bodies: Sequence[bytes], shape: LevelShape, rows: StackRows, base: Levels | None
) -> list[Levels | InvalidValue | None]:
    """The levels of each device; None where nobody writes its bytes, or what is wrong with the levels."""
    reader = SymbolReader([range_decoder(body) for body in bodies], [range_encoder() for _ in bodies])
    together = code_levels(reader, shape, rows, None, base)
    good = reader.finish(bodies)
    parts = together.split(rows.counts.tolist())
    if good.all() and _is_valid(together):
        return list(parts)
    levels: list[Levels | InvalidValue | None] = [None] * len(bodies)
    for device in np.flatnonzero(good):
        try:
            levels[device] = parts[device].checked()
        except InvalidValue as error:
            levels[device] = error
    return levels


def _is_valid(levels: Levels) -> bool:
    try:
        levels.checked()
    except InvalidValue:
        return False
    return True

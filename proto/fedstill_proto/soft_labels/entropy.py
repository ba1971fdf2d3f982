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

from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.soft_labels.bit_packing import pack, packed_bytes, unpack
from fedstill_proto.soft_labels.entropy_model import LevelShape, SymbolReader, SymbolWriter, code_levels
from fedstill_proto.soft_labels.levels import Levels
from fedstill_proto.soft_labels.range_coder import Undecodable, range_decoder, range_encoder

PLAIN, ENTROPY, TASK_BASE, TABLE_BASE = range(4)
# Two bases of one round have the same beginning of a digest once in 2**32, as a damaged message does.
TABLE_NAME_BYTES = 4


class MissingBase(WireError):
    """Levels that are coded against a base which this side does not hold."""


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
    plain = bytes([PLAIN]) + pack(levels)
    if not entropy:
        return plain
    start, base = bytes([ENTROPY]), None
    if table_base is not None:
        start, base = bytes([TABLE_BASE]) + table_base.digest()[:TABLE_NAME_BYTES], table_base
    elif task_base is not None:
        start, base = bytes([TASK_BASE]), task_base
    encoder = range_encoder()
    code_levels(SymbolWriter(encoder), LevelShape.of(levels), levels, base)
    coded = start + encoder.finish()
    return coded if len(coded) < len(plain) else plain


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
    if not data:
        raise WireError(field, "empty; its first byte says how the rest is coded")
    form, body = data[0], data[1:]
    if len(body) > packed_bytes(shape):
        raise WireError(field, f"{len(data)} bytes, more than {packed_bytes(shape) + 1} in plain bits")
    if form > TABLE_BASE:
        raise WireError(field, f"coded in form {form}, which this version does not know")
    if form == TASK_BASE and task_base is None:
        raise WireError(field, "coded against a base, but none was offered")
    if form == TABLE_BASE:
        name, body = body[:TABLE_NAME_BYTES], body[TABLE_NAME_BYTES:]
        if table_base is None or table_base.digest()[:TABLE_NAME_BYTES] != name:
            raise MissingBase(field, f"coded against {name.hex()}, which is not held here; send it whole")
    base = {TASK_BASE: task_base, TABLE_BASE: table_base}.get(form)
    try:
        return unpack(body, shape) if form == PLAIN else _read(body, shape, base)
    except Undecodable:
        raise WireError(field, "bytes that stand for no soft labels of this shape") from None
    except InvalidValue as error:
        raise WireError(field, error.problem) from None


def _read(body: bytes, shape: LevelShape, base: Levels | None) -> Levels:
    copy = range_encoder()
    levels = code_levels(SymbolReader(range_decoder(body), copy), shape, None, base)
    if copy.finish() != body:
        raise Undecodable
    return levels

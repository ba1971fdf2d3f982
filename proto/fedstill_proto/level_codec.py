"""Levels as bytes: a first byte that says how the rest is coded, then that.

    0  plain bits (see level_packing.py)
    1  entropy coded by itself (see level_model.py and range_coder.py)
    2  entropy coded against the base that the receiver offered

The writer takes the shortest. There is one way to write levels down with each first byte, and a reader
refuses any other bytes.
"""

from __future__ import annotations

from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.level_model import LevelShape, Pen, Reader, walk
from fedstill_proto.level_packing import pack, packed_bytes, unpack
from fedstill_proto.levels import Levels
from fedstill_proto.range_coder import NotCoded, range_decoder, range_encoder

PLAIN, ENTROPY, OFFERED_BASE = range(3)


def encode_levels(levels: Levels, *, entropy: bool, offered: Levels | None = None) -> bytes:
    """The shortest of the ways that are open; `offered` is a base of the same shape."""
    plain = bytes([PLAIN]) + pack(levels)
    if not entropy:
        return plain
    form, base = (ENTROPY, None) if offered is None else (OFFERED_BASE, offered)
    encoder = range_encoder()
    walk(Pen(encoder), LevelShape.of(levels), levels, base)
    coded = bytes([form]) + encoder.finish()
    return coded if len(coded) < len(plain) else plain


def decode_levels(data: bytes, shape: LevelShape, *, field: str, offered: Levels | None = None) -> Levels:
    """Raises WireError, which names `field`, for bytes that nobody writes for levels of this shape."""
    if not data:
        raise WireError(field, "empty; its first byte says how the rest is coded")
    form, body = data[0], data[1:]
    if len(body) > packed_bytes(shape):
        raise WireError(field, f"{len(data)} bytes, more than {packed_bytes(shape) + 1} in plain bits")
    if form > OFFERED_BASE:
        raise WireError(field, f"coded in form {form}, which this version does not know")
    if form == OFFERED_BASE and offered is None:
        raise WireError(field, "coded against a base, but none was offered")
    try:
        if form == PLAIN:
            return unpack(body, shape)
        return _read(body, shape, offered if form == OFFERED_BASE else None)
    except NotCoded:
        raise WireError(field, "bytes that stand for no soft labels of this shape") from None
    except InvalidValue as error:
        raise WireError(field, error.problem) from None


def _read(body: bytes, shape: LevelShape, base: Levels | None) -> Levels:
    copy = range_encoder()
    levels = walk(Reader(range_decoder(body), copy), shape, None, base)
    if copy.finish() != body:
        raise NotCoded
    return levels

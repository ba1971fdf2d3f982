"""Levels as bytes: a first byte that says how the rest is coded, then that.

    0  plain bits (see level_packing.py)
    1  entropy coded by itself (see level_model.py and range_coder.py)
    2  entropy coded against the base that the receiver offered
    3  entropy coded against what the sender said last (see answer_table.py): the beginning of the base's
       digest, then the codes

The writer takes the shortest. There is one way to write levels down with each first byte, and a reader
refuses any other bytes.
"""

from __future__ import annotations

from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.soft_labels.bit_packing import pack, packed_bytes, unpack
from fedstill_proto.soft_labels.entropy_model import LevelShape, Pen, Reader, walk
from fedstill_proto.soft_labels.levels import Levels
from fedstill_proto.soft_labels.range_coder import NotCoded, range_decoder, range_encoder

PLAIN, ENTROPY, OFFERED_BASE, OWN_BASE = range(4)
# Of the digest: two bases of one round are taken for the same once in 2**32, as is a damaged message.
OWN_NAME_BYTES = 4


class NeedsWhole(WireError):
    """Levels that are coded against a base which this side does not hold."""


def encode_levels(
    levels: Levels, *, entropy: bool, offered: Levels | None = None, own: Levels | None = None
) -> bytes:
    """Against the `own` base, else against the one `offered`, else against none; plain where that is shorter.

    Both are of the same shape as `levels`.
    """
    plain = bytes([PLAIN]) + pack(levels)
    if not entropy:
        return plain
    start, base = bytes([ENTROPY]), None
    if own is not None:
        start, base = bytes([OWN_BASE]) + own.digest()[:OWN_NAME_BYTES], own
    elif offered is not None:
        start, base = bytes([OFFERED_BASE]), offered
    encoder = range_encoder()
    walk(Pen(encoder), LevelShape.of(levels), levels, base)
    coded = start + encoder.finish()
    return coded if len(coded) < len(plain) else plain


def decode_levels(
    data: bytes,
    shape: LevelShape,
    *,
    field: str,
    offered: Levels | None = None,
    own: Levels | None = None,
) -> Levels:
    """Raises WireError, which names `field`, for bytes that nobody writes for levels of this shape.

    That is a NeedsWhole for levels against another base than the sender's `own` that this side holds.
    """
    if not data:
        raise WireError(field, "empty; its first byte says how the rest is coded")
    form, body = data[0], data[1:]
    if len(body) > packed_bytes(shape):
        raise WireError(field, f"{len(data)} bytes, more than {packed_bytes(shape) + 1} in plain bits")
    if form > OWN_BASE:
        raise WireError(field, f"coded in form {form}, which this version does not know")
    if form == OFFERED_BASE and offered is None:
        raise WireError(field, "coded against a base, but none was offered")
    if form == OWN_BASE:
        name, body = body[:OWN_NAME_BYTES], body[OWN_NAME_BYTES:]
        if own is None or own.digest()[:OWN_NAME_BYTES] != name:
            raise NeedsWhole(
                field, f"coded against {name.hex()}, which is not held here; it needs to be whole"
            )
    base = {OFFERED_BASE: offered, OWN_BASE: own}.get(form)
    try:
        return unpack(body, shape) if form == PLAIN else _read(body, shape, base)
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

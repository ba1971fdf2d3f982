"""Lists of bytes in one, over a pipe or in a message: each with its length before it."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from fedstill_proto.errors import WireError

_LENGTH = struct.Struct("<Q")


def to_bytes(frames: Iterable[bytes]) -> bytes:
    """Pack frames one after the other."""
    return b"".join(part for frame in frames for part in (_LENGTH.pack(len(frame)), frame))


def from_bytes(content: bytes) -> list[bytes]:
    """Read what `to_bytes` packed; raises WireError where the content ends in the middle of a frame."""
    frames, at = [], 0
    while at < len(content):
        if at + _LENGTH.size > len(content):
            raise WireError("frames", "they end within a length")
        (length,) = _LENGTH.unpack_from(content, at)
        at += _LENGTH.size
        if length > len(content) - at:
            raise WireError("frames", "they end within a frame")
        frames.append(content[at : at + length])
        at += length
    return frames

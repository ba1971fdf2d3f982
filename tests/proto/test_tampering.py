"""Bytes that are not what was encoded.

An accident does not pass: a change within 32 neighbouring bits is found for certain, any other but once in
2**32. A forgery, which brings a fitting checksum, never crashes, and passes only as a message that keeps
every rule.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from contextlib import suppress

import pytest
from fedstill_proto.codec.api import decode_summary, decode_task, encode_summary, encode_task
from fedstill_proto.errors import WireError
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec
from fedstill_proto.soft_labels.levels import Grid
from fedstill_proto.v1 import fedstill_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

from tests.proto.wire_samples import (
    FLOAT32,
    SEAL_BYTES,
    UINT8,
    class_summary,
    expected_of,
    parameter_summary,
    prototype_summary,
    public_summary,
    public_task,
    refused_field,
    sealed,
    selected_summary,
)

TOP_2 = SoftLabelCodec(Encoding.TOP_K, k=2)
LEVELS = SoftLabelCodec(Encoding.LEVELS, bits=4, grid=Grid.LOG, entropy=True)
TOP_1_LEVELS = SoftLabelCodec(Encoding.LEVELS, 1, bits=3)
SUMMARIES = [
    (class_summary(), UINT8),
    (public_summary(), TOP_2),
    (public_summary(), FLOAT32),
    (parameter_summary(), None),
    (selected_summary(), UINT8),
    (public_summary(), LEVELS),
    (class_summary(), TOP_1_LEVELS),
    (prototype_summary(), None),
]
Decode = Callable[[bytes], object]


def decoder(index: int) -> tuple[bytes, Decode]:
    """A good message, and the decode that takes it."""
    if index >= len(SUMMARIES):
        return encode_task(public_task(), codec=(UINT8, LEVELS)[index - len(SUMMARIES)]), decode_task
    summary, codec = SUMMARIES[index]
    expected = expected_of(summary, codec)
    return encode_summary(summary, codec=codec), lambda blob: decode_summary(blob, expected=expected)


MESSAGES = [decoder(index) for index in range(len(SUMMARIES) + 2)]
NAMES = ["class means", "public set, top-k", "public set, float32", "parameters", "selection"]
NAMES += ["public set, levels", "class means, levels", "prototypes", "task", "task of levels"]
each_message = pytest.mark.parametrize(("blob", "decode"), MESSAGES, ids=NAMES)


def refuse(decode: Decode, blob: bytes) -> None:
    with pytest.raises(WireError):
        decode(blob)


@each_message
def test_the_good_message_passes(blob: bytes, decode: Decode) -> None:
    decode(blob)


@each_message
def test_no_flipped_bit_passes(blob: bytes, decode: Decode) -> None:
    for bit in range(8 * len(blob)):
        mutated = bytearray(blob)
        mutated[bit // 8] ^= 1 << bit % 8
        refuse(decode, bytes(mutated))


@each_message
def test_no_piece_of_a_message_passes(blob: bytes, decode: Decode) -> None:
    for length in range(len(blob)):
        refuse(decode, blob[:length])
        refuse(decode, blob[length + 1 :])


@given(st.sampled_from(MESSAGES), st.data())
def test_no_mutated_message_passes(message: tuple[bytes, Decode], data: st.DataObject) -> None:
    blob, decode = message
    start = data.draw(st.integers(0, len(blob)))
    stop = data.draw(st.integers(start, len(blob)))
    mutated = blob[:start] + data.draw(st.binary(max_size=40)) + blob[stop:]
    if mutated != blob:
        refuse(decode, mutated)


@given(st.sampled_from(MESSAGES), st.binary(max_size=400))
def test_no_noise_passes(message: tuple[bytes, Decode], noise: bytes) -> None:
    _, decode = message
    refuse(decode, noise)
    refuse(decode, sealed(noise))


@given(st.sampled_from(MESSAGES), st.integers(1, 1 << 16))
def test_no_oversized_message_passes(message: tuple[bytes, Decode], extra: int) -> None:
    blob, decode = message
    refuse(decode, blob + bytes(extra))
    refuse(decode, sealed(blob[:-SEAL_BYTES] + bytes(extra)))


@given(st.sampled_from(MESSAGES), st.data())
def test_a_forgery_keeps_every_rule_or_is_refused(message: tuple[bytes, Decode], data: st.DataObject) -> None:
    blob, decode = message
    body = bytearray(blob[:-SEAL_BYTES])
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    with suppress(WireError):
        assert decode(sealed(bytes(body))) is not None


@pytest.mark.parametrize(
    "extra",
    [
        b"\xf8\x01\x00",  # field 31, a varint
        b"\x18\x03",  # `round` once more
        b"\x32\x00",  # an empty `statistics`, merged into the first
        b"\x32\x03\xf8\x01\x00",  # field 31 inside `statistics`
        b"\x38\x00",  # field 7, which no version has used
        b"\x7d\x00\x00\x00\x00",  # a second checksum
    ],
)
def test_bytes_that_add_nothing_known_are_refused(extra: bytes) -> None:
    blob, decode = MESSAGES[0]
    forged = sealed(blob[:-SEAL_BYTES] + extra)
    assert refused_field(lambda: decode(forged)) == "SoftLabelSummary"


def test_a_sealed_message_is_ordinary_protobuf() -> None:
    blob, _ = MESSAGES[0]
    message = pb.SoftLabelSummary.FromString(blob)
    assert message.checksum == zlib.crc32(blob[:-SEAL_BYTES])
    assert message.SerializeToString() == blob

"""Which rows of the public set a message is about: a list, or a bit for each row where that is shorter."""

from __future__ import annotations

import numpy as np

from fedstill_proto.arrays import IntArray
from fedstill_proto.errors import WireError
from fedstill_proto.v1 import fedstill_pb2 as pb

_LEAST_ROWS = 64  # a list of fewer is short, too
_MOST_BYTES = 1 << 20  # of bits: eight million rows


def encode_rows(rows: IntArray, into: pb.PublicSoftLabels | pb.SummaryRequest) -> None:
    """Write rows [n] into a message, in the form that is shorter: a number in a list takes a byte or more."""
    increase = bool((rows[1:] > rows[:-1]).all())
    if len(rows) >= _LEAST_ROWS and increase and int(rows[-1]) // 8 < min(len(rows), _MOST_BYTES):
        bits = np.zeros(int(rows[-1]) + 1, np.uint8)
        bits[rows] = 1
        into.row_bits = np.packbits(bits, bitorder="little").tobytes()
    else:
        into.public_rows.extend(rows.tolist())


def decode_rows(message: pb.PublicSoftLabels | pb.SummaryRequest, *, place: str) -> IntArray:
    """The rows [n] of a message; raises WireError, naming the field below `place`."""
    bits = message.row_bits
    if not bits:
        return np.array(message.public_rows, np.int64)
    if message.public_rows:
        raise WireError(f"{place}.row_bits", "beside a list of rows")
    if len(bits) > _MOST_BYTES or bits[-1] == 0:
        problem = f"{len(bits)} bytes, more than {_MOST_BYTES}" if bits[-1] else "end in a byte without a row"
        raise WireError(f"{place}.row_bits", problem)
    return np.flatnonzero(np.unpackbits(np.frombuffer(bits, np.uint8), bitorder="little")).astype(np.int64)

"""Tasks and summaries to bytes and back: what server and devices call.

Decoding checks in this order: size, checksum, protobuf, unknown fields, version, then every field. It raises
WireError with the name of the field that it cannot accept, and nothing else, whatever the bytes are.
"""

from __future__ import annotations

from fedstill_proto.codec.summary_codec import Expected, decode_summaries, decode_summary, encode_summary
from fedstill_proto.codec.task_codec import decode_task, encode_task
from fedstill_proto.message_pieces import TASK_LIMIT_BYTES

__all__ = [
    "TASK_LIMIT_BYTES",
    "Expected",
    "decode_summaries",
    "decode_summary",
    "decode_task",
    "encode_summary",
    "encode_task",
]

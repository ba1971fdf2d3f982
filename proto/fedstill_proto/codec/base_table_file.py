"""Answer tables on disk: what a server keeps of its devices, and a device of its own rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedstill_proto.checks import check_name
from fedstill_proto.codec.envelope import open_sealed, seal
from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.messages import PROTOCOL_VERSION
from fedstill_proto.soft_labels.base_table import AnswerTable
from fedstill_proto.soft_labels.codec import levels_of_message, message_of_levels
from fedstill_proto.v1 import fedstill_pb2 as pb

LIMIT_BYTES = 1 << 30


@dataclass(frozen=True, eq=False)
class HeldAnswer:
    """What a device had said of public rows by a round of a run, which may be left out."""

    run: str
    device: str
    round: int
    table: AnswerTable


def encode_held(answers: Sequence[HeldAnswer]) -> bytes:
    message = pb.HeldAnswers(
        protocol_version=PROTOCOL_VERSION,
        answers=(
            pb.HeldAnswer(
                run=one.run,
                device=one.device,
                round=one.round,
                public_rows=one.table.rows.tolist(),
                soft_labels=message_of_levels(one.table.levels, entropy=False),
            )
            for one in answers
        ),
    )
    return seal(message)


def decode_held(blob: bytes) -> list[HeldAnswer]:
    """Raises WireError, naming the field, for what `encode_held` never writes."""
    message = open_sealed(blob, pb.HeldAnswers(), size_limit_bytes=LIMIT_BYTES)
    return [_decoded(one, f"answers[{number}]") for number, one in enumerate(message.answers)]


def _decoded(message: pb.HeldAnswer, place: str) -> HeldAnswer:
    levels = levels_of_message(message.soft_labels, field=f"{place}.soft_labels")
    try:
        if message.run:
            check_name("run", message.run)
        table = AnswerTable(np.array(message.public_rows, np.int64), levels)
    except InvalidValue as error:
        raise WireError(f"{place}.{error.field}", error.problem) from None
    return HeldAnswer(message.run, message.device, message.round, table)

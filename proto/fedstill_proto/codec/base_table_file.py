"""Base tables on disk: what a server keeps of its devices, and a device of its own rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fedstill_proto.checks import check_name
from fedstill_proto.codec.envelope import open_sealed, seal
from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.messages import PROTOCOL_VERSION
from fedstill_proto.soft_labels.base_table import BaseTable
from fedstill_proto.soft_labels.codec import levels_of_message, message_of_levels
from fedstill_proto.v1 import fedstill_pb2 as pb

LIMIT_BYTES = 1 << 30


@dataclass(frozen=True, eq=False)
class StoredTable:
    """What a device had sent of public rows by a round; `run` may be empty."""

    run: str
    device: str
    round: int
    table: BaseTable


def encode_tables(tables: Sequence[StoredTable]) -> bytes:
    """Tables as the bytes of a file."""
    message = pb.StoredTables(
        protocol_version=PROTOCOL_VERSION,
        tables=(
            pb.StoredTable(
                run=stored.run,
                device=stored.device,
                round=stored.round,
                public_rows=stored.table.rows.tolist(),
                soft_labels=message_of_levels(stored.table.levels, entropy=False),
            )
            for stored in tables
        ),
    )
    return seal(message)


def decode_tables(blob: bytes) -> list[StoredTable]:
    """The tables of a file.

    Raises:
        WireError: `encode_tables` never writes such bytes; it names the field.
    """
    message = open_sealed(blob, pb.StoredTables(), size_limit_bytes=LIMIT_BYTES)
    return [_decoded(stored, f"tables[{number}]") for number, stored in enumerate(message.tables)]


def _decoded(message: pb.StoredTable, place: str) -> StoredTable:
    levels = levels_of_message(message.soft_labels, field=f"{place}.soft_labels")
    try:
        if message.run:
            check_name("run", message.run)
        table = BaseTable(np.array(message.public_rows, np.int64), levels)
    except InvalidValue as error:
        raise WireError(f"{place}.{error.field}", error.problem) from None
    return StoredTable(message.run, message.device, message.round, table)

"""What devices sent last, as the server holds it: their next answers can be coded against it.

The tables belong to a committed round, as the rest of the run's state: a run that goes on from a checkpoint
asks as it would have asked. They are of bounded size; the devices that answered longest ago are forgotten
first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from fedstill_proto.codec.base_table_file import StoredTable, decode_tables, encode_tables
from fedstill_proto.soft_labels.base_table import BaseTable

LIMIT_BYTES = 256 << 20


@dataclass(frozen=True)
class BaseTables:
    """The last round that each device answered, and its table since then; never changed in place."""

    tables: dict[str, tuple[int, BaseTable]] = field(default_factory=dict)
    limit_bytes: int = LIMIT_BYTES

    def round_of(self, device: str) -> int:
        """The round whose table is held; 0 is none."""
        return self.tables[device][0] if device in self.tables else 0

    def table_of(self, device: str) -> BaseTable | None:
        return self.tables[device][1] if device in self.tables else None

    def after(self, answered: Iterable[tuple[str, int, BaseTable]], *, mistaken: Iterable[str]) -> BaseTables:
        """The tables after a round.

        Args:
            answered: Device, round and new table of each answer.
            mistaken: Devices that turned out not to hold the same table; theirs is dropped.
        """
        tables = {device: entry for device, entry in self.tables.items() if device not in set(mistaken)}
        tables |= {device: (round_number, table) for device, round_number, table in answered}
        total = sum(table.bytes for _, table in tables.values())
        for device in sorted(tables, key=lambda name: (tables[name][0], name)):
            if total <= self.limit_bytes:
                break
            total -= tables.pop(device)[1].bytes
        return BaseTables(tables, self.limit_bytes)

    def to_bytes(self) -> bytes:
        return encode_tables(
            [StoredTable("", device, *self.tables[device]) for device in sorted(self.tables)]
        )

    @classmethod
    def from_bytes(cls, blob: bytes) -> BaseTables:
        """Raises WireError for what `to_bytes` never writes."""
        return cls({stored.device: (stored.round, stored.table) for stored in decode_tables(blob)})

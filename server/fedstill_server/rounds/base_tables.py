"""What devices sent last, and what they were told, as the server holds it: bases of what comes next.

The tables belong to a committed round, as the rest of the run's state: a run that goes on from a checkpoint
asks as it would have asked. They are of bounded size; the devices that answered longest ago are forgotten
first.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from fedstill_proto.codec.base_table_file import StoredTable, decode_tables, encode_tables
from fedstill_proto.soft_labels.base_table import BaseTable

from fedstill_server.rounds.told_labels import LastTold, ToldRounds, oldest_beyond

LIMIT_BYTES = 256 << 20


@dataclass(frozen=True)
class BaseTables:
    """The last round that each device answered, and its table since then; never changed in place.

    Attributes:
        tables: Of what devices sent, by name.
        limit_bytes: The most bytes of these.
        told: What they were told.
    """

    tables: dict[str, tuple[int, BaseTable]] = field(default_factory=dict)
    limit_bytes: int = LIMIT_BYTES
    told: ToldRounds = field(default_factory=ToldRounds)

    def round_of(self, device: str) -> int:
        """The round whose table is held; 0 is none."""
        return self.tables[device][0] if device in self.tables else 0

    def table_of(self, device: str) -> BaseTable | None:
        return self.tables[device][1] if device in self.tables else None

    def after(
        self, answered: Collection[tuple[str, int, BaseTable]], *, mistaken: Collection[str]
    ) -> BaseTables:
        """The tables after a round.

        Args:
            answered: Device, round and new table of each answer.
            mistaken: Devices that turned out not to hold the same table; theirs is dropped.
        """
        if not answered and not mistaken:
            return self
        tables = {device: entry for device, entry in self.tables.items() if device not in set(mistaken)}
        tables |= {device: (round_number, table) for device, round_number, table in answered}
        oldest_first = sorted(tables, key=lambda name: (tables[name][0], name))
        for device in oldest_beyond(self.limit_bytes, [(name, tables[name][1]) for name in oldest_first]):
            del tables[device]
        return replace(self, tables=tables)

    @property
    def empty(self) -> bool:
        return not (self.tables or self.told.tables)

    def to_bytes(self) -> bytes:
        """All tables; a round's, which was told to every device, is that of a device without a name."""
        told = [StoredTable("", "", number, self.told.tables[number]) for number in sorted(self.told.tables)]
        sent = [StoredTable("", device, *self.tables[device]) for device in sorted(self.tables)]
        return encode_tables(told + sent)

    @classmethod
    def from_bytes(cls, blob: bytes, last_told: Mapping[str, LastTold] | None = None) -> BaseTables:
        """What `to_bytes` wrote, and beside it the last round told of each device; may raise WireError."""
        every = decode_tables(blob)
        told = {stored.round: stored.table for stored in every if not stored.device}
        sent = {stored.device: (stored.round, stored.table) for stored in every if stored.device}
        return cls(sent, told=ToldRounds(told, last_told or {}))

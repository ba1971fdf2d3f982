"""What the server holds of its devices' answers, so that the next ones can be coded against them.

The tables belong to a committed round, as the rest of the run's state: a run that goes on from a checkpoint
asks as it would have asked. They are of bounded size; the devices that answered longest ago are forgotten
first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from fedstill_proto.codec.base_table_file import HeldAnswer, decode_held, encode_held
from fedstill_proto.soft_labels.base_table import AnswerTable

LIMIT_BYTES = 256 << 20


@dataclass(frozen=True)
class HeldTables:
    """Of each device, the last round that it answered, and its table since then; never changed in place."""

    tables: dict[str, tuple[int, AnswerTable]] = field(default_factory=dict)
    limit_bytes: int = LIMIT_BYTES

    def round_of(self, device: str) -> int:
        """The round whose answer is held; 0 is none."""
        return self.tables[device][0] if device in self.tables else 0

    def table_of(self, device: str) -> AnswerTable | None:
        return self.tables[device][1] if device in self.tables else None

    def after(
        self, answered: Iterable[tuple[str, int, AnswerTable]], *, mistaken: Iterable[str]
    ) -> HeldTables:
        """With what devices answered to a round, without the tables that a device did not have alike."""
        tables = {device: held for device, held in self.tables.items() if device not in set(mistaken)}
        tables |= {device: (round_number, table) for device, round_number, table in answered}
        total = sum(table.bytes for _, table in tables.values())
        for device in sorted(tables, key=lambda name: (tables[name][0], name)):
            if total <= self.limit_bytes:
                break
            total -= tables.pop(device)[1].bytes
        return HeldTables(tables, self.limit_bytes)

    def to_bytes(self) -> bytes:
        held = (HeldAnswer("", device, *self.tables[device]) for device in sorted(self.tables))
        return encode_held(list(held))

    @classmethod
    def from_bytes(cls, blob: bytes) -> HeldTables:
        """Raises WireError for what `to_bytes` never writes."""
        return cls({one.device: (one.round, one.table) for one in decode_held(blob)})

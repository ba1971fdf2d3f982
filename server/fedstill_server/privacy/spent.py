"""How often a run has asked a device: what its rounds have cost, at most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from fedstill_server.round_record import RoundRecord


def most_asked(records: Sequence[RoundRecord]) -> int:
    """Rounds of the device that may have answered most often: one that was left out counts, too.

    Who answered beyond a round's goal, or too late, has no name in its record; that may have been any device.
    """
    asked: Counter[str] = Counter()
    for record in records:
        asked.update({*record.counted, *(one.device for one in record.quarantined)})
    unnamed = sum(record.late > 0 for record in records)
    return min(max(asked.values(), default=0) + unnamed, len(records))

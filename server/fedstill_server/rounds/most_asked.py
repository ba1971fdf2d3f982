"""How often a run has asked a device: the most that its rounds can have cost one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from fedstill_server.rounds.round_record import RoundRecord


def most_asked(records: Sequence[RoundRecord]) -> int:
    """The rounds of the device that may have answered most often; one that was left out counts, too.

    A device that answered beyond a round's goal, or too late, or was not waited for, has no name in the
    round's record: where more were asked than are named, that may have been any device.
    """
    asked: Counter[str] = Counter()
    unnamed = 0
    for record in records:
        named = {*record.counted, *(entry.device for entry in record.quarantined)}
        asked.update(named)
        unnamed += record.asked > len(named)
    return min(max(asked.values(), default=0) + unnamed, len(records))

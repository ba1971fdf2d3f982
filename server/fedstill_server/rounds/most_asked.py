"""How often a run has asked a device: the most that its rounds can have cost one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from fedstill_server.config.fleet import FleetConfig
from fedstill_server.rounds.round_record import RoundRecord
from fedstill_server.rounds.run_store import RunStore


def most_releases(store: RunStore, config: FleetConfig, records: Sequence[RoundRecord]) -> int:
    """The releases that a run can have cost one device: by its account, where the server keeps one.

    Args:
        store: The run's.
        config: What the run does.
        records: Its rounds.
    """
    if config.privacy is not None and config.privacy.mode == "central":
        return store.account(config.run).most_asked()
    return most_asked(records)


def most_asked(records: Sequence[RoundRecord]) -> int:
    """The rounds of the device that may have answered most often, in all of these."""
    counts = AskedCounts()
    for record in records:
        counts.add(record)
    return counts.most


class AskedCounts:
    """How often each device may have answered; one that was left out counts, too.

    A device that answered beyond a round's goal, or too late, or was not waited for, has no name in the
    round's record: where more were asked than are named, that may have been any device.
    """

    def __init__(self) -> None:
        self._asked: Counter[str] = Counter()
        self._unnamed = self._rounds = 0

    def add(self, record: RoundRecord) -> None:
        """Count a round more."""
        named = {*record.counted, *(entry.device for entry in record.quarantined)}
        self._asked.update(named)
        self._unnamed += record.asked > len(named)
        self._rounds += 1

    @property
    def most(self) -> int:
        """The rounds of the device that may have answered most often."""
        return min(max(self._asked.values(), default=0) + self._unnamed, self._rounds)

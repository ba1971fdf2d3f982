"""What the server told in earlier rounds, and which of them each device still knows: bases of its next task.

A round's soft labels are the same for all devices, so the server keeps them once a round. A device keeps
those of the last few tasks that it did; which the server got an answer to, it knows. So a task is coded
against the round that the device answered last, and whole for a newcomer, for one that has been asked too
often since without an answer, and where that round is too long ago.

All of it belongs to a committed round, as the rest of the run's state.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from fedstill_proto.codec.told_labels import KEPT_ROUNDS, OLDEST_ROUNDS
from fedstill_proto.soft_labels.base_table import BaseTable

LIMIT_BYTES = 16 << 20

_Key = TypeVar("_Key")


def oldest_beyond(limit_bytes: int, oldest_first: Sequence[tuple[_Key, BaseTable]]) -> list[_Key]:
    """The tables that have to go, so that the others are within a limit together."""
    total, beyond = sum(table.bytes for _, table in oldest_first), []
    for key, table in oldest_first:
        if total <= limit_bytes:
            break
        total -= table.bytes
        beyond.append(key)
    return beyond


@dataclass(frozen=True)
class LastTold:
    """The round that a device answered last, and how many tasks it was sent since that it has not."""

    round: int
    unanswered: int = 0


@dataclass(frozen=True)
class ToldRounds:
    """Soft labels by round, and the last round of each device by name; never changed in place."""

    tables: Mapping[int, BaseTable] = field(default_factory=dict)
    devices: Mapping[str, LastTold] = field(default_factory=dict)
    limit_bytes: int = LIMIT_BYTES

    def base_of(self, device: str) -> int:
        """The round whose soft labels a task for the device can be coded against; 0 is none."""
        last = self.devices.get(device)
        if last is None or last.unanswered >= KEPT_ROUNDS or last.round not in self.tables:
            return 0
        return last.round

    def told(self, round_number: int, table: BaseTable | None) -> ToldRounds:
        """With what a round tells; None where nothing can be coded against it."""
        if table is None:
            return self
        tables = {
            number: kept for number, kept in self.tables.items() if number > round_number - OLDEST_ROUNDS
        }
        tables[round_number] = table
        for number in oldest_beyond(
            self.limit_bytes, [(number, tables[number]) for number in sorted(tables)]
        ):
            del tables[number]
        return replace(self, tables=tables)

    def answered(
        self, answers: Iterable[tuple[str, int]], *, asked: Collection[str], now: int, mistaken: Iterable[str]
    ) -> ToldRounds:
        """After answers, each of a device to the task of a round.

        Args:
            answers: Device and round of each.
            asked: The devices that got the task of round `now` since.
            now: That round.
            mistaken: Devices that turned out not to know what they were told.
        """
        devices = dict(self.devices)
        # Rounds that told nothing to code against, of weights say, leave things as they are.
        devices |= {device: LastTold(number) for device, number in answers if number in self.tables}
        for device in asked if now in self.tables else ():
            if device in devices and devices[device].round != now:
                devices[device] = replace(devices[device], unanswered=devices[device].unanswered + 1)
        for device in mistaken:
            devices.pop(device, None)
        return replace(self, devices=devices)

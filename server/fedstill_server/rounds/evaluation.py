"""The counts that devices send when they measure their students, and the accuracies that they give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fedstill_proto.errors import WireError
from fedstill_proto.flower_records import RECORD
from flwr.app import MetricRecord, RecordDict

from fedstill_server.rounds.round_record import DeviceAccuracy

_FIELDS = ("personal_correct", "personal_examples", "global_correct", "global_examples")


@dataclass(frozen=True)
class CorrectCounts:
    """Correct answers and examples: on the device's own test set, and on everyone's."""

    personal_correct: int
    personal_examples: int
    global_correct: int
    global_examples: int

    def accuracy(self) -> DeviceAccuracy:
        """Both as shares; None where there are no examples."""
        return DeviceAccuracy(
            personal=_ratio(self.personal_correct, self.personal_examples),
            everyone=_ratio(self.global_correct, self.global_examples),
        )


def read_counts(content: RecordDict) -> CorrectCounts:
    """Read the counts of a reply; raises WireError, naming the field."""
    record = content.get(RECORD)
    if not isinstance(record, MetricRecord):
        raise WireError(RECORD, "the message holds no metric record of this name")
    values = [record.get(name) for name in _FIELDS]
    for name, value in zip(_FIELDS, values, strict=True):
        if type(value) is not int or not 0 <= value < 1 << 62:
            raise WireError(name, f"{value!r:.60} is not a count")
    counts = CorrectCounts(*(value for value in values if isinstance(value, int)))
    if counts.personal_correct > counts.personal_examples:
        raise WireError("personal_correct", f"{counts.personal_correct} of {counts.personal_examples}")
    if counts.global_correct > counts.global_examples:
        raise WireError("global_correct", f"{counts.global_correct} of {counts.global_examples}")
    return counts


@dataclass(frozen=True)
class FleetAccuracy:
    """Means over the devices, each device counting the same; None where no device has such examples."""

    personal: float | None
    everyone: float | None
    worst: float | None  # the lowest personal accuracy

    @classmethod
    def of(cls, devices: Mapping[str, DeviceAccuracy]) -> FleetAccuracy:
        personal = [device.personal for device in devices.values() if device.personal is not None]
        everyone = [device.everyone for device in devices.values() if device.everyone is not None]
        return cls(
            personal=_ratio(sum(personal), len(personal)),
            everyone=_ratio(sum(everyone), len(everyone)),
            worst=min(personal, default=None),
        )


def _ratio(part: float, whole: int) -> float | None:
    return part / whole if whole else None

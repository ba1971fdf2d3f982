"""The counts that devices send when they measure their students, and the accuracies that they give."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from fedstill_proto.errors import WireError
from fedstill_proto.flower_records import RECORD
from flwr.app import MetricRecord, RecordDict

from fedstill_server.rounds.round_record import DeviceAccuracy

_FIELDS = (
    *("personal_correct", "personal_examples", "global_correct", "global_examples"),
    *("fleet_personal_correct", "fleet_global_correct"),
)


@dataclass(frozen=True)
class CorrectCounts:
    """Correct answers and examples: on the device's own test set, and on everyone's.

    Those of what an app gets (the owner's scope), and those of the fleet's student alone (everyone's).
    """

    personal_correct: int
    personal_examples: int
    global_correct: int
    global_examples: int
    fleet_personal_correct: int
    fleet_global_correct: int

    def accuracy(self) -> DeviceAccuracy:
        """All as shares; None where there are no examples."""
        return DeviceAccuracy(
            personal=_ratio(self.personal_correct, self.personal_examples),
            everyone=_ratio(self.global_correct, self.global_examples),
            fleet_personal=_ratio(self.fleet_personal_correct, self.personal_examples),
            fleet_everyone=_ratio(self.fleet_global_correct, self.global_examples),
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
    for name in _FIELDS:
        if name.endswith("_correct"):
            examples = counts.personal_examples if "personal" in name else counts.global_examples
            if getattr(counts, name) > examples:
                raise WireError(name, f"{getattr(counts, name)} of {examples}")
    return counts


@dataclass(frozen=True)
class FleetAccuracy:
    """Means over the devices, each device counting the same; None where no device has such examples."""

    personal: float | None
    everyone: float | None
    worst: float | None  # the lowest personal accuracy
    fleet_personal: float | None
    fleet_everyone: float | None

    @classmethod
    def of(cls, devices: Mapping[str, DeviceAccuracy]) -> FleetAccuracy:
        known = {
            name: [value for device in devices.values() if (value := getattr(device, name)) is not None]
            for name in ("personal", "everyone", "fleet_personal", "fleet_everyone")
        }
        # Rounded once: columns give the same, in whatever order the devices come.
        means = {name: _ratio(math.fsum(values), len(values)) for name, values in known.items()}
        return cls(worst=min(known["personal"], default=None), **means)


def _ratio(part: float, whole: int) -> float | None:
    return part / whole if whole else None

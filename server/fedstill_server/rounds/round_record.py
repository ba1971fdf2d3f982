"""The record of a round: one JSON object a round, in the run's database and in its results."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from fedstill_server.config.codec import from_json, to_json

MOST_ENTRIES = 1_000
"""Answers that a record tells of one by one, where a round has left out more."""

_OF_THE_OWNER = ("policy", "budget")  # rounds.gate.Reason: what no example of a device has a part in
_OF_ANSWERS = (
    *("replied", "accepted", "late", "overdue", "quarantined", "counted", "ages", "evaluation_failures"),
    *("uplink_bytes", "downlink_bytes", "uplink_bytes_per_device", "downlink_bytes_per_device"),
)


@dataclass(frozen=True, kw_only=True)
class Quarantined:
    """An answer that was left out. `reason` is one of `rounds.gate.Reason`, `text` the details."""

    device: str
    node: str  # Flower's node id; text, since JSON readers round 64-bit numbers
    reason: str
    text: str


@dataclass(frozen=True, kw_only=True)
class DeviceAccuracy:
    """The accuracy of one device's answers, 0 to 1; None where the device has no such examples.

    Attributes:
        personal: Of what an app gets, the owner's scope, on the device's own tests.
        everyone: Of the same answers, on everyone's test.
        fleet_personal: Of the fleet's student alone, everyone's scope, on the device's own tests.
        fleet_everyone: The same on everyone's test.
    """

    personal: float | None
    everyone: float | None
    fleet_personal: float | None = None
    fleet_everyone: float | None = None


@dataclass(frozen=True, kw_only=True)
class MeasuredDevices:
    """How many devices a round's accuracies are of, and how sure they are of the whole fleet's.

    Attributes:
        devices: How many were measured.
        of_devices: How many there were to be drawn from.
        personal_half_width: Half of the 95 % interval of `personal_accuracy`, finite fleets accounted for; 0
            where all were measured, and None where nothing is known of it.
        global_half_width: The same of `global_accuracy`.
        personal_p10: A tenth of those measured have a personal accuracy of at most this.
        personal_median: Half of them.
        personal_p90: Nine tenths of them.
    """

    devices: int
    of_devices: int
    personal_half_width: float | None = None
    global_half_width: float | None = None
    personal_p10: float | None = None
    personal_median: float | None = None
    personal_p90: float | None = None


@dataclass(frozen=True, kw_only=True)
class PhaseSeconds:
    """Where a round's time went. `train` and `evaluate` are the devices' (and the network's) part."""

    train: float = 0.0
    ingest: float = 0.0
    learn: float = 0.0
    evaluate: float = 0.0
    commit: float = 0.0


@dataclass(frozen=True, kw_only=True)
class RoundRecord:
    """One round. Bytes are those of the serialized tasks and summaries, as sent; refused ones count, too.

    Attributes:
        round: The round, from 1.
        seconds: Its duration.
        asked: How many devices were asked.
        replied: How many replied anything.
        accepted: How many answers were folded.
        late: How many answers were overdue, or good and beyond the goal.
        quarantined: The answers that were left out; of many, the first (MOST_ENTRIES).
        left_out: How many were left out, by reason, where `quarantined` has not all of them; else empty.
        uplink_bytes: Bytes of all replies.
        downlink_bytes: Bytes of all tasks.
        evaluation_bytes: Bytes of the tasks that measure students, which are no part of the method.
        uplink_bytes_per_device: For each device that answered.
        downlink_bytes_per_device: For each device that was asked.
        personal_accuracy: Mean over the devices on their own tests, of what an app gets; None in a round
            without evaluation, as all accuracies.
        global_accuracy: Mean over the devices on everyone's test, of the same answers.
        fleet_personal_accuracy: That of the fleet's student alone on their own tests.
        fleet_global_accuracy: That of the fleet's student alone on everyone's.
        worst_device_accuracy: The lowest personal accuracy.
        devices: The accuracies of each device; empty where they are in columns, and `measured` says of how
            many devices.
        teacher_accuracy: On the run's test set.
        student_accuracy: The fleet's own student of each family on the same; in a real fleet.
        test_examples: How many examples these two are of.
        personal_examples: How many examples of all devices the personal accuracies are of.
        consensus_digest: SHA-256 of what was folded.
        evaluation_failures: Devices that could not be measured.
        present: How many devices were there.
        overdue: How many answers came when their own round had ended.
        counted: The devices whose summaries were folded; empty where that is in columns.
        ages: How often the server had learned since the states that they answered; all 0 in mode rounds.
        mean_age: Their mean, where `ages` is empty and summaries were folded.
        measured: How many devices the accuracies are of, and how sure they are, where `devices` has none.
        clock_s: When the round was committed, where the Grid has a clock of its own, as in a simulation.
        phase_seconds: Where the time went.
        withheld: The fields that say nothing here, since they would come of single answers, and not of their
            noised sum; their values are 0 or empty.
        notice: What the method has people told after this round, in a sentence; empty in most.
        finished_at: When the round of a real fleet ended, in ISO 8601 and UTC; empty in a simulation.
    """

    round: int
    seconds: float
    asked: int
    replied: int
    accepted: int
    late: int
    quarantined: tuple[Quarantined, ...]
    uplink_bytes: int
    downlink_bytes: int
    evaluation_bytes: int
    uplink_bytes_per_device: float
    downlink_bytes_per_device: float
    personal_accuracy: float | None
    global_accuracy: float | None
    worst_device_accuracy: float | None
    devices: dict[str, DeviceAccuracy]
    teacher_accuracy: float | None
    consensus_digest: str
    evaluation_failures: tuple[Quarantined, ...] = ()
    present: int = 0
    overdue: int = 0
    counted: tuple[str, ...] = ()
    ages: tuple[int, ...] = ()
    clock_s: float | None = None
    phase_seconds: PhaseSeconds = field(default_factory=PhaseSeconds)
    fleet_personal_accuracy: float | None = None
    fleet_global_accuracy: float | None = None
    withheld: tuple[str, ...] = ()
    notice: str = ""
    finished_at: str = ""
    student_accuracy: dict[str, float] = field(default_factory=dict)
    test_examples: int = 0
    personal_examples: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    mean_age: float | None = None
    measured: MeasuredDevices | None = None

    @property
    def is_measured(self) -> bool:
        """Whether devices were measured after this round."""
        return bool(self.devices) or self.measured is not None

    @property
    def left_out_by_reason(self) -> dict[str, int]:
        """How many answers were left out, by reason (`rounds.gate.Reason`)."""
        return self.left_out or dict(Counter(entry.reason for entry in self.quarantined))

    def without_answers(self) -> RoundRecord:
        """The record as it may be shown where only the noised sum of the answers is.

        That a training failed may come of its data, and so may the length of an answer, and that a task was
        sent again: none is told, nor any sum of which it is a part. A refusal by its owner's rules
        does not come of its data.
        """
        return replace(
            self,
            replied=0,
            accepted=0,
            late=0,
            overdue=0,
            quarantined=tuple(entry for entry in self.quarantined if entry.reason in _OF_THE_OWNER),
            uplink_bytes=0,
            downlink_bytes=0,
            uplink_bytes_per_device=0.0,
            downlink_bytes_per_device=0.0,
            counted=(),
            ages=(),
            mean_age=None,
            left_out={reason: n for reason, n in self.left_out.items() if reason in _OF_THE_OWNER},
            evaluation_failures=(),
            withheld=_OF_ANSWERS,
        )

    def to_json(self) -> dict[str, Any]:
        """The record as a JSON object."""
        document = to_json(self)
        assert isinstance(document, dict)
        return document

    @classmethod
    def from_json(cls, document: object, *, where: str = "round") -> RoundRecord:
        """Read `to_json`; raises ConfigError, naming the field."""
        return from_json(cls, document, where=where)

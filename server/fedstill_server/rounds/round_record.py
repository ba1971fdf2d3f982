"""What a round came to: one JSON object a round, in the run's database and in its results."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fedstill_server.config.codec import from_json, to_json


@dataclass(frozen=True, kw_only=True)
class Quarantined:
    """An answer that was left out. `reason` is one of `rounds.gate.Reason`, `text` the details."""

    device: str
    node: str  # Flower's node id; text, since JSON readers round 64-bit numbers
    reason: str
    text: str


@dataclass(frozen=True, kw_only=True)
class DeviceAccuracy:
    """Accuracies of one device's student, 0 to 1; None where the device has no such examples."""

    personal: float | None
    everyone: float | None


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

    `uplink_bytes_per_device` is for each device that answered, `downlink_bytes_per_device` for each asked.
    Accuracies are None in a round that was not evaluated. `evaluation_bytes` went down to measure students,
    and are no part of the method. `overdue` answers came when their own round had ended; `late` are those,
    and the good ones beyond the goal. `counted` are the devices whose summaries were folded, `ages` how often
    the server had learned since the states that they answered (all 0 in mode rounds). `clock_s` is the second
    at which the round was committed, where the Grid has a clock of its own, as in a simulation.
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

    def to_json(self) -> dict[str, Any]:
        document = to_json(self)
        assert isinstance(document, dict)
        return document

    @classmethod
    def from_json(cls, document: object, *, where: str = "round") -> RoundRecord:
        return from_json(cls, document, where=where)

"""What the console keeps of each round: figures of a few bytes, whatever number of devices there is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from fedstill_server.rounds.gate import Reason
from fedstill_server.rounds.round_record import Quarantined, RoundRecord

KEPT_ROUNDS = 2000
_OF_THE_OWNER = {one.value for one in (Reason.POLICY, Reason.BUDGET, Reason.NOT_NOW, Reason.NO_STUDENT)}


@dataclass(frozen=True, kw_only=True)
class RoundFacts:
    """A round; names are those of RoundRecord, accuracies are shares of 1.

    Attributes:
        at: When it was committed, in seconds since 1970.
        quarantined: How many answers were left out.
        reasons: The same by reason.
        deciles: The personal accuracies of the devices: the lowest, the tenth parts, and the highest, eleven
            numbers; none in a round without measurement.
        phases: The seconds of each phase.
    """

    round: int
    at: float
    seconds: float
    present: int
    asked: int
    replied: int
    accepted: int
    late: int
    overdue: int
    quarantined: int
    reasons: Mapping[str, int]
    personal_accuracy: float | None
    global_accuracy: float | None
    worst_device_accuracy: float | None
    teacher_accuracy: float | None
    student_accuracy: Mapping[str, float]
    test_examples: int
    personal_examples: int
    measured_devices: int
    deciles: Sequence[float]
    uplink_bytes: int
    downlink_bytes: int
    uplink_bytes_per_device: float
    downlink_bytes_per_device: float
    notice: str
    is_withheld: bool
    phases: Mapping[str, float]
    generation: int = 1

    @classmethod
    def of(cls, record: RoundRecord, *, at: float) -> RoundFacts:
        """Take the figures out of a record."""
        same = {
            name: getattr(record, name)
            for name in cls.__dataclass_fields__
            if name in RoundRecord.__dataclass_fields__ and name != "quarantined"
        }
        personal = [one.personal for one in record.devices.values() if one.personal is not None]
        others = {
            "at": at,
            "quarantined": len(record.quarantined),
            "reasons": dict(Counter(entry.reason for entry in record.quarantined).most_common()),
            "measured_devices": len(personal),
            "deciles": deciles(personal),
            "phases": asdict(record.phase_seconds),
            "is_withheld": bool(record.withheld),
        }
        return cls(**{**same, **others})

    @property
    def fleet_accuracy(self) -> float | None:
        """How good what the fleet has learned is: its students on the test set, or what stands nearest."""
        if self.student_accuracy:
            return sum(self.student_accuracy.values()) / len(self.student_accuracy)
        return self.global_accuracy if self.global_accuracy is not None else self.teacher_accuracy

    @property
    def suspicious(self) -> int:
        """Answers that were left out for what they were, and not because a device's owner said no."""
        return sum(count for reason, count in self.reasons.items() if reason not in _OF_THE_OWNER)


def deciles(values: Sequence[float]) -> tuple[float, ...]:
    """The lowest value, the nine tenth parts between, and the highest; linear between neighbours."""
    if not values:
        return ()
    ordered, last = sorted(values), len(values) - 1
    places = [tenth * last / 10 for tenth in range(11)]
    pairs = [(ordered[int(place)], ordered[min(int(place) + 1, last)]) for place in places]
    return tuple(low + place % 1 * (high - low) for place, (low, high) in zip(places, pairs, strict=True))


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """An answer that was left out, and in which round."""

    round: int
    device: str
    reason: str
    text: str

    @classmethod
    def of(cls, record: RoundRecord, entry: Quarantined) -> LeftOut:
        """Name an entry's round, and its node where it has no name."""
        who = entry.device or f"node {entry.node or 'unknown'}"
        return cls(round=record.round, device=who, reason=entry.reason, text=entry.text)


@dataclass
class Totals:
    """Sums over all rounds, those too that are kept no more.

    Attributes:
        answers: By what became of them.
        left_out: Answers that were left out, by reason.
        bytes: Of summaries ("up") and of tasks ("down").
    """

    answers: dict[str, int] = field(
        default_factory=lambda: {"counted": 0, "late": 0, "overdue": 0, "left_out": 0}
    )
    left_out: dict[str, int] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=lambda: {"up": 0, "down": 0})

    def add(self, one: RoundFacts) -> None:
        """Count a round more."""
        for name, count in (
            ("counted", one.accepted),
            ("late", one.late),
            ("overdue", one.overdue),
            ("left_out", one.quarantined),
        ):
            self.answers[name] += count
        for reason, count in one.reasons.items():
            self.left_out[reason] = self.left_out.get(reason, 0) + count
        self.bytes["up"] += one.uplink_bytes
        self.bytes["down"] += one.downlink_bytes

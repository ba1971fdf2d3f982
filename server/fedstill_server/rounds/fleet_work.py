"""Who does the fleet's part of a round: what the loop of a run asks of it, and what it gets back.

Over messages it is every device behind a Flower Grid (message_work.py). A simulator may do the work of all
its devices where they are, and hand back the sum; the loop does not see the difference.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from fedstill_server.consensus.aggregation import Statistics
from fedstill_server.methods import Method
from fedstill_server.rounds.account import Head
from fedstill_server.rounds.base_tables import BaseTables
from fedstill_server.rounds.evaluation import FleetAccuracy
from fedstill_server.rounds.oort import UtilityState
from fedstill_server.rounds.round_record import DeviceAccuracy, MeasuredDevices, Quarantined
from fedstill_server.rounds.run_store import Checkpoint, Pending
from fedstill_server.state import FleetState


@dataclass
class Stopwatch:
    """Seconds of each phase of a round."""

    started: float = field(default_factory=time.perf_counter)
    phases: dict[str, float] = field(default_factory=dict)
    _last: float = field(default_factory=time.perf_counter)

    def lap(self, phase: str) -> None:
        """Add what passed since the last lap to `phase`."""
        now = time.perf_counter()
        self.phases[phase] = self.phases.get(phase, 0.0) + now - self._last
        self._last = now

    @property
    def total(self) -> float:
        return time.perf_counter() - self.started


@dataclass(frozen=True, kw_only=True)
class FoldedRound:
    """What a fleet answered to a round, as one sum, and what its record tells of that.

    Attributes:
        consensus: The sum over the answers that count.
        present: How many devices were there.
        asked: How many of them were asked.
        replied: How many replied anything, good or bad.
        accepted: How many answers were folded.
        overdue: How many answers came too late for their own round.
        late: How many answers were overdue, or good and beyond the goal.
        quarantined: The answers that were left out, or the first of many.
        left_out: How many were left out, by reason, where `quarantined` has not all of them.
        counted: The devices whose answers were folded; empty where that is in columns.
        ages: How often the server had learned since the states that they answered.
        mean_age: Their mean, where `ages` is empty.
        uplink_bytes: Bytes of all replies.
        downlink_bytes: Bytes of all tasks.
        installed: The devices that are known to have a student now.
        pending: Questions that are still open.
        base_tables: What is held of the devices from now on.
        clock_s: The time, where the fleet has a clock of its own.
        account: The head of the account of noised releases, where there is one.
        withholds: Whether the record leaves out what comes of single answers.
        selection: What selection by utility remembers from now on.
    """

    consensus: Statistics
    present: int
    asked: int
    replied: int
    accepted: int
    uplink_bytes: int
    downlink_bytes: int
    overdue: int = 0
    late: int = 0
    quarantined: tuple[Quarantined, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    counted: tuple[str, ...] = ()
    ages: tuple[int, ...] = ()
    mean_age: float | None = None
    installed: frozenset[str] = frozenset()
    pending: tuple[Pending, ...] = ()
    base_tables: BaseTables = field(default_factory=BaseTables)
    clock_s: float | None = None
    account: Head | None = None
    withholds: bool = False
    selection: UtilityState | None = None


@dataclass(frozen=True, kw_only=True)
class Measured:
    """The results of devices that measured their students; accuracies are 0 to 1, None where there is none.

    Attributes:
        personal_accuracy: Mean over the devices, of what an app gets, on their own tests.
        global_accuracy: Of the same answers, on everyone's test.
        fleet_personal_accuracy: Of the fleet's student alone, on their own tests.
        fleet_global_accuracy: The same on everyone's test.
        worst_device_accuracy: The lowest personal accuracy.
        devices: The accuracies of each device; empty where they are in columns.
        measured: How many devices were measured, where `devices` has none of them.
        failures: Devices that could not be measured.
        sent_bytes: Bytes of the tasks that asked them.
        personal_examples: How many examples of all devices the personal accuracies are of.
        personal: The accuracy of each device that has examples of its own to measure on, by name.
    """

    personal_accuracy: float | None = None
    global_accuracy: float | None = None
    fleet_personal_accuracy: float | None = None
    fleet_global_accuracy: float | None = None
    worst_device_accuracy: float | None = None
    devices: Mapping[str, DeviceAccuracy] = field(default_factory=dict)
    measured: MeasuredDevices | None = None
    failures: tuple[Quarantined, ...] = ()
    sent_bytes: int = 0
    personal_examples: int = 0
    personal: Callable[[], Mapping[str, float]] = dict

    @classmethod
    def of_devices(
        cls,
        devices: Mapping[str, DeviceAccuracy],
        *,
        failures: tuple[Quarantined, ...],
        sent_bytes: int,
        personal_examples: int,
    ) -> Measured:
        """The results of devices whose accuracies are there by name; means count each device the same."""
        accuracy = FleetAccuracy.of(devices)
        return cls(
            personal_accuracy=accuracy.personal,
            global_accuracy=accuracy.everyone,
            fleet_personal_accuracy=accuracy.fleet_personal,
            fleet_global_accuracy=accuracy.fleet_everyone,
            worst_device_accuracy=accuracy.worst,
            devices=devices,
            failures=failures,
            sent_bytes=sent_bytes,
            personal_examples=personal_examples,
            personal=functools.partial(personal_accuracies, devices),
        )


def personal_accuracies(devices: Mapping[str, DeviceAccuracy]) -> dict[str, float]:
    """The personal accuracy of each device that has one, by name."""
    found = {name: device.personal for name, device in devices.items()}
    return {name: accuracy for name, accuracy in found.items() if accuracy is not None}


class FleetWork(Protocol):
    """The fleet's part of a run."""

    @property
    def keeps(self) -> int:
        """How many rounds back an answer may refer to."""
        ...

    def resume(self, checkpoint: Checkpoint, state_of: Callable[[int], FleetState | None]) -> None:
        """Go on after a checkpoint.

        Args:
            checkpoint: Where the run goes on.
            state_of: Gives the state that a round's tasks were made from, as long as it is kept.
        """
        ...

    def gather(self, number: int) -> int | None:
        """Wait until a round may begin: how many devices are there; None where the run has no such round."""
        ...

    def fold(self, method: Method, before: Checkpoint, watch: Stopwatch) -> FoldedRound:
        """Have devices do the round after a checkpoint, and fold what they answer.

        Args:
            method: The run's method, of the round.
            before: The checkpoint.
            watch: Gets the laps "train" and "ingest".
        """
        ...

    def measure(self, after: Checkpoint) -> Measured:
        """Have devices count their correct answers after a round."""
        ...

    def committed(self, number: int) -> None:
        """A round is committed: what only the one before needed may go."""
        ...

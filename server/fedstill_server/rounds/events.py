"""Events of a run for listeners in the same process: progress, round by round."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from fedstill_proto.arrays import Parameters

from fedstill_server.rounds.round_record import RoundRecord


@dataclass(frozen=True, kw_only=True)
class RunStarted:
    """`first_round` is above 1 where a run goes on after a stop."""

    run: str
    rounds: int
    first_round: int
    devices: int


@dataclass(frozen=True, kw_only=True)
class RunPrepared:
    """Teacher and starting students are ready, and committed. The accuracy is None without a test set."""

    seconds: float
    teacher_accuracy: float | None
    students: Mapping[str, Parameters]


@dataclass(frozen=True, kw_only=True)
class DeviceGreeted:
    """A device has said what it is and has; fields are those of HelloReply."""

    device: str
    node: int
    family: str
    package_version: int
    generation: int
    agent: str
    willing: bool


@dataclass(frozen=True, kw_only=True)
class RoundAwaited:
    """A round does not begin yet.

    Attributes:
        round: Its number.
        reason: paused, window, allowance, pause-between, devices, outage, or held.
        text: The reason, for a person.
        until: When the reason ends, in seconds since 1970; None where nobody can know.
        next_window_at: When the next window opens, the same; in the past while one is open.
    """

    round: int
    reason: str
    text: str
    until: float | None
    next_window_at: float


@dataclass(frozen=True, kw_only=True)
class RoundStarted:
    """A round has asked its first devices."""

    round: int
    rounds: int
    asked: int


@dataclass(frozen=True, kw_only=True)
class Collected:
    """Answers in hand so far, of those asked."""

    round: int
    replied: int
    accepted: int
    asked: int


@dataclass(frozen=True, kw_only=True)
class RoundFinished:
    """The round is committed: a run that dies now goes on after it."""

    record: RoundRecord
    rounds: int


@dataclass(frozen=True, kw_only=True)
class RunFinished:
    """All rounds are committed, and the final students written."""

    run: str
    rounds: int


Event = (
    RunStarted
    | RunPrepared
    | DeviceGreeted
    | RoundAwaited
    | RoundStarted
    | Collected
    | RoundFinished
    | RunFinished
)
Listener = Callable[[Event], None]

_listeners: list[Listener] = []


@contextmanager
def subscribe(listener: Listener) -> Iterator[None]:
    """Call `listener` with each event of runs in this process, from the run's thread, until the block ends.

    What it raises stops the run.
    """
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def publish(event: Event) -> None:
    """Call every listener with the event."""
    for listener in tuple(_listeners):
        listener(event)

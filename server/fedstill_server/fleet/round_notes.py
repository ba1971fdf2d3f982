"""Notes what a fleet's rounds do where its operator looks: in rounds.json, and in the operations' database.

No round waits for it: what cannot be noted is left out, and said in the log.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

from fedstill_proto.errors import FedstillError

from fedstill_server.operations.database import FleetDatabase
from fedstill_server.rounds import events
from fedstill_server.rounds.round_record import RoundRecord
from fedstill_server.rounds.rounds_status import RoundsStatus

_AGAIN_AFTER_S = 30.0  # a database that did not answer

log = logging.getLogger("fedstill.notes")


class RoundNotes:
    """A listener of a run's events (rounds/events.py)."""

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._folder, self._clock = folder, clock
        self._database: FleetDatabase | None = None
        self._away_until_s = 0.0
        self._waiting_for, self._since = "", 0.0
        self._noted: dict[str, events.DeviceGreeted] = {}

    def __call__(self, event: events.Event) -> None:
        """Note an event; raises nothing."""
        try:
            self._write_status(event)
        except OSError as error:
            log.warning("the state of the rounds: %s", error)
        if self._clock() < self._away_until_s:
            return
        try:
            self._database = self._database or FleetDatabase.open(self._folder, clock=self._clock)
            self._note(event, self._database)
        except FedstillError as error:
            log.warning("%s", error)
            self._away_until_s = self._clock() + _AGAIN_AFTER_S

    def _write_status(self, event: events.Event) -> None:
        now = self._clock()
        reason = event.reason if isinstance(event, events.RoundAwaited) else ""
        if reason != self._waiting_for:
            self._waiting_for, self._since = reason, now
        if isinstance(event, events.RoundAwaited):
            RoundsStatus(
                round=event.round,
                waiting_for=event.reason,
                text=event.text,
                until=event.until,
                next_window_at=event.next_window_at,
                since=self._since,
            ).write(self._folder)
        elif isinstance(event, events.RoundStarted):
            text = f"round {event.round} has asked {event.asked} devices"
            RoundsStatus(round=event.round, waiting_for="", text=text, since=now).write(self._folder)
        elif isinstance(event, events.RunFinished):
            text = f"all {event.rounds} rounds are done"
            RoundsStatus(round=event.rounds, waiting_for="end", text=text, since=now).write(self._folder)

    def _note(self, event: events.Event, database: FleetDatabase) -> None:
        if isinstance(event, events.DeviceGreeted) and self._noted.get(event.device) != event:
            facts = {name: value for name, value in vars(event).items() if name != "device"}
            database.note_device(event.device, **{**facts, "node": str(event.node)})
            self._noted[event.device] = event
        elif isinstance(event, events.RoundAwaited):
            document = {"round": event.round, "reason": event.reason, "until": event.until}
            database.tell("waiting", event.text, **document, next_window_at=event.next_window_at)
        elif isinstance(event, events.RoundStarted):
            text = f"round {event.round} has asked {event.asked} devices"
            database.tell("round-started", text, round=event.round, asked=event.asked)
        elif isinstance(event, events.RoundFinished):
            _note_round(event.record, database)


def outcomes_of(record: RoundRecord) -> dict[str, tuple[str, str]]:
    """What came of asking each device that the record tells of: a word, and details."""
    left_out = {one.device: (one.reason, one.text) for one in record.quarantined if one.device}
    return {**left_out, **dict.fromkeys(record.counted, ("counted", ""))}


def _note_round(record: RoundRecord, database: FleetDatabase) -> None:
    """Note what came of a round, and of each device that its record names."""
    database.count_answers(record.round, outcomes_of(record))
    answers = f"{record.accepted} of {record.asked} summaries were counted"
    if "accepted" in record.withheld:
        answers = f"{record.asked} devices were asked"
    database.tell(
        "round",
        f"round {record.round}: {answers}",
        round=record.round,
        asked=record.asked,
        accepted=record.accepted,
        seconds=round(record.seconds, 3),
        personal_accuracy=record.personal_accuracy,
        global_accuracy=record.global_accuracy,
    )

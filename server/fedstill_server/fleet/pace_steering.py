"""Pace steering: tells each device when to ask again, so that all of them together ask no more than they may.

This is the flow control of Bonawitz et al. 2019 (arXiv 1902.01046, section 2.3): in a small fleet devices are
to come at about the same time, in a large one they are spread out. While rounds may begin, a device looks
every `look_every_s` seconds, or so seldom that all looks together are `looks_a_second`; while none may, every
half a minute, or when the next one may, so that what the operator has decided still reaches it soon. A device
that has just replied to something looks as if only those were there that have, as it is asked the next thing
soon. How much later it looks than all that depends on its key: no two devices stay in step.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fedstill_proto.errors import FedstillError
from fedstill_proto.system.files import replace_file
from fedstill_proto.system.steering import COME_BACK_HEADER, NEXT_WINDOW_HEADER, RELEASE_HEADER
from starlette.types import Message, Send

from fedstill_server.config.schedule import Schedule
from fedstill_server.rounds.rounds_status import RoundsStatus

_READ_AGAIN_S = 2.0
_RELEASE_ABOVE = "release-above"
_IDLE_S = 30.0
_JITTER = 0.25
_CONVERSES_S = 300.0  # after a reply
_IDLE = frozenset({"paused", "window", "allowance", "pause-between"})  # RoundAwaited.reason

log = logging.getLogger("fedstill.guard")


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How often devices are to look.

    Attributes:
        look_s: Seconds between two looks while rounds may begin.
        spread_s: Seconds in which every device can look once.
        idle_until_s: Until when no round begins, in seconds since 1970; 0 where one may now, infinity where
            nobody knows.
    """

    look_s: float
    spread_s: float
    idle_until_s: float = 0.0

    @classmethod
    def of(cls, schedule: Schedule, status: RoundsStatus | None, *, devices: int) -> Pace:
        """The pace of a fleet of so many registered devices."""
        until = 0.0
        if status is not None and status.waiting_for in _IDLE:
            until = math.inf if status.until is None else status.until
        spread_s = devices / schedule.looks_a_second
        return cls(look_s=schedule.look_after_s(devices), spread_s=spread_s, idle_until_s=until)

    def look_after_s(self, key: bytes, *, now_s: float) -> float:
        """Seconds after which the device of this key is to look again."""
        phase = int.from_bytes(hashlib.sha256(key).digest()[:8]) / 2**64
        left = self.idle_until_s - now_s
        if left <= 0:
            return self.look_s * (1 + _JITTER * phase)
        # Whoever waits for the same window would look at the same moment.
        seconds = max(self.look_s, min(_IDLE_S, left))
        return seconds + phase * max(_JITTER * seconds, self.spread_s)


class PaceSteering:
    """Adds the headers of steering.py to what the SuperLink answers devices."""

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._folder, self._clock = folder, clock
        self._usual = self._busy = Pace(look_s=Schedule().look_every_s, spread_s=0.0)
        self._release, self._read_at = "", -_READ_AGAIN_S
        self._replied_at: dict[bytes, float] = {}
        self._problem = ""

    def replied(self, key: bytes) -> None:
        """Note that a device has replied to a question."""
        self._replied_at[key] = self._clock()

    def headers(self, key: bytes, *, devices: int) -> dict[str, str]:
        """What the device of a key is told, in a fleet of so many devices."""
        if time.monotonic() - self._read_at >= _READ_AGAIN_S:
            self._read_at = time.monotonic()
            self._read(devices)
        pace = self._busy if key in self._replied_at else self._usual
        told = {COME_BACK_HEADER: f"{pace.look_after_s(key, now_s=self._clock()):.3f}"}
        if self._clock() < pace.idle_until_s < math.inf:
            told[NEXT_WINDOW_HEADER] = str(int(pace.idle_until_s))
        return told | ({RELEASE_HEADER: self._release} if self._release else {})

    def telling(self, send: Send, key: bytes, *, devices: int) -> Send:
        """The same way for an answer, with the headers."""

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                told = self.headers(key, devices=devices).items()
                own = [(name.encode(), value.encode()) for name, value in told]
                message = {**message, "headers": [*message.get("headers", ()), *own]}
            await send(message)

        return tell

    def _read(self, devices: int) -> None:
        problem = ""
        try:
            self._release = str(_release(self._folder))
        except (OSError, ValueError, KeyError, TypeError) as error:
            problem = f"the newest release is not known: {error}"
        try:
            schedule = Schedule.read(self._folder, continuous=False)
            status, since = RoundsStatus.read(self._folder), self._clock() - _CONVERSES_S
            self._replied_at = {key: at for key, at in self._replied_at.items() if at > since}
            self._usual = Pace.of(schedule, status, devices=devices)
            self._busy = Pace.of(schedule, status, devices=min(len(self._replied_at), devices))
        except (FedstillError, OSError) as error:
            problem = str(error)
        if problem and problem != self._problem:
            log.warning("what devices are told: %s", problem)
        self._problem = problem


def write_release_above(folder: Path, release: int) -> None:
    """Write what the server above a relay has said of its repository, for the relay's devices."""
    replace_file(folder / _RELEASE_ABOVE, f"{release}\n".encode())


def _release(folder: Path) -> int:
    """The version of the repository's timestamp: of a fleet's own, or as the server above a relay says."""
    above = folder / _RELEASE_ABOVE
    if above.exists():
        return int(above.read_text())
    timestamp = folder / "repository" / "metadata" / "timestamp.json"
    return int(json.loads(timestamp.read_bytes())["signed"]["version"])

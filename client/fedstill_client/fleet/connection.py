"""How the device stands with its fleet's server: the home's file connection.json, for status and doctor.

The process that speaks with the server writes it where something changes, and once in a few minutes
otherwise: a device's flash is not worn out by it.
"""

from __future__ import annotations

import enum
import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace

from fedstill_proto.errors import FedstillError
from fedstill_proto.system.files import replace_file
from fedstill_proto.system.steering import CLOCK, COME_BACK_HEADER, REVOKED

from fedstill_client.home import AgentHome

_WRITE_EVERY_S = 120.0
_SILENT_AFTER_S = 300.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 5.0, 600.0


class Standing(enum.StrEnum):
    """How a device stands with the server."""

    CONNECTING = "connecting"
    CONNECTED = "connected"
    REFUSED = "refused"  # the server does not let it in
    UNTRUSTED = "untrusted"  # another server answers, or none that the device believes


@dataclass(frozen=True, kw_only=True)
class Connection:
    """How a device stands with its server; times are in seconds since 1970, and 0 where there was none.

    Attributes:
        standing: One of `Standing`.
        why: With "refused" a word of fedstill_proto.system.steering, or nothing; with "untrusted" a text.
        since: Since when.
        heard_at: When the server last answered.
        again_at: When the device tries again, where it was refused.
        come_back_at: When the server said that it wants to be asked again.
    """

    standing: Standing
    why: str = ""
    since: float = 0.0
    heard_at: float = 0.0
    again_at: float = 0.0
    come_back_at: float = 0.0

    def is_connected(self, *, now: float) -> bool:
        """Whether the server was heard a short while ago, or does not want to be asked yet."""
        return self.standing is Standing.CONNECTED and now < max(
            self.heard_at + _SILENT_AFTER_S, self.come_back_at + _SILENT_AFTER_S
        )

    def in_words(self, *, public_key: object) -> str:
        """What it means for the device's owner, and what to do; `public_key` is the file of its key."""
        if self.standing is Standing.CONNECTED:
            return "the server lets this device in"
        if self.standing is Standing.UNTRUSTED:
            return f"the server that answers is not believed to be the fleet's: {self.why}"
        if self.standing is Standing.CONNECTING:
            return "the server has not answered yet"
        if self.why == REVOKED:
            return (
                "the server does not let this device in: its operator has revoked its key; ask why. It waits, "
                "and goes on by itself if it is let in again"
            )
        if self.why == CLOCK:
            when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
            return (
                f"the server does not let this device in: its clock is wrong (it says {when}); set it. It "
                "waits, and goes on by itself"
            )
        return (
            f"the server does not let this device in: its key is not registered; bring {public_key} to the "
            "operator. It waits, and goes on by itself once it is registered"
        )


def read_connection(home: AgentHome) -> Connection | None:
    """What the file says; None where there is none that can be read."""
    try:
        fields = json.loads(home.connection.read_bytes())
        return Connection(**{**fields, "standing": Standing(fields["standing"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


class ConnectionRecord:
    """Keeps the file, for the one process that speaks with the server."""

    def __init__(self, home: AgentHome, *, clock: Callable[[], float] = time.time) -> None:
        self._home, self._clock = home, clock
        self._now = Connection(standing=Standing.CONNECTING, since=clock())
        self._written_at = 0.0
        self._refused_at = 0.0  # first, without being let in since
        self._write()

    def heard(self, headers: Mapping[str, str]) -> None:
        """The server has answered with these headers."""
        now = self._clock()
        come_back_at = now + _seconds(headers.get(COME_BACK_HEADER, "0"))
        self._now = replace(self._now, heard_at=round(now, 3), come_back_at=round(come_back_at, 3))
        if now - self._written_at >= _WRITE_EVERY_S:
            self._write()

    def connected(self) -> None:
        """The server has let the device in."""
        self._refused_at = 0.0
        self._become(Standing.CONNECTED, "")

    def refused(self, standing: Standing, why: str) -> float:
        """The server does not let the device in; returns for how many seconds to wait.

        The pause is a tenth of the time that the device has waited already, between five seconds and ten
        minutes, and a little more or less, so that devices do not come all at once.
        """
        now = self._clock()
        self._refused_at = self._refused_at or now
        pause_s = min(max((now - self._refused_at) / 10, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
        pause_s *= random.uniform(0.8, 1.2)
        self._become(standing, why, again_at=round(now + pause_s, 3))
        return pause_s

    def _become(self, standing: Standing, why: str, *, again_at: float = 0.0) -> None:
        is_news = (standing, why) != (self._now.standing, self._now.why)
        since = round(self._clock(), 3) if is_news else self._now.since
        self._now = replace(self._now, standing=standing, why=why, since=since, again_at=again_at)
        if is_news or self._clock() - self._written_at >= _WRITE_EVERY_S:
            self._write()

    def _write(self) -> None:
        try:
            replace_file(self._home.connection, (json.dumps(asdict(self._now)) + "\n").encode())
        except OSError:
            return  # a full disk keeps no device from its rounds
        self._written_at = self._clock()


class NotLetIn(FedstillError):
    """The server does not let a device in, or is not believed to be the fleet's."""

    def __init__(self, standing: Standing, why: str) -> None:
        super().__init__(f"{standing}: {why}")
        self.standing, self.why = standing, why


def _seconds(text: str) -> float:
    try:
        return min(max(float(text), 0.0), 86_400.0)
    except ValueError:
        return 0.0

"""How the device stands with its fleet's server: the home's file connection.json, for status and doctor.

The process that speaks with the server writes it where something changes, and once in a few minutes
otherwise: a device's flash is not worn out by it.
"""

from __future__ import annotations

import enum
import json
import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace

from fedstill_proto.system.files import replace_file
from fedstill_proto.system.steering import CLOCK, REVOKED

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
        next_window_at: When the server said that rounds may begin next; 0 where they may.
    """

    standing: Standing
    why: str = ""
    since: float = 0.0
    heard_at: float = 0.0
    again_at: float = 0.0
    come_back_at: float = 0.0
    next_window_at: float = 0.0

    def is_connected(self, *, now: float) -> bool:
        """Whether the server was heard a short while ago, or does not want to be asked yet."""
        is_due = max(self.heard_at, self.come_back_at) + _SILENT_AFTER_S
        return self.standing is Standing.CONNECTED and now < is_due

    def in_words(self) -> str:
        """What it means for the device's owner, and what to do."""
        if self.standing is Standing.CONNECTED:
            return "the server lets this device in"
        if self.standing is Standing.UNTRUSTED:
            return f"the server that answers is not believed to be the fleet's: {self.why}"
        if self.standing is Standing.CONNECTING:
            return "the server has not answered yet"
        if self.why == REVOKED:
            return (
                "the server does not let this device in: its operator has revoked its key; ask why. It "
                "waits, and goes on by itself if it is let in again"
            )
        if self.why == CLOCK:
            when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
            return (
                f"the server does not let this device in: its clock is wrong (it says {when}); set it. It "
                "waits, and goes on by itself"
            )
        return (
            "the server does not let this device in: its key is not registered; bring keys/device.pub of its "
            "home to the operator. It waits, and goes on by itself once it is registered"
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
        before = read_connection(home)
        heard_at = 0.0 if before is None else before.heard_at
        self.now = Connection(standing=Standing.CONNECTING, since=round(clock(), 3), heard_at=heard_at)
        self._written_at = 0.0
        self._refused_at = 0.0  # first, without being let in since
        self._write()

    def heard(self, look_after_s: float, next_window_at: float = 0.0) -> None:
        """The server has answered.

        Args:
            look_after_s: Seconds after which it wants to be asked again.
            next_window_at: When rounds may begin next; 0 where they may.
        """
        now, is_news = self._clock(), next_window_at != self.now.next_window_at
        self.now = replace(
            self.now,
            heard_at=round(now, 3),
            come_back_at=round(now + look_after_s, 3),
            next_window_at=next_window_at,
        )
        if is_news or now - self._written_at >= _WRITE_EVERY_S or look_after_s > _WRITE_EVERY_S:
            self._write()

    def connected(self) -> None:
        """The server has let the device in."""
        self._refused_at = 0.0
        self.now = replace(self.now, heard_at=round(self._clock(), 3))
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
        is_news = (standing, why) != (self.now.standing, self.now.why)
        since = round(self._clock(), 3) if is_news else self.now.since
        self.now = replace(self.now, standing=standing, why=why, since=since, again_at=again_at)
        if is_news or self._clock() - self._written_at >= _WRITE_EVERY_S:
            self._write()

    def _write(self) -> None:
        try:
            replace_file(self._home.connection, (json.dumps(asdict(self.now)) + "\n").encode())
        except OSError:
            return  # a full disk keeps no device from its rounds
        self._written_at = self._clock()


class ConnectionNews:
    """Tells the owner, once, when the server lets the device in, or does so no more."""

    def __init__(self, home: AgentHome, tell: Callable[[str], None]) -> None:
        self._home, self._tell = home, tell
        self._changed_at = self._mtime()
        self._told = (Standing.CONNECTING, "")

    def check(self) -> None:
        """Look whether there is news; costs a look at a file's time."""
        if (changed_at := self._mtime()) == self._changed_at:
            return
        self._changed_at, found = changed_at, read_connection(self._home)
        if found is None or found.standing is Standing.CONNECTING:
            return
        if (found.standing, found.why) != self._told:
            self._told = (found.standing, found.why)
            self._tell(found.in_words())

    def _mtime(self) -> int:
        try:
            return self._home.connection.stat().st_mtime_ns
        except OSError:
            return 0

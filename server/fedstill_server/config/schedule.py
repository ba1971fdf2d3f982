"""When the rounds of a real fleet begin: windows, how many a day, and how many devices have to be there.

A window begins where an expression of cron says, by the clock of a time zone, and lasts so many seconds that
pass; one that opens at an hour which the change to summer time leaves out opens when that hour would have
been over, as Debian's cron does. The expression's own arithmetic is that of cronsim.

FLEET/schedule.json holds it, and is read anew before each round.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from fedstill_proto.system.sealed import read_sealed_json, write_sealed_json

from fedstill_server.config.codec import ConfigError, from_json, to_json

SCHEDULE_FILE = "schedule.json"
ALWAYS = "always"
USUAL_ROUNDS_A_DAY = 24
"""Of a fleet that goes on for ever: half of what a device does in a day unless its owner allows more."""
_LONGEST_WINDOW_S = 31 * 24 * 3600.0
_WINDOW = "'always', or five fields of cron such as '0 2 * * *' that ever come true"
_UNITS_S = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)([dhms])")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """When rounds may begin.

    Attributes:
        window: When a window opens: an expression of cron, of five fields (minute, hour, day of the month,
            month, day of the week), or of six with seconds first; or "always".
        lasts_s: Seconds for which a window is open.
        zone: The time zone of the window, and of the day that rounds are counted by, such as Europe/Berlin.
        least_devices: Devices that are willing, without which no round begins; 0 leaves it to the fleet: what
            a round waits for, or else half of the registered ones.
        most_rounds_a_day: None is no limit.
        least_pause_s: Seconds from the end of a round to the beginning of the next.
        paused: Whether an operator has paused the rounds.
        look_every_s: Seconds between two looks of a device for messages, in a fleet that is small.
        looks_a_second: Looks of all waiting devices together that the server wants at most.
    """

    window: str = ALWAYS
    lasts_s: float = 3600.0
    zone: str = "UTC"
    least_devices: int = 0
    most_rounds_a_day: int | None = None
    least_pause_s: float = 0.0
    paused: bool = False
    look_every_s: float = 3.0
    looks_a_second: float = 200.0

    def __post_init__(self) -> None:
        try:
            ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise _never("zone", self.zone, "a time zone such as UTC or Europe/Berlin") from None
        if not 0 < self.lasts_s <= _LONGEST_WINDOW_S:
            raise _never("lasts_s", self.lasts_s, "the seconds of a window, above 0 and up to 31 days")
        if self.least_devices < 0:
            raise _never("least_devices", self.least_devices, "a number of devices, or 0 for the usual one")
        if self.most_rounds_a_day is not None and self.most_rounds_a_day < 1:
            needed = "1 or more: no round would ever begin (fedstill-server pause stops rounds for a while)"
            raise _never("most_rounds_a_day", self.most_rounds_a_day, needed)
        if not 0 <= self.least_pause_s < math.inf:
            raise _never("least_pause_s", self.least_pause_s, "0 or a number of seconds")
        if not 0.2 <= self.look_every_s <= 3600:
            raise _never("look_every_s", self.look_every_s, "0.2 to 3600 seconds")
        if not 0 < self.looks_a_second < math.inf:
            raise _never("looks_a_second", self.looks_a_second, "a number above 0")
        if self.window != ALWAYS:
            self._check_opens()

    @classmethod
    def usual(cls, *, continuous: bool) -> Schedule:
        """The schedule of a fleet without one: always, and where its rounds never end, so many a day."""
        return cls(most_rounds_a_day=USUAL_ROUNDS_A_DAY if continuous else None)

    @classmethod
    def read(cls, folder: Path, *, continuous: bool) -> Schedule:
        """The schedule of the fleet in `folder`; the usual one where there is no file.

        Raises:
            ConfigError: The file says something that cannot be.
            DamagedFile: Its bytes are not those that were written.
        """
        path = folder / SCHEDULE_FILE
        try:
            document = read_sealed_json(path, remedy="delete it, and say anew: fedstill-server schedule")
        except FileNotFoundError:
            return cls.usual(continuous=continuous)
        return from_json(cls, document, where=str(path))

    def write(self, folder: Path) -> None:
        """Make it the schedule of the fleet in `folder`; one that is up follows before its next round."""
        write_sealed_json(folder / SCHEDULE_FILE, to_json(self))

    def opened_until(self, now: datetime) -> datetime | None:
        """Until when the window is open that is open `now`, in UTC; None where none is.

        Args:
            now: A time with its zone.
        """
        if self.window == ALWAYS:
            return datetime.max.replace(tzinfo=UTC)
        last = self._last_start(now)
        end = None if last is None else last + timedelta(seconds=self.lasts_s)
        return end if end is not None and end > now else None

    def next_window_at(self, now: datetime) -> datetime:
        """When the next window opens, in UTC; `now` itself where one is open."""
        if self.opened_until(now) is not None:
            return now.astimezone(UTC)
        return next(CronSim(self.window, self.local(now))).astimezone(UTC)

    def look_after_s(self, devices: int) -> float:
        """Seconds between two looks of a device while rounds may begin, in a fleet of so many devices."""
        return max(self.look_every_s, devices / self.looks_a_second)

    def local(self, moment: datetime) -> datetime:
        """A moment by the clock of the schedule's zone."""
        return moment.astimezone(ZoneInfo(self.zone))

    def text_of(self, moment: datetime) -> str:
        """A moment by the clock of the schedule's zone, for a person."""
        return self.local(moment).strftime("%a %d %b %Y %H:%M:%S %Z")

    def day_of(self, moment: datetime) -> str:
        """The day that a moment is of, by the schedule's zone."""
        return self.local(moment).date().isoformat()

    def next_day_at(self, now: datetime) -> datetime:
        """When the next day begins, in UTC."""
        midnight = self.local(now).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
        return (midnight + timedelta(days=1)).astimezone(UTC)

    def _last_start(self, now: datetime) -> datetime | None:
        """When the newest window up to `now` opened, in UTC."""
        # A second later, as cronsim goes back from before the moment that it is given.
        after = self.local(now + timedelta(seconds=1)).replace(microsecond=0)
        for start in CronSim(self.window, after, reverse=True):
            if start.astimezone(UTC) <= now:
                return start.astimezone(UTC)
        return None

    def _check_opens(self) -> None:
        try:
            next(CronSim(self.window, datetime(2026, 1, 1, tzinfo=UTC)))
        except CronSimError as error:
            raise _never("window", self.window, f"{_WINDOW} ({error})") from None
        except StopIteration:
            raise _never("window", self.window, _WINDOW) from None


def seconds_of(text: str, *, where: str) -> float:
    """The seconds of a duration such as 3h, 1h30m, 90s or 2d; a number alone is of seconds.

    Args:
        text: The duration.
        where: The option or field, for the error.

    Raises:
        ConfigError: It is none.
    """
    given = text.strip().lower().replace(" ", "")
    if re.fullmatch(r"\d+(\.\d+)?", given):
        return float(given)
    parts = _DURATION.findall(given)
    if not parts or "".join(number + unit for number, unit in parts) != given:
        raise _never(where, text, "a duration such as 3h, 90m, 1h30m or 45s")
    return sum(float(number) * _UNITS_S[unit] for number, unit in parts)


def duration_text(seconds: float) -> str:
    """The seconds in words that `seconds_of` reads: 5400 is 1h30m."""
    rest, words = seconds, ""
    for unit, size in _UNITS_S.items():
        count = int(rest // size) if unit != "s" else rest
        if count > 0:
            words += f"{count:g}{unit}"
            rest -= count * size
    return words or "0s"


def _never(field: str, value: object, needed: str) -> ConfigError:
    return ConfigError(f"{field}: {value!r} is not {needed}")

"""When the windows of a schedule open: numbers that a calendar gives, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from fedstill_server.config.codec import ConfigError
from fedstill_server.config.schedule import Schedule, duration_text, seconds_of

NIGHTS = Schedule(window="0 2 * * *", lasts_s=3 * 3600, zone="Europe/Berlin")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("now", "until", "opens_next"),
    [
        # In winter Berlin is an hour ahead: 02:00 to 05:00 is 01:00 to 04:00.
        ("2026-01-10T00:59:59", None, "2026-01-10T01:00"),
        ("2026-01-10T01:00", "2026-01-10T04:00", "2026-01-10T01:00"),
        ("2026-01-10T03:59:59", "2026-01-10T04:00", "2026-01-10T03:59:59"),
        ("2026-01-10T04:00", None, "2026-01-11T01:00"),
        # In the night of 29 March there is no 02:00: the window opens at 03:00, which is 01:00 in UTC.
        ("2026-03-29T01:00", "2026-03-29T04:00", "2026-03-29T01:00"),
        ("2026-03-29T04:00", None, "2026-03-30T00:00"),
        # In the night of 25 October 02:00 comes twice: the window opens at the first, for three hours.
        ("2026-10-25T00:00", "2026-10-25T03:00", "2026-10-25T00:00"),
        ("2026-10-25T03:00", None, "2026-10-26T01:00"),
    ],
)
def test_a_window_opens_by_the_clock_of_its_zone(now: str, until: str | None, opens_next: str) -> None:
    assert NIGHTS.opened_until(utc(now)) == (None if until is None else utc(until))
    assert NIGHTS.next_window_at(utc(now)) == utc(opens_next)


def test_the_usual_schedule_is_always_open() -> None:
    now = utc("2026-01-10T12:00")
    assert Schedule().next_window_at(now) == now
    assert Schedule.usual(continuous=True).most_rounds_a_day == 24
    assert Schedule.usual(continuous=False).most_rounds_a_day is None


def test_a_day_is_that_of_the_zone() -> None:
    assert NIGHTS.day_of(utc("2026-01-10T22:59")) == "2026-01-10"
    assert NIGHTS.day_of(utc("2026-01-10T23:00")) == "2026-01-11"
    assert NIGHTS.next_day_at(utc("2026-03-28T23:30")) == utc("2026-03-29T22:00")  # a day of 23 hours


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("window", "0 0 31 2 *"),
        ("window", "0 0 31 4,6,9,11 *"),
        ("window", "every night"),
        ("window", "61 * * * *"),
        ("lasts_s", 0.0),
        ("lasts_s", -5.0),
        ("lasts_s", float("nan")),
        ("zone", "Mars/Olympus"),
        ("zone", "../etc/passwd"),
        ("most_rounds_a_day", 0),
        ("least_devices", -1),
        ("least_pause_s", -1.0),
        ("look_every_s", 0.0),
        ("looks_a_second", 0.0),
    ],
)
def test_a_schedule_that_never_opens_is_refused_by_its_field(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"^{field}: .* is not .*") as refused:
        Schedule(**{field: value})
    assert "\n" not in str(refused.value)


def test_a_schedule_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert Schedule.read(tmp_path, continuous=False) == Schedule()
    NIGHTS.write(tmp_path)
    assert Schedule.read(tmp_path, continuous=True) == NIGHTS


def test_durations() -> None:
    assert [seconds_of(text, where="--for") for text in ("3h", "1h30m", "90", "2d", "0.5s")] == [
        *(10800, 5400, 90, 172800, 0.5)
    ]
    assert [duration_text(seconds) for seconds in (10800, 5400, 90061, 0)] == [
        "3h",
        "1h30m",
        "1d1h1m1s",
        "0s",
    ]
    with pytest.raises(ConfigError, match="--for: '3 weeks' is not a duration"):
        seconds_of("3 weeks", where="--for")


@pytest.mark.parametrize(("devices", "seconds"), [(1, 3), (600, 3), (20_000, 100), (1_000_000, 5000)])
def test_a_million_devices_look_no_more_often_than_the_server_wants(devices: int, seconds: float) -> None:
    assert Schedule().look_after_s(devices) == seconds
    assert devices / Schedule().look_after_s(devices) <= 200

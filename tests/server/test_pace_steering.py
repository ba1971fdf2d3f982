"""How often devices are told to look: never more together than the server wants, and soon all the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fedstill_proto.system.steering import COME_BACK_HEADER, RELEASE_HEADER, Heard
from fedstill_server.config.schedule import Schedule
from fedstill_server.fleet.pace_steering import Pace, PaceSteering
from fedstill_server.rounds.rounds_status import RoundsStatus

KEYS = [str(number).encode() for number in range(2000)]
NOW_S = 1_800_000_000.0


def pace(devices: int, waiting_for: str = "", until: float | None = None) -> Pace:
    status = RoundsStatus(round=1, waiting_for=waiting_for, text="", until=until)
    return Pace.of(Schedule(), status, devices=devices)


@pytest.mark.parametrize("devices", [2000, 20_000, 1_000_000])
@pytest.mark.parametrize("waiting_for", ["", "paused", "devices"])
def test_all_looks_together_are_no_more_than_the_server_wants(devices: int, waiting_for: str) -> None:
    told = [pace(devices, waiting_for).look_after_s(key, now_s=NOW_S) for key in KEYS]
    looks_a_second = sum(1 / seconds for seconds in told) * devices / len(KEYS)
    assert looks_a_second <= 200 or devices == 2000  # which looks every three seconds
    assert looks_a_second <= 2000 / 3


@pytest.mark.parametrize("devices", [6000, 1_000_000])
def test_devices_that_wait_for_one_window_come_one_after_the_other(devices: int) -> None:
    closed = pace(devices, "window", until=NOW_S + 20)
    comes = sorted(closed.look_after_s(key, now_s=NOW_S) for key in KEYS)
    assert comes[0] >= 20
    # Of 2,000 of them, a hundred in a row never come in less than half of their share of the time.
    share_s = devices / 200 * 100 / len(KEYS)
    assert min(after - before for before, after in zip(comes, comes[100:], strict=False)) > share_s / 2


def test_a_small_fleet_hears_within_a_minute_that_rounds_are_off() -> None:
    assert max(pace(500, "paused").look_after_s(key, now_s=NOW_S) for key in KEYS) < 40
    assert max(pace(500, "window", NOW_S + 9e9).look_after_s(key, now_s=NOW_S) for key in KEYS) < 40
    assert max(pace(500).look_after_s(key, now_s=NOW_S) for key in KEYS) < 4


def test_headers_follow_what_the_folder_says(tmp_path: Path) -> None:
    metadata = tmp_path / "repository" / "metadata"
    metadata.mkdir(parents=True)
    (metadata / "timestamp.json").write_text(json.dumps({"signed": {"version": 7}}))
    Schedule(look_every_s=0.5).write(tmp_path)
    heard = Heard()
    heard.hear(PaceSteering(tmp_path).headers(b"key", devices=4))
    assert heard.release == 7
    assert 0.5 <= heard.look_after_s <= 0.625
    assert heard.next_window_at == 0
    status = RoundsStatus(round=1, waiting_for="window", text="", until=NOW_S + 3600)
    status.write(tmp_path)
    heard.hear(PaceSteering(tmp_path, clock=lambda: NOW_S).headers(b"key", devices=4))
    assert heard.next_window_at == NOW_S + 3600
    assert 30 <= heard.look_after_s <= 37.5
    heard.hear(PaceSteering(tmp_path, clock=lambda: NOW_S + 3600).headers(b"key", devices=4))
    assert heard.next_window_at == 0


def test_who_has_just_replied_is_not_kept_waiting_by_who_has_not(tmp_path: Path) -> None:
    now_s = NOW_S
    steering = PaceSteering(tmp_path, clock=lambda: now_s)
    steering.replied(b"busy")
    told = {key: steering.headers(key, devices=1_000_000)[COME_BACK_HEADER] for key in (b"busy", b"idle")}
    assert 3 <= float(told[b"busy"]) <= 3.75
    assert 5000 <= float(told[b"idle"]) <= 6250


@pytest.mark.parametrize("said", ["", "soon", "nan", "inf", "-inf", "1e999"])
def test_what_cannot_be_meant_is_left_out(said: str) -> None:
    heard = Heard()
    heard.hear({COME_BACK_HEADER: said, RELEASE_HEADER: said})
    assert heard == Heard()


def test_a_device_looks_again_within_its_own_limits() -> None:
    heard = Heard()
    for said, after_s in (("1e9", 7200), ("-5", 0.2), ("0", 0.2), ("30", 30)):
        heard.hear({COME_BACK_HEADER: said, RELEASE_HEADER: "9" * 17})
        assert (heard.look_after_s, heard.release) == (after_s, 0)

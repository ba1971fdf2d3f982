"""How a device stands with its server: kept in its home, told once, and tried again in growing pauses."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from fedstill_client.fleet.connection import (
    ConnectionNews,
    ConnectionRecord,
    Standing,
    read_connection,
)
from fedstill_client.home import AgentHome
from fedstill_proto.system.fleet_http import NotLetIn


@pytest.fixture
def home(tmp_path: Path) -> AgentHome:
    return AgentHome(tmp_path)


def test_a_device_that_is_not_let_in_waits_a_tenth_of_what_it_has_waited(home: AgentHome) -> None:
    now = [0.0]
    record = ConnectionRecord(home, clock=lambda: 1000 + now[0])
    pauses = []
    for now[0] in (0.0, 20.0, 200.0, 2000.0, 90_000.0):
        pauses.append(record.refused(Standing.REFUSED, "unregistered"))
    for pause, expected in zip(pauses, (5, 5, 20, 200, 600), strict=True):
        assert pause == pytest.approx(expected, rel=0.2)
    kept = read_connection(home)
    assert kept is not None
    assert (kept.standing, kept.why, kept.since) == (Standing.REFUSED, "unregistered", 1000.0)
    record.connected()
    assert record.refused(Standing.REFUSED, "revoked") == pytest.approx(5, rel=0.2)


def test_news_is_told_once(home: AgentHome) -> None:
    told: list[str] = []
    news = ConnectionNews(home, told.append)
    record = ConnectionRecord(home)
    news.check()
    for _ in range(3):
        record.refused(Standing.REFUSED, "unregistered")
        news.check()
    assert len(told) == 1
    assert "its key is not registered; bring keys/device.pub" in told[0]
    record.refused(Standing.REFUSED, "revoked")
    news.check()
    record.connected()
    news.check()
    assert ["revoked" in text for text in told] == [False, True, False]
    assert told[2] == "the server lets this device in"


def test_a_server_is_heard_until_it_is_silent_for_longer_than_it_said(home: AgentHome) -> None:
    now = [1000.0]
    record = ConnectionRecord(home, clock=lambda: now[0])
    record.connected()
    record.heard(3.0)
    assert record.now.is_connected(now=1200.0)
    assert not record.now.is_connected(now=1400.0)
    record.heard(900.0)
    assert record.now.come_back_at == 1900.0
    assert record.now.is_connected(now=2000.0)


def test_the_file_is_written_where_something_changes_and_seldom_otherwise(home: AgentHome) -> None:
    now = [1000.0]
    record = ConnectionRecord(home, clock=lambda: now[0])
    record.connected()
    written = home.connection.stat().st_mtime_ns
    for now[0] in (1003.0, 1006.0, 1009.0):
        record.heard(3.0)
    assert home.connection.stat().st_mtime_ns == written
    now[0] = 1200.0
    record.heard(3.0)
    assert home.connection.stat().st_mtime_ns != written
    kept = read_connection(home)
    assert kept is not None
    assert kept.heard_at == 1200.0


def test_a_word_that_nobody_knows_is_left_out() -> None:
    assert NotLetIn("<script>").why == ""
    assert pickle.loads(pickle.dumps(NotLetIn("revoked"))).why == "revoked"

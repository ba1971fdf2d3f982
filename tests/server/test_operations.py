"""What is known of a fleet's devices, what happened, and the log of what operators did."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from fedstill_server.operations.audit import BLANK, AuditLog
from fedstill_server.operations.database import FleetDatabase
from fedstill_server.operations.errors import OperationsError


def test_facts_of_devices_add_up(tmp_path: Path) -> None:
    with FleetDatabase.open(tmp_path) as database:
        database.note_device("kitchen", node="17", online=True, last_seen_at=5.0)
        database.note_device("kitchen", package_version=3, generation=1)
        database.count_answers(4, {"kitchen": ("counted", "")})
        database.count_answers(5, {"kitchen": ("not-now", "busy")})
        database.count_answers(5, {"attic": ("counted", "")})
        attic, kitchen = database.devices()
    assert (kitchen.node, kitchen.online, kitchen.package_version) == ("17", True, 3)
    assert (kitchen.last_round, kitchen.last_outcome, kitchen.last_outcome_text) == (5, "not-now", "busy")
    assert (kitchen.counted_rounds, kitchen.refusals) == (1, 1)
    assert (attic.counted_rounds, attic.refusals, attic.willing) == (1, 0, None)
    with (
        FleetDatabase.open(tmp_path) as database,
        pytest.raises(OperationsError, match="no fact of a device"),
    ):
        database.note_device("kitchen", colour="red")


def test_events_are_told_in_order_and_read_on_from_the_last(tmp_path: Path) -> None:
    with FleetDatabase.open(tmp_path, clock=lambda: 7.0) as database:
        for number in range(5):
            database.tell("round" if number % 2 else "device", f"event {number}", round=number)
        first = database.events(limit=2)
        assert [one.text for one in first] == ["event 0", "event 1"]
        rest = database.events(after=first[-1].number)
        assert [one.document["round"] for one in rest] == [2, 3, 4]
        assert [one.text for one in database.last_events(1, kinds=["round"])] == ["event 3"]
        assert {one.at for one in rest} == {7.0}


def test_reports_are_the_newest_of_each_device(tmp_path: Path) -> None:
    with FleetDatabase.open(tmp_path) as database:
        database.note_report(3, "kitchen", {"crashes": 1})
        database.note_report(3, "kitchen", {"crashes": 2})
        database.note_report(2, "attic", {"crashes": 0})
        assert database.reports(3) == {"kitchen": {"crashes": 2}}


def test_several_writers_lose_nothing(tmp_path: Path) -> None:
    def write(thread: int) -> None:
        with FleetDatabase.open(tmp_path) as database:
            for number in range(20):
                database.count_answers(number, {"kitchen": ("counted", "")})
                database.tell("note", f"{thread}")

    with FleetDatabase.open(tmp_path) as database:
        threads = [threading.Thread(target=write, args=(thread,)) for thread in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert database.devices()[0].counted_rounds == 80
        assert len(database.events()) == 80


def test_a_database_that_is_gone_is_one_line(tmp_path: Path) -> None:
    address = "sqlite:////proc/no/such/folder.db"
    with pytest.raises(OperationsError, match="the database does not answer") as raised:
        FleetDatabase.open(tmp_path, address=address)
    assert "\n" not in str(raised.value)


def test_the_audit_log_is_a_chain(tmp_path: Path) -> None:
    log = AuditLog(tmp_path, clock=lambda: 1.5)
    first = log.append("register", name="kitchen")
    second = log.append("publish", version=2)
    assert (first.before, first.number, first.at) == (BLANK, 1, 1.5)
    assert (second.before, second.number) == (first.digest, 2)
    assert log.check() == []
    assert [one.action for one in log.entries()] == ["register", "publish"]


def test_what_was_changed_in_the_audit_log_is_named(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    for number in range(4):
        log.append("register", name=f"device-{number}")
    lines = log.file.read_text().splitlines()
    log.file.write_text("\n".join([lines[0], lines[1].replace("device-1", "device-9"), *lines[2:]]) + "\n")
    assert [problem.split(": ", 1)[1] for problem in log.check()] == [
        "line 2: it is not what was written (SHA-256)",
        "line 3: it does not follow on the line before",
    ]
    log.file.write_text("\n".join([lines[0], *lines[2:]]) + "\n")
    assert ["line 2: it does not follow on the line before" in one for one in log.check()] == [True]


def test_half_a_line_of_a_killed_writer_is_cut_off(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    log.append("register", name="kitchen")
    whole = log.file.read_bytes()
    log.file.write_bytes(whole + json.dumps({"number": 2}).encode()[:-3])
    entry = log.append("publish")
    assert entry.number == 2
    assert log.check() == []

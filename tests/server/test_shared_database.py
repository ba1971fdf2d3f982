"""A fleet whose state machines share: PostgreSQL, the lease, the copy of the folder, backups."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fedstill_proto.system.sealed import DamagedFile
from fedstill_proto.system.signals import EndSignals
from fedstill_server.cli import cli
from fedstill_server.fleet.backup import back_up, restore
from fedstill_server.fleet.errors import FleetError
from fedstill_server.fleet.folder import FleetFolder
from fedstill_server.fleet.replication import Replication, copies_commits, wait_as_standby
from fedstill_server.operations.address import (
    checked_address,
    database_address,
    write_database_address,
)
from fedstill_server.operations.database import FleetDatabase
from fedstill_server.operations.errors import OperationsError
from fedstill_server.operations.replica import HOLDER_VARIABLE, FleetReplica, LeaseLost
from fedstill_server.rounds.run_store import RunStore
from fedstill_server.state import FleetState
from typer.testing import CliRunner

from benchmarks.fleet_on_loopback.postgresql import MissingProgram, PostgreSQL, postgresql


@pytest.fixture(scope="module")
def server() -> Iterator[PostgreSQL]:
    try:
        with postgresql() as up:
            yield up
    except MissingProgram as missing:
        pytest.skip(str(missing))


@pytest.fixture
def fleet(tmp_path: Path) -> FleetFolder:
    """A fleet that is initialized, with a committed round 0."""
    folder = tmp_path / "fleet"
    done = CliRunner().invoke(cli, ["init", str(folder), "--host", "127.0.0.1"])
    assert done.exit_code == 0, done.output
    RunStore(folder).commit(0, state(0))
    return FleetFolder.open(folder)


def state(number: int) -> FleetState:
    weights = {"w": np.full(3, number, np.float32)}
    return FleetState(teacher=weights, students={"mlp-small": weights})


def own_database(server: PostgreSQL, fleet: FleetFolder) -> str:
    """A database for this test alone."""
    import psycopg

    with psycopg.connect(server.address, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{fleet.run}"')
    return server.address.replace("/postgres", f"/{fleet.run}")


def test_facts_are_kept_by_postgresql_as_by_sqlite(server: PostgreSQL, fleet: FleetFolder) -> None:
    write_database_address(fleet.folder, own_database(server, fleet))
    with FleetDatabase.open(fleet.folder) as database:
        database.note_device("kitchen", node=str((1 << 64) - 1), online=True)
        database.count_answers(4, {"kitchen": ("counted", "")})
        database.tell("round", "round 4", accuracy=0.5)
        database.note_report(3, "kitchen", {"crashes": 1})
    with FleetDatabase.open(fleet.folder) as database:
        (kitchen,) = database.devices()
        assert (kitchen.node, kitchen.counted_rounds) == (str((1 << 64) - 1), 1)
        assert [one.document for one in database.events()] == [{"accuracy": 0.5}]
        assert database.reports(3) == {"kitchen": {"crashes": 1}}
    assert not (fleet.folder / "operations.db").exists()


def test_a_second_machine_goes_on_after_the_last_committed_round(
    server: PostgreSQL, fleet: FleetFolder, tmp_path: Path
) -> None:
    back_up(fleet, tmp_path / "fleet.tar.gz")
    write_database_address(fleet.folder, own_database(server, fleet))
    restore(tmp_path / "fleet.tar.gz", tmp_path / "second")
    second = FleetFolder.open(tmp_path / "second")
    write_database_address(second.folder, database_address(fleet.folder))

    told: list[str] = []
    with Replication(fleet, told.append).held():
        store = RunStore(fleet.folder, on_commit=copies_commits(fleet))
        store.commit(1, state(1))
        store.commit(2, state(2))
        with pytest.raises(FleetError, match="this fleet is up on"), Replication(second, told.append).held():
            pass
        # The first machine dies here: what it has not committed is not there.
        dead = tmp_path / "as it died"
        shutil.copytree(fleet.folder, dead)
        with EndSignals() as signals:
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
            assert not wait_as_standby(second, signals, told.append)
    assert told[-1].startswith("standing by: the fleet is up on")
    with EndSignals() as signals:
        assert wait_as_standby(second, signals, told.append)
    with Replication(second, told.append).held():
        latest = RunStore(second.folder).latest()
        assert latest is not None
        assert latest.round == 2
        assert latest.state.teacher["w"].tolist() == [2, 2, 2]
        assert (second.keys / "ca.pem").read_bytes() == (fleet.keys / "ca.pem").read_bytes()
        second.digests.check()
        # The one that was thought dead comes back with its old lease: it writes nothing.
        first = FleetReplica.of(fleet.folder, fleet.run)
        with pytest.raises(LeaseLost, match="serves the fleet now"):
            first.push("the first machine")
        first.close()


def test_a_database_that_is_gone_in_the_middle_of_a_round_is_waited_for(
    server: PostgreSQL, fleet: FleetFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("fedstill_server.fleet.replication._AGAIN_S", 0.05)
    write_database_address(fleet.folder, own_database(server, fleet))
    told: list[str] = []
    with Replication(fleet, told.append).held():
        store = RunStore(fleet.folder, on_commit=copies_commits(fleet))
        server.stop()
        committing = threading.Thread(target=store.commit, args=(1, state(1)))
        try:
            committing.start()
            committing.join(0.5)
            assert committing.is_alive()  # the round waits, and nobody learns of it
        finally:
            server.start()
        committing.join(30)
        assert not committing.is_alive()
        replica = FleetReplica.of(fleet.folder, fleet.run)
        assert replica.push(os.environ[HOLDER_VARIABLE]).changed == 0  # all of it is there
        replica.close()
    waiting, again = [record.getMessage() for record in caplog.records]
    assert "the database does not answer" in waiting
    assert again == "the shared database answers again; the round goes on"


def test_a_server_that_was_killed_comes_back_at_once(server: PostgreSQL, fleet: FleetFolder) -> None:
    write_database_address(fleet.folder, own_database(server, fleet))
    killed = Replication(fleet, print).held()
    killed.__enter__()  # and never left
    with Replication(fleet, print).held():
        pass
    with contextlib.suppress(LeaseLost):
        killed.__exit__(None, None, None)


def test_each_fleet_has_a_database_of_its_own(server: PostgreSQL, fleet: FleetFolder, tmp_path: Path) -> None:
    address = own_database(server, fleet)
    write_database_address(fleet.folder, address)
    with Replication(fleet, print).held():
        pass
    with pytest.raises(OperationsError, match=f"this is the database of fleet {fleet.run}"):
        FleetReplica.of(tmp_path, "other", address)


def test_a_copy_names_no_file_outside_the_folder(fleet: FleetFolder, tmp_path: Path) -> None:
    replica = FleetReplica.of(fleet.folder, fleet.run, f"sqlite:///{tmp_path / 'shared.db'}")
    assert replica.take_lease("here")
    replica.push("here")
    import sqlite3

    for path in ("../outside", "/etc/passwd", "keys/ca.pem", "superlink.db-wal", ""):
        with sqlite3.connect(tmp_path / "shared.db") as connection:
            connection.execute(
                "INSERT INTO fleet_file VALUES (?, ?, 0, ?)",
                (path, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", b""),
            )
        with pytest.raises(OperationsError, match="no file of a fleet's folder"):
            replica.pull()
        with sqlite3.connect(tmp_path / "shared.db") as connection:
            connection.execute("DELETE FROM fleet_file WHERE path = ?", (path,))
    replica.close()


@pytest.mark.parametrize("address", ["kitchen", "mysql://host/name", "postgresql//x", "://"])
def test_what_is_no_address_is_refused_without_its_password(address: str) -> None:
    with pytest.raises(OperationsError, match="is no address of a database"):
        checked_address(address)
    with pytest.raises(OperationsError) as raised:
        checked_address("oracle://me:secret@host/name")
    assert "secret" not in str(raised.value)


def test_a_backup_restores_the_fleet_as_it_was(fleet: FleetFolder, tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["backup", str(fleet.folder), "--out", str(tmp_path / "b.tar.gz")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "b.tar.gz").stat().st_mode & 0o777 == 0o600
    done = CliRunner().invoke(cli, ["restore", str(tmp_path / "b.tar.gz"), str(tmp_path / "again")])
    assert done.exit_code == 0, done.output
    again = FleetFolder.open(tmp_path / "again")
    again.digests.check()
    latest = RunStore(again.folder).latest()
    assert latest is not None
    assert again.run == fleet.run
    assert again.keys.stat().st_mode & 0o777 == 0o700
    with pytest.raises(FleetError, match="exists already"):
        restore(tmp_path / "b.tar.gz", tmp_path / "again")


def test_a_damaged_backup_leaves_nothing_behind(fleet: FleetFolder, tmp_path: Path) -> None:
    back_up(fleet, tmp_path / "b.tar.gz")
    whole = (tmp_path / "b.tar.gz").read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:-400] + bytes(400), b"no archive", b""):
        (tmp_path / "d.tar.gz").write_bytes(damaged)
        with pytest.raises((FleetError, DamagedFile)):
            restore(tmp_path / "d.tar.gz", tmp_path / "again")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["b.tar.gz", "d.tar.gz", "fleet"]

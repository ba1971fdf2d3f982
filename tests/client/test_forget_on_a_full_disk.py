"""`forget` where there is no room, and after kill -9: on a small disk of its own, really full."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from fedstill_client.home import AgentHome
from fedstill_client.store import PrivateStore
from fedstill_client.store import database as module
from fedstill_client.store.database import Database, DiskFull

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "forget.py"


def test_it_leaves_no_byte_behind() -> None:
    done = subprocess.run(
        [sys.executable, str(BENCHMARK), "--kills", "3"], capture_output=True, text=True, check=False
    )
    if "no user namespaces" in done.stderr:
        pytest.skip("a full disk cannot be made: no user namespaces (unshare -rm) on this machine")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASSED: 3 of 3" in done.stdout
    assert "a full disk, all of the examples, nobody killed: forgot 1500" in done.stdout


def test_a_large_value_is_overwritten_where_it_stands(tmp_path: Path) -> None:
    with PrivateStore.create(AgentHome(tmp_path / "home")) as store:
        store.save_learning(bytes(range(256)) * 8192)  # 2 MiB
        log = store.home.store.with_name("store.db-wal")
        store._database.erase_deleted()
        assert log.stat().st_size == 0
        sizes = []
        begin_anew = Database.begin_log_anew

        def seen(database: Database) -> None:
            sizes.append(log.stat().st_size)
            begin_anew(database)

        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Database, "begin_log_anew", seen)
            assert store.forget(everything=True).learning
        assert len(sizes) > 8
        assert max(sizes) < 1 << 19
        assert store.learning() is None
        assert store.integrity() == "ok"


def test_an_error_of_a_full_disk_says_so_and_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with PrivateStore.create(AgentHome(tmp_path / "home")) as store:
        store._database.execute("PRAGMA max_page_count = 20")
        with pytest.raises(DiskFull, match="the disk is full"):
            store.save_learning(b"x" * 200_000)
        store._database.execute("PRAGMA max_page_count = 100000")
        store.save_learning(b"x" * 200_000)
        monkeypatch.setattr(module.shutil, "disk_usage", lambda _: pytest.fail("not asked"))
        assert store.counts().training == 0

"""The private store: what it keeps, what it gives back, what it forgets."""

from __future__ import annotations

import hashlib
import math
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fedstill_client.home import AgentHome, Encryption, HomeError
from fedstill_client.model.student_store import DeviceStoreError, OwnStudent
from fedstill_client.packages.installed import InstalledPackage
from fedstill_client.store import PrivateStore, Release, Retention, check_example, is_held_out
from fedstill_client.store.database import Database
from fedstill_client.store.keys import find_key
from fedstill_proto.errors import InvalidValue

from tests.client.samples import artifact, student

CANARY = np.frombuffer(b"CANARY-IN-A-COAL-MINE-OF-TESTS!!", np.float32)


@pytest.fixture
def home(tmp_path: Path) -> AgentHome:
    return AgentHome(tmp_path / "home")


@pytest.fixture
def store(home: AgentHome) -> PrivateStore:
    return PrivateStore.create(home)


def example(number: int) -> np.ndarray:
    return np.full((2, 3), number, np.float32)


def release(round: int = 1, content: bytes = b"summary", rho: float = math.inf) -> Release:
    digest = hashlib.sha256(content).hexdigest()
    return Release("r1", round, "public-set", 10, len(content), digest, rho=rho)


def installed(version: int) -> InstalledPackage:
    return InstalledPackage(version, "mlp-small", Path(f"{version}-mlp-small"), "a" * 64)


def everything_in(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file())


def test_examples_come_back_as_they_were_observed(store: PrivateStore) -> None:
    ids = [store.observe(example(number), number % 3) for number in range(40)]

    both = store.examples("all")
    assert both.ids.tolist() == ids == list(range(1, 41))
    np.testing.assert_array_equal(both.x, np.stack([example(number) for number in range(40)]))
    assert both.labels.tolist() == [number % 3 for number in range(40)]
    assert (both.x.dtype, both.labels.dtype) == (np.float32, np.int64)


def test_about_one_example_in_five_is_held_out_and_stays_so(store: PrivateStore) -> None:
    for number in range(60):
        store.observe(example(number), 0)
    held_out = store.examples("held-out").ids.tolist()
    for number in range(60):
        store.observe(example(number), 0)

    assert store.examples("held-out").ids.tolist()[: len(held_out)] == held_out
    assert not set(store.examples("training").ids) & set(store.examples("held-out").ids)
    assert 0.15 < sum(map(is_held_out, range(1, 5001))) / 5000 < 0.25


def test_words_and_their_labels_keep_their_type_and_shape(store: PrivateStore) -> None:
    store.observe(np.array([4, 1, 2]), np.array([1, 2, 0]))

    kept = store.examples("all")
    assert kept.x.dtype == np.int64
    assert kept.x.tolist() == [[4, 1, 2]]
    assert kept.labels.tolist() == [[1, 2, 0]]


def test_retention_keeps_the_newest_that_fit(store: PrivateStore) -> None:
    for number in range(10):
        store.observe(example(number), 0, observed_at=1000.0 + number)
    store.retention = Retention(max_examples=6)
    assert store.prune(now=2000.0) == 4
    store.retention = Retention(max_bytes=3 * (24 + 8))
    assert store.prune(now=2000.0) == 3
    assert store.examples("all").ids.tolist() == [8, 9, 10]

    store.retention = Retention(max_age_days=1)
    assert store.prune(now=1008.5 + 86_400) == 2
    assert store.examples("all").ids.tolist() == [10]
    assert store.observe(example(0), 0) == 11


def test_the_store_opens_again_with_all_that_it_held(home: AgentHome, store: PrivateStore) -> None:
    store.observe(example(1), 2)
    store.ledger.debit(release())
    store.record_installation(installed(3))
    store.save_learning(b"half way")
    store.keep_soft_labels(3, "r1", 2, b"labels")
    store.close()

    with PrivateStore.open(home) as again:
        assert again.counts().training + again.counts().held_out == 1
        assert again.ledger.releases() == [release()]
        assert again.installed() == installed(3)
        assert again.learning() == b"half way"
        assert again.soft_labels(3) == b"labels"
        assert again.soft_labels(4) is None


def test_a_release_is_counted_once_for_the_same_bytes_and_again_for_others(store: PrivateStore) -> None:
    store.ledger.debit(release(rho=0.5))
    store.ledger.debit(release(rho=0.5))
    store.ledger.debit(release(content=b"other", rho=0.25))

    totals = store.ledger.totals()
    assert (totals.releases, totals.values, totals.bytes) == (2, 20, 7 + 5)
    assert (totals.rho, totals.unbounded) == (0.75, 0)


def test_a_release_without_noise_has_no_bound(store: PrivateStore) -> None:
    store.ledger.debit(release(rho=1.0))
    store.ledger.debit(release(round=2))

    totals = store.ledger.totals()
    assert (totals.rho, totals.unbounded) == (1.0, 1)


def test_a_store_from_before_noise_is_brought_up(home: AgentHome, store: PrivateStore) -> None:
    store.observe(example(1), 0)
    store.ledger.debit(release())
    store.close()
    old = Database.open(home.store, None)
    with old.transaction():  # what version 1 looked like
        for change in ("DROP COLUMN rho", "DROP COLUMN summary", "ADD COLUMN epsilon REAL"):
            old.execute(f"ALTER TABLE releases {change}")
        old.execute("ALTER TABLE releases ADD COLUMN delta REAL NOT NULL DEFAULT 0")
        old.execute("PRAGMA user_version = 1")
    old.close()

    for _ in range(2):  # and it stays what it is then
        with PrivateStore.open(home) as again:
            assert again.ledger.releases() == [release()]
            assert again.counts().training + again.counts().held_out == 1
            again.ledger.debit(release(rho=0.5))


def test_ids_go_on_in_a_store_in_which_sqlite_counted_them(home: AgentHome, store: PrivateStore) -> None:
    store.close()
    old = Database.open(home.store, None)
    with old.transaction():  # what version 2 looked like
        (table,) = old.rows("SELECT sql FROM sqlite_master WHERE name = 'examples'")[0]
        old.execute("DROP TABLE examples")
        old.execute(table.replace("PRIMARY KEY,", "PRIMARY KEY AUTOINCREMENT,"))
        row = "(NULL, 'example', 0, 1.0, 'float32', '[0]', X'', '[]', X'0000000000000000')"
        old.execute(f"INSERT INTO examples VALUES {row}, {row}")
        old.execute("DELETE FROM examples")
        old.execute("PRAGMA user_version = 2")
    old.close()

    with PrivateStore.open(home) as again:
        assert again.observe(example(1), 0) == 3


def test_an_id_is_not_given_again_after_its_example_is_forgotten(store: PrivateStore) -> None:
    assert [store.observe(example(n), 0) for n in range(3)] == [1, 2, 3]
    store.forget(everything=True)
    assert store.observe(example(3), 0) == 4
    store.retention = Retention(max_age_days=1e-9)
    store.prune()
    assert store.counts().training + store.counts().held_out == 0
    store.retention = Retention()
    assert store.observe(example(4), 0) == 5


def test_twenty_single_observations_write_little(home: AgentHome, store: PrivateStore) -> None:
    log = home.store.with_name(home.store.name + "-wal")
    log_bytes, database = log.stat().st_size, home.store.read_bytes()
    for number in range(20):
        store.observe(np.full((8, 8), number, np.float32), 1)  # on the disk each time
    assert log.stat().st_size - log_bytes <= 40_000
    assert home.store.read_bytes() == database  # nothing was written twice


def test_a_learned_student_takes_the_place_of_the_one_before(store: PrivateStore) -> None:
    store.record_installation(installed(3))
    students = store.students(artifact().manifest, 3)
    students.save(OwnStudent("r1", 1, student(1)), before=None)
    store.save_learning(b"half way")

    store.finish_learning(3, OwnStudent("offline", 1, student(2)))

    latest, before = students.latest(), students.before("offline", 1)
    assert latest is not None
    assert before is not None
    np.testing.assert_array_equal(latest.parameters["hidden.weight"], student(2)["hidden.weight"])
    assert (before.run, before.round) == ("r1", 1)
    assert store.learning() is None
    assert store.students(artifact().manifest, 4).latest() is None


def test_control_variates_are_kept_with_their_student_and_no_other(store: PrivateStore) -> None:
    store.record_installation(installed(3))
    students = store.students(artifact().manifest, 3)
    students.save(OwnStudent("r1", 1, student(1), control_variates=student(5)), before=None)

    kept = students.before("r1", 2)
    assert kept is not None
    found = kept.control_variates_in("r1")
    assert found is not None
    np.testing.assert_array_equal(found["hidden.weight"], student(5)["hidden.weight"])
    assert kept.control_variates_in("r2") is None

    store.finish_learning(3, OwnStudent("offline", 1, student(2)))
    latest = students.latest()
    assert latest is not None
    assert latest.control_variates == {}
    students.save(OwnStudent("r1", 2, student(3)), before=kept)
    again = students.before("r1", 2)
    assert again is not None
    assert again.control_variates_in("r1") is not None


def test_a_learning_that_was_not_better_leaves_the_student(store: PrivateStore) -> None:
    store.record_installation(installed(3))
    students = store.students(artifact().manifest, 3)
    students.save(OwnStudent("r1", 1, student(1)), before=None)
    store.save_learning(b"half way")

    store.finish_learning(3, None)

    latest = students.latest()
    assert latest is not None
    assert latest.run == "r1"
    assert store.learning() is None


def test_forgetting_leaves_no_byte_behind(home: AgentHome, store: PrivateStore) -> None:
    store.record_installation(installed(3))
    for _ in range(50):
        store.observe(CANARY, 0)
    learned = student(1)
    name = next(iter(learned))
    learned[name] = np.resize(CANARY, learned[name].shape).astype(np.float32)
    store.students(artifact().manifest, 3).save(OwnStudent("r1", 1, learned), before=None)
    store.save_learning(CANARY.tobytes())
    store.ledger.debit(release())
    assert CANARY.tobytes()[:12] in everything_in(home.folder)

    gone = store.forget(everything=True)

    assert (gone.examples, gone.students, gone.learning) == (50, 1, True)
    assert CANARY.tobytes()[:12] not in everything_in(home.folder)
    assert store.students(artifact().manifest, 3).latest() is None
    assert store.ledger.releases() == [release()]


def test_forgetting_some_examples_leaves_the_others(store: PrivateStore) -> None:
    ids = [store.observe(example(number), 0, observed_at=1000.0 + number) for number in range(6)]

    assert store.forget(ids=ids[:2]).examples == 2
    assert store.forget(before=1003.5).examples == 2
    assert store.examples("all").ids.tolist() == ids[4:]
    with pytest.raises(InvalidValue, match="one of them"):
        store.forget()


def test_a_training_cannot_keep_what_it_learned_from_forgotten_examples(home: AgentHome) -> None:
    agent, round = PrivateStore.create(home), PrivateStore.open(home)
    agent.observe(example(1), 0)
    students = round.students(artifact().manifest, 3)

    with students.locked():
        agent.forget(everything=True)
        with pytest.raises(DeviceStoreError, match="forgotten"):
            students.save(OwnStudent("r1", 1, student(1)), before=None)
        with pytest.raises(DeviceStoreError, match="forgotten"):
            round.save_learning(b"half way")

    assert students.latest() is None
    students.save(OwnStudent("r1", 2, student(1)), before=None)


def test_examples_read_before_a_forgetting_make_no_student(home: AgentHome) -> None:
    agent, round = PrivateStore.create(home), PrivateStore.open(home)
    agent.observe(example(1), 0)
    students = round.students(artifact().manifest, 3, read_after=round.times_forgotten())
    agent.forget(everything=True)

    with students.locked(), pytest.raises(DeviceStoreError, match="forgotten"):
        students.save(OwnStudent("r1", 1, student(1)), before=None)


def test_a_forgetting_that_was_cut_off_is_ended_by_whoever_opens_the_store(
    home: AgentHome, store: PrivateStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(50):
        store.observe(CANARY, 0)

    def power_cut(_: Database) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Database, "erase_deleted", power_cut)
        with pytest.raises(KeyboardInterrupt):
            store.forget(everything=True)
    assert CANARY.tobytes()[:12] in everything_in(home.folder)

    with PrivateStore.open(home) as again:
        assert CANARY.tobytes()[:12] not in everything_in(home.folder)
        assert again.counts().training == 0


@pytest.mark.parametrize("encryption", ["off", "key-file"])
def test_a_store_whose_making_was_cut_off_is_made_again(
    home: AgentHome, monkeypatch: pytest.MonkeyPatch, encryption: Encryption
) -> None:
    def power_cut(_: Database) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Database, "_fill", power_cut)
        with pytest.raises(KeyboardInterrupt):
            PrivateStore.create(home, encryption=encryption)
    assert not home.store.exists()

    with PrivateStore.create(home, encryption=encryption) as store:
        store.observe(example(1), 0)
    with PrivateStore.open(home) as again:
        assert again.counts().training + again.counts().held_out == 1


def test_a_key_of_another_encryption_is_not_overwritten(home: AgentHome) -> None:
    PrivateStore.create(home, encryption="key-file").close()
    key = (home.folder / "store.key").read_text()
    home.store.unlink()

    with pytest.raises(DeviceStoreError, match='not "off"'):
        PrivateStore.create(home)
    assert (home.folder / "store.key").read_text() == key


def test_examples_are_kept_together_or_not_at_all(store: PrivateStore) -> None:
    with pytest.raises(InvalidValue, match="float64"):
        store.observe_all([(example(1), 0), (np.zeros(3), 0)])
    assert store.counts().training + store.counts().held_out == 0

    assert store.observe_all([(example(1), 0), (example(2), 1)]) == (1, 2)
    assert store.examples("all").labels.tolist() == [0, 1]


def test_another_process_s_write_is_noticed(home: AgentHome, store: PrivateStore) -> None:
    quiet = store.generation()
    assert store.generation() == quiet
    with PrivateStore.open(home) as other:
        other.observe(example(1), 0)

    changed = store.generation()
    assert changed != quiet
    store.observe(example(2), 0)
    assert store.generation() != changed


@pytest.mark.parametrize("encryption", ["off", "key-file"])
def test_no_one_else_may_open_its_files(home: AgentHome, encryption: str) -> None:
    store = PrivateStore.create(home, encryption=encryption)  # type: ignore[arg-type]
    store.observe(example(1), 0)

    for file in home.folder.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0 or file.stat().st_size == 0, file
    store.close()
    home.store.chmod(0o644)
    with pytest.raises(DeviceStoreError, match="chmod 600"):
        PrivateStore.open(home)


def test_a_home_that_others_may_look_into_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)

    with pytest.raises(HomeError, match="chmod 700"):
        PrivateStore.create(AgentHome(tmp_path))


def test_an_encrypted_store_shows_nothing_and_needs_its_key(home: AgentHome) -> None:
    store = PrivateStore.create(home, encryption="key-file")
    store.record_installation(installed(3))
    for _ in range(20):
        store.observe(CANARY, 1)
    content = everything_in(home.folder)
    assert CANARY.tobytes()[:12] not in content
    assert b"mlp-small" not in content
    store.close()
    with PrivateStore.open(home) as again:
        np.testing.assert_array_equal(again.examples("all").x[0], CANARY)
        again.forget(everything=True)

    key = home.folder / "store.key"
    key.write_text("00" * 32)
    with pytest.raises(DeviceStoreError, match=r"store\.db"):
        PrivateStore.open(home)
    key.unlink()
    with pytest.raises(DeviceStoreError, match="no key"):
        PrivateStore.open(home)


def test_without_a_keyring_the_error_names_the_other_way(
    home: AgentHome, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyring = pytest.importorskip("keyring")
    from keyring.backends import fail

    monkeypatch.setattr(keyring.core, "_keyring_backend", fail.Keyring())

    with pytest.raises(DeviceStoreError, match="key-file"):
        PrivateStore.create(home, encryption="keyring")
    assert not home.store.exists()


def test_what_is_not_a_store_is_refused_and_left_alone(home: AgentHome, store: PrivateStore) -> None:
    store.close()
    home.store.write_bytes(b"no database at all" * 100)
    with pytest.raises(DeviceStoreError, match="encrypted or damaged"):
        PrivateStore.open(home)
    assert home.store.read_bytes().startswith(b"no database")
    with pytest.raises(DeviceStoreError, match="already"):
        PrivateStore.create(home)


def test_a_store_of_another_version_is_refused(home: AgentHome, store: PrivateStore) -> None:
    store.close()
    database = Database(home.store, find_key(home))
    database.execute("PRAGMA user_version = 99")
    database.close()

    with pytest.raises(DeviceStoreError, match="version 99"):
        PrivateStore.open(home)


@pytest.mark.parametrize(
    ("x", "label", "field"),
    [
        (np.zeros(5), 0, "x"),
        (np.full(4, np.nan), 0, "x"),
        (np.full(4, "a"), 0, "x"),
        (np.zeros(4), 3, "labels"),
        (np.zeros(4), -1, "labels"),
        (np.zeros(4), 0.5, "labels"),
        (np.zeros(4), np.zeros(2, int), "labels"),
    ],
)
def test_an_example_that_the_student_cannot_take_is_refused(x: np.ndarray, label: object, field: str) -> None:
    manifest = artifact().manifest
    shaped = np.resize(x, manifest.input_shape) if x.shape == (4,) else x

    with pytest.raises(InvalidValue) as caught:
        check_example(manifest, shaped, label)  # type: ignore[arg-type]
    assert caught.value.field == field


WRITER = """
import sys
from pathlib import Path
import numpy as np
from fedstill_client.home import AgentHome, Encryption
from fedstill_client.store import PrivateStore
with PrivateStore.open(AgentHome(Path(sys.argv[1]))) as store:
    while True:
        print(store.observe(np.full((2, 3), 7, np.float32), 1), flush=True)
"""


@pytest.mark.parametrize("pause_s", [0.0, 0.02, 0.1])
def test_an_acknowledged_example_survives_a_kill(home: AgentHome, pause_s: float) -> None:
    PrivateStore.create(home).close()
    command = [sys.executable, "-c", WRITER, str(home.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        acknowledged = [int(process.stdout.readline())]
        time.sleep(pause_s)
        os.kill(process.pid, signal.SIGKILL)
        acknowledged += [int(line) for line in process.stdout.read().splitlines() if line]

    with PrivateStore.open(home) as store:
        kept = store.examples("all").ids.tolist()
    assert acknowledged == kept[: len(acknowledged)]
    assert len(kept) - len(acknowledged) <= 1


def test_a_second_store_in_a_process_takes_no_lock_off_the_first(
    home: AgentHome, store: PrivateStore
) -> None:
    """Or another process that ends would remove the write-ahead file that the first one reads."""
    other = (
        "import sqlite3, sys; opened = sqlite3.connect(sys.argv[1]); "
        "opened.execute(\"INSERT INTO settings VALUES ('colour', 'blue')\"); opened.commit(); opened.close()"
    )
    store.observe(example(1), 0)
    with PrivateStore.open(home) as second:
        second.observe(example(2), 0)

        subprocess.run([sys.executable, "-c", other, str(home.store)], check=True)

        assert home.store.with_name(home.store.name + "-wal").exists()
        assert len(store.examples("all").labels) == len(second.examples("all").labels) == 2

"""A device's student on disk: which one a round starts from, and what survives."""

from __future__ import annotations

import multiprocessing
import signal
from pathlib import Path

import numpy as np
import pytest
from fedstill_client.model.student_store import STUDENTS_FILE, DeviceStoreError, OwnStudent, StudentStore

from tests.client.samples import artifact, student


def own(number: int, *, run: str = "r1") -> OwnStudent:
    """The student after round `number`."""
    return OwnStudent(run, number, student(number))


@pytest.fixture
def store(tmp_path: Path) -> StudentStore:
    return StudentStore(artifact().manifest, tmp_path / "state")


def assert_is(got: OwnStudent | None, wanted: OwnStudent) -> None:
    assert got is not None
    assert (got.run, got.round) == (wanted.run, wanted.round)
    for name, array in wanted.parameters.items():
        np.testing.assert_array_equal(got.parameters[name], array)
    assert list(got.parameters) == list(wanted.parameters)


def test_a_new_device_has_no_student(store: StudentStore) -> None:
    assert store.latest() is None
    assert store.before("r1", 1) is None


def test_a_round_starts_from_the_student_before_it(store: StudentStore) -> None:
    store.save(own(1), before=None)
    store.save(own(2), before=store.before("r1", 2))

    assert_is(store.latest(), own(2))
    assert_is(store.before("r1", 3), own(2))
    assert_is(store.before("r1", 9), own(2))


def test_the_same_round_again_starts_from_where_it_started(store: StudentStore) -> None:
    store.save(own(1), before=None)
    store.save(own(4), before=store.before("r1", 4))  # it had no part in rounds 2 and 3

    assert_is(store.before("r1", 4), own(1))
    store.save(own(4), before=store.before("r1", 4))
    assert_is(store.before("r1", 4), own(1))


def test_the_first_round_again_starts_from_nothing(store: StudentStore) -> None:
    store.save(own(1), before=None)

    assert store.before("r1", 1) is None


def test_a_new_run_goes_on_from_the_student_of_the_old_one(store: StudentStore) -> None:
    store.save(own(8), before=own(7))

    assert_is(store.before("r2", 1), own(8))
    store.save(own(1, run="r2"), before=store.before("r2", 1))
    assert_is(store.before("r2", 1), own(8))


def test_a_device_goes_back_by_one_round_only(store: StudentStore) -> None:
    store.save(own(8), before=own(7))

    with pytest.raises(
        DeviceStoreError, match="asked for round 7 of run r1, but the students kept are of rounds 7 and 8"
    ):
        store.before("r1", 7)


def test_after_a_round_is_the_student_it_left(store: StudentStore) -> None:
    store.save(own(8), before=own(7))

    assert_is(store.after("r1", 8), own(8))
    assert_is(store.after("r1", 7), own(7))
    assert_is(store.after("r1", 20), own(8))


@pytest.mark.parametrize("damage", ["truncate", "garbage", "other family", "not finite"])
def test_a_damaged_state_is_named_and_not_used(store: StudentStore, damage: str) -> None:
    store.save(own(1), before=None)
    file = store.folder / STUDENTS_FILE
    if damage == "truncate":
        file.write_bytes(file.read_bytes()[:-1])
    elif damage == "garbage":
        file.write_bytes(b"\x00" * 100)
    else:
        wrong = student()
        wrong["output.bias"] = (
            np.zeros(4, np.float32) if damage == "other family" else wrong["output.bias"] * np.nan
        )
        store.save(OwnStudent("r1", 1, wrong), before=None)

    with pytest.raises(DeviceStoreError, match=r"students\.safetensors: .*Delete it"):
        store.latest()


def test_nothing_is_left_beside_the_state(store: StudentStore) -> None:
    with store.locked():
        store.save(own(1), before=None)
    assert sorted(path.name for path in store.folder.iterdir()) == [".lock", STUDENTS_FILE]


def test_a_state_is_replaced_and_never_written_over(store: StudentStore) -> None:
    store.save(own(1), before=None)
    file = store.folder / STUDENTS_FILE
    first = file.read_bytes()

    with file.open("rb") as still_open:
        store.save(own(2), before=own(1))

        assert still_open.read() == first
    assert file.read_bytes() != first


def test_a_write_that_fails_changes_nothing(store: StudentStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.save(own(1), before=None)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(DeviceStoreError, match="No space left on device; the student from before is kept"):
        store.save(own(2), before=own(1))

    assert_is(store.latest(), own(1))
    assert [path.name for path in store.folder.iterdir()] == [STUDENTS_FILE]


def _save_for_ever(folder: Path, ready: multiprocessing.synchronize.Event) -> None:
    endless = StudentStore(artifact().manifest, folder)
    number = 1
    while True:
        endless.save(OwnStudent("r1", number, _filled(number)), before=None)
        ready.set()
        number += 1


def _filled(value: int) -> dict[str, np.ndarray]:
    return {name: np.full_like(array, value) for name, array in student().items()}


def test_a_killed_device_finds_a_whole_student(store: StudentStore) -> None:
    context = multiprocessing.get_context("fork")
    for _ in range(5):
        ready = context.Event()
        process = context.Process(target=_save_for_ever, args=(store.folder, ready))
        process.start()
        assert ready.wait(20)

        assert process.pid is not None
        process.kill()
        process.join()

        assert process.exitcode == -signal.SIGKILL
        found = store.latest()
        assert found is not None
        assert all((array == found.round).all() for array in found.parameters.values())

"""Students on disk: what a round writes is never what it, or its repetition, reads."""

from pathlib import Path

import numpy as np
from fedstill_sim.engine.students import NO_STUDENT, StudentFile, StudentSlots


def test_slots_keep_two_students_of_a_device_apart(tmp_path: Path) -> None:
    file = StudentFile(tmp_path / "family.f32", devices=3, width=2)
    file.create()
    both = np.array([0, 1], np.uint8)
    file.write(both, np.array([2, 2]), np.float32([[1, 2], [3, 4]]))
    assert file.read(both, np.array([2, 2])).tolist() == [[1, 2], [3, 4]]
    assert file.read(both, np.array([0, 1])).tolist() == [[0, 0], [0, 0]]


def test_creating_a_file_again_keeps_its_students(tmp_path: Path) -> None:
    first = StudentFile(tmp_path / "family.f32", devices=1, width=1)
    first.create()
    slot, row = np.zeros(1, np.uint8), np.zeros(1, np.int64)
    first.write(slot, row, np.float32([[7]]))
    first.create()
    assert first.read(slot, row).tolist() == [[7]]


def slots(*values: int) -> np.ndarray:
    return np.array(values, np.uint8)


def test_before_the_first_round_nobody_has_a_student(tmp_path: Path) -> None:
    assert StudentSlots(tmp_path, devices=2).before(1).tolist() == [NO_STUDENT, NO_STUDENT]


def test_a_round_starts_from_the_last_one_that_was_committed(tmp_path: Path) -> None:
    kept = StudentSlots(tmp_path, devices=2)
    kept.commit(1, slots(0, NO_STUDENT))
    kept.commit(4, slots(1, 0))
    assert kept.before(4).tolist() == [0, NO_STUDENT]
    assert kept.after(4).tolist() == [1, 0]
    assert kept.before(9).tolist() == [1, 0]


def test_two_rounds_are_kept(tmp_path: Path) -> None:
    kept = StudentSlots(tmp_path, devices=1)
    for number in (1, 2, 3):
        kept.commit(number, slots(number % 2))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["slots_2.npy", "slots_3.npy"]


def test_what_a_killed_run_left_of_a_round_is_forgotten(tmp_path: Path) -> None:
    kept = StudentSlots(tmp_path, devices=1)
    kept.commit(1, slots(0))
    kept.commit(2, slots(1))
    kept.forget_from(2)
    assert kept.after(2).tolist() == [0]

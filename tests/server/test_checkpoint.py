"""The run's memory: whole or not at all, the newest intact round, and the order of the model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fedstill_server.rounds import run_store as checkpoint
from fedstill_server.rounds.round_record import DeviceAccuracy, Quarantined, RoundRecord
from fedstill_server.rounds.run_store import RunStore, RunStoreError, load_parameters_file
from fedstill_server.state import FleetState, digest_of


def state(value: float) -> FleetState:
    """Names out of alphabetical order, as in a model."""
    student = {
        "output.weight": np.full((2, 3), value, np.float32),
        "hidden.bias": np.arange(3, dtype=np.float32),
    }
    return FleetState(
        teacher={"w": np.full(2, -value, np.float32)},
        students={"mlp-small": student, "cnn": dict(student)},
        arrays={"known": np.array([1, 0], np.uint8), "logits": np.full((2, 2), value / 3)},
    )


def record(number: int) -> RoundRecord:
    return RoundRecord(
        round=number,
        seconds=0.5,
        asked=3,
        replied=2,
        accepted=1,
        late=0,
        quarantined=(Quarantined(device="device-1", node="7", reason="wrong-round", text="round: 3"),),
        uplink_bytes=20,
        downlink_bytes=300,
        evaluation_bytes=300,
        uplink_bytes_per_device=10.0,
        downlink_bytes_per_device=100.0,
        personal_accuracy=0.5,
        global_accuracy=None,
        worst_device_accuracy=0.5,
        devices={"device-0": DeviceAccuracy(personal=0.5, everyone=None)},
        teacher_accuracy=None,
        consensus_digest="ab",
    )


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "server" / "checkpoints").glob("*.safetensors"))


def test_what_is_committed_comes_back_bit_for_bit(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    store.commit(0, state(1))
    store.commit(1, state(2), record=record(1), installed={"device-0", "device-2"})
    store.close()

    latest = RunStore(tmp_path).latest()

    assert latest is not None
    assert (latest.round, latest.installed) == (1, {"device-0", "device-2"})
    assert digest_of(latest.state.flat()) == digest_of(state(2).flat())
    assert list(latest.state.flat()) == list(state(2).flat())
    assert RunStore(tmp_path).records() == [record(1)]


def test_a_device_that_lost_its_student_is_a_newcomer_again(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    store.commit(1, state(1), record=record(1), installed=["device-0", "device-1"])
    store.commit(2, state(2), record=record(2), installed=["device-1"])

    latest = store.latest()

    assert latest is not None
    assert latest.installed == {"device-1"}


def test_a_new_folder_has_nothing_to_go_on_from(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    assert store.latest() is None
    assert store.records() == []


def test_the_two_newest_files_are_kept(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    for number in range(4):
        store.commit(number, state(number), record=record(number) if number else None)
    assert files(tmp_path) == ["round-000002.safetensors", "round-000003.safetensors"]
    assert len(store.records()) == 3


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_damaged_checkpoint_falls_back_by_one_round(tmp_path: Path, damage: str) -> None:
    store = RunStore(tmp_path)
    store.commit(1, state(1), record=record(1), installed=["device-0"])
    store.commit(2, state(2), record=record(2), installed=["device-0", "device-1"])
    newest = tmp_path / "server" / "checkpoints" / "round-000002.safetensors"
    newest.unlink() if damage == "missing" else newest.write_bytes(newest.read_bytes()[:-1] + b"?")

    latest = store.latest()

    assert latest is not None
    assert (latest.round, latest.installed) == (1, {"device-0"})
    assert [each.round for each in store.records()] == [1]
    store.commit(2, state(2), record=record(2), installed=["device-1"])  # and the run goes on


def test_nothing_intact_is_a_clear_error(tmp_path: Path) -> None:
    store = RunStore(tmp_path)
    store.commit(1, state(1), record=record(1))
    (tmp_path / "server" / "checkpoints" / "round-000001.safetensors").unlink()
    with pytest.raises(RunStoreError, match="none of the last 2 checkpoints is intact"):
        store.latest()


class Killed(Exception):
    pass


@pytest.mark.parametrize("after_file", [False, True])
def test_dying_while_committing_loses_the_round_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after_file: bool
) -> None:
    store = RunStore(tmp_path)
    store.commit(1, state(1), record=record(1))
    write = checkpoint.replace_file

    def die(path: Path, blob: bytes, *, mode: int) -> None:
        if after_file:
            write(path, blob, mode=mode)
        else:
            path.with_name(path.name + ".partial").write_bytes(blob[:10])
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(checkpoint, "replace_file", die)
        with pytest.raises(Killed):
            store.commit(2, state(2), record=record(2))

    latest = RunStore(tmp_path).latest()
    assert latest is not None
    assert latest.round == 1
    assert digest_of(latest.state.flat()) == digest_of(state(1).flat())
    store.commit(2, state(2), record=record(2))
    assert files(tmp_path) == ["round-000001.safetensors", "round-000002.safetensors"]


def test_final_students_have_the_order_of_the_model(tmp_path: Path) -> None:
    final = RunStore(tmp_path).write_final(state(3))
    student = load_parameters_file(final / "students" / "cnn.safetensors")
    assert list(student) == ["output.weight", "hidden.bias"]
    assert load_parameters_file(final / "teacher.safetensors")["w"].tolist() == [-3, -3]


def test_a_run_of_an_earlier_release_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "state.db").write_bytes(b"SQLite format 3")
    with pytest.raises(RunStoreError, match=r"state\.db: an earlier release"):
        RunStore(tmp_path)


def test_a_round_that_was_exchanged_does_not_follow_the_one_before_it(tmp_path: Path) -> None:
    other, store = RunStore(tmp_path / "other"), RunStore(tmp_path / "run")
    for number in range(3):
        store.commit(number, state(number), record=record(number))
        other.commit(number, state(number), record=record(5))
    file = Path("server") / "rounds" / "round-000001.json"

    (tmp_path / "run" / file).write_bytes((tmp_path / "other" / file).read_bytes())
    with pytest.raises(RunStoreError, match="does not follow the round before it"):
        store.records()
    (tmp_path / "run" / file).unlink()
    with pytest.raises(RunStoreError, match="a file is missing"):
        store.records()


@pytest.mark.parametrize("part", ["rounds/round-000001.json", "checkpoints/round-000001.json"])
def test_each_bit_of_a_round_answers_for_itself(tmp_path: Path, part: str) -> None:
    store = RunStore(tmp_path)
    store.commit(0, state(1))
    store.commit(1, state(1), record=record(1), installed=["device-0"])
    path = tmp_path / "server" / part
    whole = path.read_bytes()

    for place in range(0, 8 * len(whole), 97):
        path.write_bytes(flipped(whole, place))
        problems = store.check()
        assert problems, place
        assert all(path.name in problem for problem in problems)


def flipped(whole: bytes, bit: int) -> bytes:
    changed = bytearray(whole)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)

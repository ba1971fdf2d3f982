"""A round that is folded where devices run is what it is over messages: consensus, bytes, and students."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fedstill_proto.flower_records  # noqa: F401  (before flwr)
import numpy as np
import pytest
from fedstill_proto.messages import PrivateStatistics
from fedstill_proto.package.artifact import save_artifact
from fedstill_proto.soft_labels.codec_spec import parse_codec
from fedstill_server.config.fleet import ConfigError
from fedstill_server.methods.artifact_options import artifact_options
from fedstill_server.rounds.events import Collected, Event, subscribe
from fedstill_server.rounds.round_record import RoundRecord
from fedstill_sim.config import read_config, requested_data, resolve
from fedstill_sim.data.fleet import load_fleet
from fedstill_sim.folder import artifact_folder
from fedstill_sim.progress import SilentProgress
from fedstill_sim.request import RunRequest
from fedstill_sim.runner.artifacts import built
from fedstill_sim.runner.devices import CompletedRounds, own_students, run_rounds
from fedstill_sim.runner.run import start_run
from fedstill_sim.stacks import open_fleet
from fedstill_sim.stacks.eligible import MESSAGES, STACKS
from fedstill_sim.stacks.packing import packed, unpacked
from fedstill_sim.workers.keeper import FileKeeper, HandleLost

_OF_THE_CLOCK = ("seconds", "phase_seconds")
_SMALL: dict[str, Any] = {
    "dataset": "digits",
    "devices": 12,
    "rounds": 2,
    "families": ("mlp-small",),
    "epochs": 1,
    "round_epochs": 1,
    "baselines": (),
    "tradeoff": False,
    "processes": 0,
}


def prepared(folder: Path, *, stack_size: int = 4, **asked: Any) -> dict[str, int]:
    """Start a small run, with artifacts of one stack size; returns the stack sizes."""
    start_run(RunRequest(**{**_SMALL, **asked}), folder, force=True)
    config = read_config(folder)
    for family in config.fleet.families:
        for size in {1, stack_size}:
            artifact = built(artifact_options(config.fleet, family), size)
            save_artifact(artifact, artifact_folder(folder, family, size))
    return dict.fromkeys(config.fleet.families, stack_size)


def done(folder: Path, **asked: Any) -> CompletedRounds:
    """Do the rounds of a small run."""
    sizes = prepared(folder, **asked)
    return run_rounds(folder, read_config(folder), SilentProgress(), label="test", stack_sizes=sizes)


def told(record: RoundRecord) -> dict[str, Any]:
    """All that a record tells, but times."""
    fields = (field.name for field in dataclasses.fields(record) if field.name not in _OF_THE_CLOCK)
    return {name: getattr(record, name) for name in fields}


def assert_same(one: CompletedRounds, other: CompletedRounds) -> None:
    for own, theirs in zip(one.records, other.records, strict=True):
        assert told(own) == told(theirs)
    students, others = (own_students(run, load_fleet(run.folder / "data")) for run in (one, other))
    assert students.keys() == others.keys()
    for device, student in students.items():
        for name, array in student.items():
            np.testing.assert_array_equal(array, others[device][name])


def both(folder: Path, **asked: Any) -> list[CompletedRounds]:
    """The same run by both paths."""
    runs = [done(folder / path, path=path, **asked) for path in (MESSAGES, STACKS)]
    assert [run.engine.path for run in runs] == [MESSAGES, STACKS]
    return runs


QUICK = {"start_epochs": 2, "fewest_rows": 0}


@pytest.mark.parametrize("fold", ["vetted", "trust", "clipped", "mean"])
def test_fedstill_is_the_same_by_both_paths(tmp_path: Path, fold: str) -> None:
    assert_same(*both(tmp_path, method="fedstill", method_options={"fold": fold, **QUICK}))


@pytest.mark.parametrize(
    "method",
    [
        "class-logits",
        "local",
        "fedavg",
        "fedprox",
        "scaffold",
        "fedper",
        "dsfl",
        "fedmd",
        "fedproto",
        "fedtgp",
    ],
)
def test_so_are_other_methods(tmp_path: Path, method: str) -> None:
    assert_same(*both(tmp_path, method=method))


def test_so_are_two_families_of_which_a_part_is_asked_for_more_answers_than_count(tmp_path: Path) -> None:
    """Tasks are coded against different rounds then, and of six that are asked four count."""
    runs = both(
        tmp_path,
        method="fedstill",
        method_options=QUICK,
        families=("mlp-small", "cnn"),
        rounds=4,
        goal_count=4,
        over_selection=1.5,
    )
    assert [record.asked for record in runs[1].records] == [6] * 4
    assert [record.accepted for record in runs[1].records] == [4] * 4
    assert [record.late for record in runs[1].records] == [2] * 4
    assert_same(*runs)


def test_it_is_the_same_whatever_the_processes_and_stacks(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"method": "fedstill", "method_options": QUICK, "path": STACKS}
    one = done(tmp_path / "one", **asked)
    assert_same(one, done(tmp_path / "two", processes=2, stack_size=3, **asked))


def test_a_stopped_run_goes_on_bit_for_bit(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"method": "fedstill", "method_options": QUICK, "path": STACKS, "rounds": 3}
    asked |= {"goal_count": 6}
    whole, folder = done(tmp_path / "whole", **asked), tmp_path / "stopped"
    sizes, config = prepared(folder, **asked), read_config(folder)

    class _Stop(Exception):
        pass

    def stop_after(number: int) -> Callable[[Event], None]:
        def stop(event: Event) -> None:
            if isinstance(event, Collected) and event.round == number:
                raise _Stop

        return stop

    with subscribe(stop_after(3)), pytest.raises(_Stop):
        run_rounds(folder, config, SilentProgress(), label="test", stack_sizes=sizes)
    assert_same(whole, run_rounds(folder, config, SilentProgress(), label="test", stack_sizes=sizes))


def test_answers_that_are_lost_between_the_passes_are_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost: set[str] = set()

    class Forgetful(FileKeeper):
        def read(self, handle: Any) -> dict[str, Any]:
            kept = super().read(handle)
            if "answers" in kept and handle not in lost and len(lost) < 2:
                lost.add(handle)
                raise HandleLost(f"{handle} is gone")
            return kept

    asked: dict[str, Any] = {"method": "fedstill", "method_options": QUICK, "path": STACKS, "rounds": 1}
    whole = done(tmp_path / "whole", **asked)
    monkeypatch.setattr(open_fleet, "FileKeeper", Forgetful)
    assert_same(whole, done(tmp_path / "lost", **asked))
    assert len(lost) == 2


@pytest.mark.parametrize(
    "codec", ["dense,4bit,log,entropy", "dense,8bit,log", "dense,3bit", "uint8", "topk3"]
)
def test_answers_are_kept_to_the_bit(codec: str) -> None:
    coded, random = parse_codec(codec), np.random.default_rng(0)
    labels = random.dirichlet(np.ones(5), size=(2, 7)).astype(np.float32)
    answers = [
        PrivateStatistics(
            soft_labels=coded.rounded(own), present_classes=np.array([1]), class_examples=np.array([3])
        )
        for own in labels
    ]
    for one, other in zip(answers, unpacked(packed(answers, coded), coded), strict=True):
        assert one.soft_labels is not None
        assert other.soft_labels is not None
        np.testing.assert_array_equal(one.soft_labels.dense(), other.soft_labels.dense())
        np.testing.assert_array_equal(one.class_examples, other.class_examples)


def test_no_answers_are_kept_as_such() -> None:
    assert list(unpacked(packed([], None), None)) == []


def test_what_diverges_is_left_out_by_both(tmp_path: Path) -> None:
    runs = []
    for path in (MESSAGES, STACKS):
        folder = tmp_path / path
        sizes = prepared(folder, method="class-logits", path=path, rounds=1)
        own = load_fleet(folder / "data").train[5]
        np.load(folder / "data" / "x.npy", mmap_mode="r+")[own[0]] = np.nan
        runs.append(
            run_rounds(folder, read_config(folder), SilentProgress(), label="test", stack_sizes=sizes)
        )
    (record,) = runs[1].records
    assert len(record.quarantined) == 1
    assert (record.replied, record.accepted) == (12, 11)
    assert_same(*runs)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"engine": "flower"}, "gives each device a client of its own"),
        ({"mode": "async"}, "in mode async"),
        ({"vanish": 0.1}, "devices come and go"),
        ({"method": "feddf"}, "'feddf' asks the students that devices send"),
    ],
)
def test_a_run_that_cannot_says_why(tmp_path: Path, asked: dict[str, Any], why: str) -> None:
    request = RunRequest(**{**_SMALL, "method": "class-logits", "path": STACKS, **asked})
    with pytest.raises(ConfigError, match=f"--path: 'stacks' cannot be: .*{why}"):
        resolve(request, requested_data(request))

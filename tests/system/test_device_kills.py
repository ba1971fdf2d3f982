"""The benchmark that kills a device at work, on a few kills; and that it sees what it looks for."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.client.agent_samples import trainable_package

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def bench() -> Iterator[Any]:
    # A folder of scripts, whose modules import each other as scripts do.
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import device_kills

        yield device_kills
    finally:
        sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def place(bench: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = bench.Place(tmp_path_factory.mktemp("kills") / "place")
    made.build(trainable_package, examples=60)
    return made


@pytest.mark.parametrize("name", ["enrol", "round"])
def test_a_killed_device_starts_again_and_has_lost_nothing(
    bench: Any, place: Any, tmp_path: Path, name: str
) -> None:
    trials = bench.Trials(bench.OPERATIONS[name], place, tmp_path)

    trials.kill(random.Random(1), by_clock=True)
    trials.kill(random.Random(2), by_clock=False)

    tally = trials.tally
    assert tally.problems == []
    assert (tally.by_clock, tally.by_step, tally.states.total()) == (1, 1, 2)


@pytest.mark.parametrize(
    ("name", "said", "problem"),
    [
        ("observe", {"batch": 0, "ids": [61]}, r"acknowledged examples \[61\] are lost"),
        ("install", {"version": 2}, "version 2 was acknowledged"),
        ("swap", {"number": 1, "answer": 0.5}, "swap 1 was acknowledged"),
        ("round", {"round": 2, "summary": "00", "student": ""}, "a release is not in the ledger"),
        ("forget", {"examples": 60}, "the examples are there"),
        ("personalize", {"result": "replaced"}, "without a kill the student is no better"),
    ],
)
def test_what_was_acknowledged_and_is_not_there_is_a_problem(
    bench: Any, place: Any, tmp_path: Path, name: str, said: dict[str, object], problem: str
) -> None:
    home = place.copy(tmp_path / "home")
    whole = bench.Whole(home, bench.Words(), 0.0, 0)

    with pytest.raises(bench.Problem, match=problem):
        bench.OPERATIONS[name].look(home, place, bench.Words([said]), whole)


def test_a_release_that_was_cut_off_counts(bench: Any, place: Any, tmp_path: Path) -> None:
    home = place.copy(tmp_path / "home")
    whole = bench.Whole(home, bench.Words(), 0.0, 0)

    with pytest.raises(bench.Problem, match="a release that had begun"):
        bench.OPERATIONS["round"].look(home, place, bench.Words([], '{"round": 2, "summ'), whole)

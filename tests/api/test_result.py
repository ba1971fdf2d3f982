"""Results as objects: rounds as a data frame, reports, plots."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import pytest
from fedstill_proto.errors import UnknownName

from fedstill.simulation.result import Result, Rounds
from tests.sim.sample_results import sample_result

matplotlib.use("Agg")


@pytest.fixture
def result(tmp_path: Path) -> Result:
    return Result(sample_result(rounds=5), tmp_path)


def test_rounds_are_a_sequence(result: Result) -> None:
    rounds = result.rounds
    assert [one.round for one in rounds] == [1, 2, 3, 4, 5]
    assert rounds[-1].round == 5
    assert [one.round for one in rounds[1:3]] == [2, 3]
    assert isinstance(rounds[1:3], Rounds)


def test_rounds_are_a_data_frame(result: Result) -> None:
    frame = result.rounds.to_pandas()
    assert list(frame.index) == [1, 2, 3, 4, 5]
    assert frame.loc[5, "personal_accuracy"] == result.rounds[4].personal_accuracy
    assert frame.loc[3, "quarantined"] == len(result.rounds[2].quarantined)
    assert list(Rounds([]).to_pandas().columns) == list(frame.columns)


def test_a_round_prints_as_a_line(result: Result) -> None:
    line = str(result.rounds[0])
    assert line.startswith("round 1: personal ")
    assert "\n" not in line


def test_a_result_says_what_it_is(result: Result) -> None:
    assert repr(result).startswith("<Result of public-logits on digits: 5 rounds, personal ")
    assert result.to_json()["final"]["global_accuracy"] == result.final.global_accuracy


def test_a_report_is_written(result: Result, tmp_path: Path) -> None:
    path = result.report(tmp_path / "mine.html")
    assert path == tmp_path / "mine.html"
    assert path.read_text().startswith("<!doctype html>")


def test_a_plot_shows_every_method(result: Result) -> None:
    labels = [line.get_label() for line in result.plot().get_lines()]
    methods = ("public-logits", "local", "fedavg")
    assert labels == [f"{name}, {kind}" for name in methods for kind in ("personal", "global")]


def test_a_student_that_is_not_there_is_refused(result: Result) -> None:
    with pytest.raises(UnknownName, match="student: 'mlp-smal' is unknown; did you mean mlp-small"):
        result.student("mlp-smal")

"""A run from the command line, as a person makes it: what it leaves behind, and what it says."""

import json
from pathlib import Path

import numpy as np
import pytest
from fedstill_client.model.predictor import Predictor
from fedstill_sim.cli import app
from fedstill_sim.results.run_result import read_result, without_times
from typer.testing import CliRunner, Result

SMALL = (
    "--devices",
    "3",
    "--families",
    "mlp-small",
    "--rounds",
    "2",
    "--epochs",
    "1",
    "--public-batch",
    "20",
)
SMALL += ("--tradeoff", "--processes", "0")


def fedstill_sim(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of three writers and two rounds beside both baselines."""
    out = tmp_path_factory.mktemp("runs") / "first"
    done = fedstill_sim("run", "digits", "--method", "public-logits", *SMALL, "--seed", 7, "--out", out)
    assert done.exit_code == 0, done.output
    return out


def test_the_result_holds_what_scripts_ask_for(folder: Path) -> None:
    result = read_result(folder / "result.json")

    assert result.method == "public-logits"
    assert result.seed == 7
    assert [one.round for one in result.rounds] == [1, 2]
    assert all(one.accepted == 3 for one in result.rounds)
    assert list(result.baselines) == ["local", "fedavg"]
    for accuracy in (result.final.personal_accuracy, result.final.global_accuracy):
        assert accuracy is not None
        assert accuracy > 0.5  # ten classes: chance is 0.1
    assert result.final.worst_device_accuracy == min(one.personal_accuracy or 1 for one in result.devices)


def test_bytes_are_those_of_the_messages(folder: Path) -> None:
    result = read_result(folder / "result.json")
    fedavg = result.baselines["fedavg"].final
    weights = 64 * 64 + 64 + 64 * 10 + 10

    # 20 public rows of 10 classes in uint8, or a whole student in 8 bits and 2 bytes for the scale of each 64
    # weights; and headers of at most 300 bytes.
    assert 200 < result.final.uplink_bytes_per_device_round < 200 + 300
    assert weights < fedavg.uplink_bytes_per_device_round < weights * (1 + 2 / 64) + 300
    assert result.final.uplink_bytes == sum(one.uplink_bytes for one in result.rounds)


def test_exported_students_answer_as_torch_does(folder: Path) -> None:
    result = read_result(folder / "result.json")
    student = result.students["mlp-small"]

    assert student.personal_students_checked == 3
    assert result.final.max_abs_logit_difference == student.max_abs_logit_difference
    assert student.max_abs_logit_difference < 1e-4
    test = np.load(folder / "data" / "global_test.npz")
    answers = Predictor.load(folder / "students" / "mlp-small").predict(test["x"]).argmax(axis=1)
    assert float((answers == test["y"]).mean()) == student.global_accuracy


def test_the_trade_off_is_measured_from_the_student_as_it_comes(folder: Path) -> None:
    result = read_result(folder / "result.json")

    assert [point.soft_weight for point in result.tradeoff] == [None, 0.0, 0.25, 0.5, 0.75, 0.9]
    assert len({(point.personal_accuracy, point.global_accuracy) for point in result.tradeoff}) > 1
    assert not (folder / "tradeoff.partial").exists()


def test_the_report_is_written_anew_from_the_result_alone(folder: Path) -> None:
    page = (folder / "report.html").read_text()
    (folder / "report.html").unlink()

    done = fedstill_sim("report", folder)

    assert done.exit_code == 0, done.output
    assert (folder / "report.html").read_text() == page


def test_resuming_a_finished_run_says_so_and_changes_nothing(folder: Path) -> None:
    before = (folder / "result.json").read_bytes()

    done = fedstill_sim("resume", folder)

    assert done.exit_code == 0, done.output
    assert "had finished before" in done.output
    assert (folder / "result.json").read_bytes() == before


def test_a_folder_with_a_run_is_not_overwritten(folder: Path) -> None:
    before = (folder / "result.json").read_bytes()

    done = fedstill_sim("run", "digits", *SMALL, "--out", folder)

    assert done.exit_code == 2
    assert "holds a run already" in done.output
    assert "resume" in done.output
    assert (folder / "result.json").read_bytes() == before


def test_any_number_of_processes_gives_the_same_result(folder: Path, tmp_path: Path) -> None:
    words = ("run", "digits", "--method", "public-logits", *SMALL[:-1], "2", "--seed", 7, "--no-report")

    done = fedstill_sim(*words, "--out", tmp_path / "two")

    assert done.exit_code == 0, done.output
    one, two = (json.loads((run / "result.json").read_text()) for run in (folder, tmp_path / "two"))
    assert without_times(one) == without_times(two)


def test_json_goes_to_stdout_and_nothing_else_does(tmp_path: Path) -> None:
    words = ("run", "--method", "class-logits", *SMALL, "--baselines", "none", "--json", "--no-report")

    done = fedstill_sim(*words, "--families", "mlp-small,cnn", "--out", tmp_path / "run")

    document = json.loads(done.stdout)
    assert document["method"] == "class-logits"
    assert sorted(document["students"]) == ["cnn", "mlp-small"]
    assert document["baselines"] == {}
    assert "round 2/2" in done.stderr
    assert not (tmp_path / "run" / "report.html").exists()

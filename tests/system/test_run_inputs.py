"""What a person may get wrong, and what they are told: one line, exit code 2, and nothing is left behind."""

from pathlib import Path

import numpy as np
import pytest
from fedstill_proto.system.sealed import write_sealed_json
from fedstill_sim.cli import app
from typer.testing import CliRunner, Result


def fedstill_sim(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def own_data(folder: Path, *, devices: int = 2, labelled: bool = True) -> Path:
    """Two well separated classes in five dimensions."""
    generator = np.random.default_rng(0)

    def examples(count: int) -> tuple[np.ndarray, np.ndarray]:
        y = np.arange(count) % 2
        return (generator.normal(size=(count, 5)) + 4 * y[:, None]).astype(np.float32), y

    folder.mkdir()
    for device in range(devices):
        (x, y), (x_test, y_test) = examples(24), examples(8)
        np.savez(folder / f"client_{device}.npz", x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    x, y = examples(40)
    np.savez(folder / "public.npz", **({"x": x, "y": y} if labelled else {"x": x}))
    x, y = examples(40)
    np.savez(folder / "global_test.npz", x=x, y=y)
    return folder


@pytest.mark.parametrize("method", ["public-logits", "class-logits"])
@pytest.mark.parametrize("labelled", [True, False])
def test_a_folder_of_one_s_own(tmp_path: Path, method: str, labelled: bool) -> None:
    data = own_data(tmp_path / "mine", labelled=labelled)
    words = ("--data", data, "--method", method, "--rounds", 2, "--processes", 0, "--baselines", "none")

    done = fedstill_sim("run", *words, "--no-report", "--json", "--out", tmp_path / "run")

    assert done.exit_code == 0, done.output
    assert '"name": "mine"' in done.stdout
    assert f'"public_labelled": {str(labelled).lower()}' in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--method", "fedsgd"), "--method: 'fedsgd' is unknown; did you mean fed"),
        (
            ("--method", "next-words"),
            "--method: 'next-words' is not of arrays; there are fedstill, auto",
        ),
        (("--method", "fedstill:"), "'fedstill:' is not of the form module:name"),
        (("--families", "mlp-small,resnet"), "--families: 'resnet' is unknown"),
        (("--families", "cnn,cnn"), "--families: cnn is named twice"),
        (("--families", "gru"), "--families: 'gru' is of text, and the devices learn arrays"),
        (("--families", "no_such:Net"), "there is no module 'no_such'"),
        (("--teacher", "mlp-samll"), "--teacher: 'mlp-samll' is unknown; did you mean mlp-small"),
        (("--teacher", "no_such:Net"), "--teacher: no_such:Net: there is no module 'no_such'"),
        (("--baselines", "best"), "--baselines: 'best' is unknown"),
        (("--encoding", "top-k"), "--top-k K belong together"),
        (("--top-k", "3"), "--top-k K belong together"),
        (("--data", "missing"), "missing"),
        (("--dirichlet", "-1"), "--dirichlet: -1.0 is not a number above 0"),
        (("--temperature", "0"), "--temperature: 0.0 is not a number from 0.001 to 1000"),
        (("--lr", "nan"), "--lr: nan is not a number above 0"),
        (("--mode", "asnc"), "--mode: 'asnc' is not one of rounds, async; did you mean async?"),
        (("--set", "sharpen=3"), "--set, fedstill: sharpen: 3.0 is not a number from 0 to 1"),
        (("--set", "server_stp=3"), "option of fedstill: 'server_stp' is unknown; did you mean server_step?"),
        (("--set", "server_step"), "'server_step' is not of the form name=value"),
        (("--set", "held-out=0", "--set", "held_out=1"), "held_out is set twice"),
        (("--method", "fedmd", "--set", "weighting=loud"), "weighting: ('loud',) is not a list"),
        (("--deadline", "0"), "--deadline: 0.0 is not a number above 0"),
        (("--devices", "200", "--dirichlet", "0"), "--dirichlet: 0.0 is not"),
        (("--buffer", "3"), "--buffer belongs to --mode async"),
    ],
)
def test_a_request_that_cannot_be_met_claims_no_folder(
    tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    done = fedstill_sim("run", *words, "--out", tmp_path / "run")

    assert done.exit_code == 2, done.output
    assert said in done.output
    assert done.output.startswith("Error:")
    assert "Traceback" not in done.output
    assert not (tmp_path / "run").exists()


def test_an_option_that_is_now_its_method_s_says_how_it_is_set(tmp_path: Path) -> None:
    done = fedstill_sim("run", "digits", "--server-step", 0.3, "--out", tmp_path / "run")

    assert done.exit_code == 2
    said = " ".join(done.output.replace("│", " ").split())
    assert "It is an option of the method fedstill, auto, next-words: use --set server_step=VALUE." in said


def test_digits_and_a_folder_at_once_are_too_many(tmp_path: Path) -> None:
    done = fedstill_sim("run", "digits", "--data", own_data(tmp_path / "mine"), "--out", tmp_path / "run")

    assert done.exit_code == 2
    assert "name one data set" in done.output


@pytest.mark.parametrize("command", ["resume", "report"])
def test_a_folder_without_a_run_says_how_to_start_one(tmp_path: Path, command: str) -> None:
    done = fedstill_sim(command, tmp_path)

    assert done.exit_code == 2
    assert "holds no run" in done.output


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("...")

    done = fedstill_sim("run", "digits", "--force", "--out", tmp_path)

    assert done.exit_code == 2
    assert "holds other files (thesis.tex" in done.output
    assert (tmp_path / "thesis.tex").exists()


def test_a_report_of_an_unfinished_run_says_to_finish_it(tmp_path: Path) -> None:
    write_sealed_json(tmp_path / "config.json", {})

    done = fedstill_sim("report", tmp_path)

    assert done.exit_code == 2
    assert "no result.json yet" in done.output


@pytest.mark.parametrize(
    "text", ["", "[]", '{"fleet": {}, "simulation": {}}', '{"fleet": 3, "simulation": 4}']
)
def test_a_damaged_configuration_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)

    done = fedstill_sim("resume", tmp_path)

    assert done.exit_code == 2
    assert "config.json" in done.output
    assert "Traceback" not in done.output


def test_one_method_is_no_comparison(tmp_path: Path) -> None:
    done = fedstill_sim("compare", "digits", "--methods", "local", "--out", tmp_path / "run")

    assert done.exit_code == 2
    assert "at least two" in done.output


@pytest.mark.parametrize("words", [(), ("run",), ("compare",), ("resume",), ("report",)])
def test_help_is_there_for_everyone(words: tuple[str, ...]) -> None:
    done = fedstill_sim(*words, "--help")

    assert done.exit_code == 0
    assert "Usage" in done.output

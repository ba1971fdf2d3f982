"""fedstill-server as a person meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fedstill_proto.messages import RoundTask
from fedstill_server import cli
from fedstill_server.app import app
from fedstill_server.families import ARRAYS, FAMILIES, TEXT, UTTERANCES
from fedstill_server.methods import METHODS
from flwr.app import Error
from typer.testing import CliRunner

from tests.server.scripted_fleet import ScriptedGrid, fleet_config, write_run


def fails(task: RoundTask) -> Error:
    return Error(code=2, reason="no memory")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two rounds of three devices, one of which fails."""
    write_run(tmp_path, fleet_config("class-logits", rounds=2))
    grid = ScriptedGrid(devices=3, scripts={1: fails})
    app(grid, grid.context(run_config={"fedstill-run": str(tmp_path)}))
    return tmp_path


def printed(*arguments: str) -> str:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(cli.cli, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_inspect_shows_rounds_and_who_was_left_out(run: Path) -> None:
    text = printed("inspect", str(run))
    assert "class-logits, 2 of 2 rounds" in text
    assert "round 2: device-1: error-reply: error 2: no memory" in text


def test_inspect_as_json(run: Path) -> None:
    document = json.loads(printed("inspect", str(run), "--json"))
    assert document["fleet"]["method"]["name"] == "class-logits"
    assert [each["accepted"] for each in document["rounds"]] == [2, 2]


def test_methods_and_families_are_those_there_are() -> None:
    assert set(json.loads(printed("methods", "--json"))) == set(METHODS)
    assert "1811.11479" in printed("methods")
    sizes = json.loads(printed("families", "--input-shape", "64", "--json"))
    assert set(sizes) > {*FAMILIES.of_task(ARRAYS), *FAMILIES.of_task(UTTERANCES), *FAMILIES.of_task(TEXT)}
    assert {"gru-80-224", "mlp-64-32"} < set(sizes)
    assert sizes["mlp-small"]["parameters"] == 64 * 64 + 64 + 64 * 10 + 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inspect", "/nowhere"], "/nowhere/config.json: no such file; is /nowhere the folder of a run?"),
        (["families", "--input-shape", "big"], "--input-shape: 'big' is not a list of sizes such as 1,8,8"),
    ],
)
def test_errors_are_one_line(
    arguments: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.argv", ["fedstill-server", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 2
    assert capsys.readouterr().err == f"fedstill-server: {message}\n"


def test_a_run_that_has_not_started_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_run(tmp_path, fleet_config())
    monkeypatch.setattr("sys.argv", ["fedstill-server", "inspect", str(tmp_path)])
    with pytest.raises(SystemExit):
        cli.main()
    assert not (tmp_path / "server").exists()

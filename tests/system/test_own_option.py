"""An option that is added in a subclass is found wherever options are, with nothing else said of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from fedstill_server.cli import cli
from fedstill_server.config.options import option
from fedstill_server.fleet.folder import FleetFolder, FleetSettings
from fedstill_server.methods.fedstill import Fedstill
from fedstill_sim.cli import app
from typer import Typer
from typer.testing import CliRunner, Result


class Gentle(Fedstill):
    """fedstill, whose steps get shorter and shorter."""

    halving: int = option(10, "Rounds in which a step gets half as long.", least=1)

    def step_length(self, round_number: int) -> float:
        return self.server_step * 0.5 ** (round_number / self.halving)


NAME = f"{__name__}:Gentle"
SET = ("--method", NAME, "--set", "halving=3")


def invoked(program: Typer, *words: object) -> Result:
    return CliRunner(env={"COLUMNS": "160"}).invoke(program, [str(word) for word in words])


@pytest.mark.parametrize(
    ("program", "words"),
    [(app, ("run",)), (app, ("compare",)), (cli, ("prepare",))],
    ids=["run", "compare", "prepare"],
)
def test_help_shows_it(program: Typer, words: tuple[str, ...]) -> None:
    flag = "--methods" if words == ("compare",) else "--method"
    plain, shown = (invoked(program, *words, *more, "--help").output for more in ((), (flag, NAME)))
    assert "--set halving=" not in plain
    assert f"Options of the method {NAME}" in shown
    assert "--set halving=" in shown
    assert "Rounds in which a step gets half as long." in " ".join(shown.replace("│", " ").split())
    assert "INTEGER [x>=1]" in shown
    assert "[default: 10]" in shown


def test_methods_lists_it() -> None:
    listed = json.loads(invoked(cli, "methods", NAME, "--json").output)
    assert listed["line"] == "fedstill, whose steps get shorter and shorter"
    assert listed["options"]["halving"] == {
        "default": 10,
        "what": "a whole number of 1 or more",
        "help": "Rounds in which a step gets half as long.",
    }
    assert "halving" in invoked(cli, "methods", NAME).output


def test_a_run_has_it_in_its_configuration_and_its_report(tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ("--devices", 2, "--families", "mlp-small", "--rounds", 1, "--baselines", "none", "--no-tradeoff")
    done = invoked(app, "run", "digits", *SET, *words, "--processes", 0, "--quiet", "--out", run)
    assert done.exit_code == 0, done.output
    config = json.loads((run / "config.json").read_text())
    assert config["fleet"]["method"]["name"] == NAME
    assert config["fleet"]["method"]["options"]["halving"] == 3
    assert "--set halving=3" in config["simulation"]["command"]
    report = (run / "report.html").read_text()
    assert "fleet.method.options.halving" in report
    assert json.loads((run / "result.json").read_text())["method"] == NAME


def test_a_real_fleet_has_it_in_its_configuration(tmp_path: Path) -> None:
    settings = FleetSettings(host="localhost", port=8443, superlink_port=8000)
    fleet = FleetFolder.create(tmp_path / "fleet", settings)
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "public.npz", x=rng.normal(size=(30, 4)).astype(np.float32), y=np.arange(30) % 3)
    words = ("--public", tmp_path / "public.npz", "--rounds", 2, "--mode", "async", "--uplink", "dense,3bit")
    done = invoked(cli, "prepare", fleet.folder, *words, *SET)
    assert done.exit_code == 0, done.output
    config = json.loads((fleet.folder / "config.json").read_text())["fleet"]
    assert config["method"] == {"name": NAME, "options": {**config["method"]["options"], "halving": 3}}
    assert (config["mode"], config["uplink"]["bits"]) == ("async", 3)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("halving=0", f"--set, {NAME}: halving: 0 is not a whole number of 1 or more"),
        ("halving=soon", "halving: 'soon' is not a whole number of 1 or more"),
        ("halvin=3", "'halvin' is unknown; did you mean halving?"),
    ],
)
def test_a_wrong_one_is_told_by_both_programs(tmp_path: Path, setting: str, said: str) -> None:
    words = ("--method", NAME, "--set", setting)
    simulated = invoked(app, "run", "digits", *words, "--out", tmp_path / "run")
    assert (simulated.exit_code, said in simulated.output) == (2, True), simulated.output
    public = tmp_path / "public.npz"
    public.touch()
    real = invoked(cli, "prepare", tmp_path / "fleet", "--public", public, *words)
    assert said in str(real.exception)

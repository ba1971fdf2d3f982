"""examples/plugin/: a distribution of one's own is installed, and what it brings is used by its names."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from fedstill_proto.package.artifact import load_student
from fedstill_server.cli import cli as server_commands
from fedstill_sim.cli import app as sim_commands
from typer import Typer
from typer.testing import CliRunner

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "plugin"
ORIGIN = "fedstill-example 1.0"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder that it is installed into, found for as long as these tests run."""
    folder = tmp_path_factory.mktemp("site")
    words = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
    ]
    subprocess.run([*words, "--target", str(folder), str(EXAMPLE)], check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        yield folder


def told(commands: Typer, *words: object) -> str:
    """What a command prints."""
    result = CliRunner().invoke(commands, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_commands_list_what_is_installed_with_who_brings_it(site: Path) -> None:
    methods = json.loads(told(server_commands, "methods", "--json"))
    techniques = json.loads(told(server_commands, "techniques", "--json"))
    families = json.loads(told(server_commands, "families", "low-rank", "--input-shape", "64", "--json"))

    assert methods["cosine"]["origin"] == ORIGIN
    assert techniques["logit-distance"]["origin"] == ORIGIN
    assert families["low-rank"]["origin"] == ORIGIN
    assert families["low-rank"]["parameters"] == 64 * 8 + 8 * 96 + 96 + 96 * 10 + 10
    assert "warm_up" in told(server_commands, "methods", "cosine")
    assert ORIGIN in told(server_commands, "families", "low-rank")


def test_a_fleet_is_simulated_by_names(site: Path, tmp_path: Path) -> None:
    named = ("machines", "--method", "cosine", "--set", "warm_up=1", "--families", "low-rank")
    named = (*named, "--teacher", "residual")
    small = ("--devices", 3, "--rounds", 2, "--baselines", "none", "--no-tradeoff", "--no-report")

    told(sim_commands, "run", *named, *small, "--processes", 0, "--out", tmp_path / "run")

    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["fleet"]["method"]["name"] == "cosine"
    assert config["fleet"]["method"]["options"]["warm_up"] == 1
    assert config["fleet"]["teacher"]["network"] == "residual"
    assert config["fleet"]["families"] == ["low-rank"]
    assert config["simulation"]["dataset"] == "machines"
    assert config["simulation"]["devices"] == 3
    student = load_student(tmp_path / "run" / "students" / "low-rank")
    assert student.manifest.parameters[0].name == "thin.weight"


def test_a_data_set_refuses_what_it_has_no_parameter_for(site: Path, tmp_path: Path) -> None:
    words = ["run", "machines", "--dirichlet", "0.1", "--out", str(tmp_path / "run")]

    result = CliRunner().invoke(sim_commands, words)

    assert result.exit_code == 2
    assert "machines takes no --dirichlet" in result.output


def test_a_student_is_distilled_by_names(site: Path, tmp_path: Path) -> None:
    names = ("--technique", "logit-distance", "--set", "margin=0.1", "--family", "low-rank")
    plan = ("--teacher", "residual", "--set", "plan.epochs=1", "--out", tmp_path / "out", "--json")

    document = json.loads(told(server_commands, "distill", *names, *plan))

    assert document["family"] == "low-rank"
    request = json.loads((tmp_path / "out" / "distill.json").read_text())["request"]
    assert request["options"] == {"logit-distance": {"margin": 0.1}}
    assert load_student(tmp_path / "out" / "student").manifest.family == "low-rank"


def test_python_takes_the_same_things_as_objects(site: Path) -> None:
    from fedstill_example.dataset import machines  # type: ignore[import-not-found]
    from fedstill_example.family import LowRank  # type: ignore[import-not-found]
    from fedstill_example.method import Cosine  # type: ignore[import-not-found]

    import fedstill as fs

    fleet = machines(devices=3)
    result = fs.simulate(fleet, students=[LowRank], method=Cosine(warm_up=1), rounds=2, processes=0)

    assert result.student("LowRank").predict(fleet.data.global_x[:3]).shape == (3, 5)

"""A real fleet of assistants: from tables of utterances to packages that understand them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fedstill_client.packages import PackageSource, check_package
from fedstill_client.understanding import sheet_of, understood_by
from fedstill_proto.utterances import UtterancesError, read_utterances
from fedstill_server import cli
from fedstill_server.assistant.making import AssistantPlan
from fedstill_server.fleet.errors import FleetError
from fedstill_server.fleet.utterances import read_fleet_utterances
from fedstill_server.local_work import usual_work
from fedstill_server.publish.repository import Repository
from typer.testing import CliRunner

THINGS = ("lamp", "radio", "heater", "fan", "tv", "kettle")
VERBS = {"off": "turn off the {}", "on": "turn on the {}", "time": "what time is it in the {}"}
PLAN = AssistantPlan(families=("ngrams-small",))
SAID = [f"{verb.format(thing)},{label}" for label, verb in VERBS.items() for thing in THINGS]


def table(file: Path, *lines: str) -> Path:
    file.write_text("\n".join(["text,label", *lines]))
    return file


def test_from_a_table_to_a_package_that_is_sure(tmp_path: Path) -> None:
    fleet = str(tmp_path / "fleet")
    public = table(tmp_path / "public.csv", *SAID)
    tested = [f"please {line}" for line in SAID]
    test = table(tmp_path / "test.csv", *tested, *(f"{line}" for line in SAID))
    given = ["prepare", fleet, "--public", str(public), "--test", str(test), "--families", "ngrams-small"]

    for arguments in (
        ["init", fleet, "--host", "127.0.0.1", "--without-proxy"],
        [*given, "--public-rows", "16", "--rounds", "2"],
        ["publish", fleet],
    ):
        ended = CliRunner().invoke(cli.cli, arguments)
        assert ended.exit_code == 0, ended.output

    config = json.loads((tmp_path / "fleet" / "config.json").read_text())["fleet"]
    assert (config["method"], config["propagation_width"], config["classes"]) == ("fedstill", 0.0, 3)
    usual = usual_work(text=False, utterances=True, labelled=True)  # as in the simulator
    assert config["training"]["soft_weight"] == usual.soft_weight == 0.35
    root = Repository.open(Path(fleet)).trusted_root()
    PackageSource.trust_root(tmp_path / "trust", root)
    package = PackageSource.of(Path(fleet) / "repository", tmp_path / "trust").fetch("ngrams-small")
    check_package(package)
    sheet = sheet_of(package)
    assert sheet is not None
    assert sheet.names == ("off", "on", "time")
    assert sheet.temperature != 1.0
    assert 0 < sheet.threshold <= 1  # fitted to what was tested
    assert package.public_x is not None
    assert package.public_x.shape == (16, 128)
    understood = understood_by(package, "turn off the radio")
    assert understood.intents[0].name == "off"


def test_tables_that_do_not_fit_are_named(tmp_path: Path) -> None:
    public = table(tmp_path / "public.csv", *SAID)
    other = table(tmp_path / "test.csv", "dance,dance")

    with pytest.raises(FleetError, match=r"test\.csv: label 'dance' is none of those in .*public\.csv"):
        read_fleet_utterances(public, other, cache=tmp_path, plan=PLAN)
    with pytest.raises(FleetError, match=r"public\.csv: intents: 0 intents"):
        read_fleet_utterances(table(tmp_path / "public.csv", "hello,"), None, cache=tmp_path, plan=PLAN)
    with pytest.raises(UtterancesError, match="line 2: label is missing"):
        read_utterances(table(tmp_path / "more.csv", "hello,"))

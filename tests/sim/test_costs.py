"""What a run costs: a line through smaller runs, checked by hand, and against a run."""

import dataclasses
import json
from pathlib import Path

import pytest
from fedstill_sim.cli import app
from fedstill_sim.config import requested_data
from fedstill_sim.costs import estimate as estimate_module
from fedstill_sim.costs.estimate import estimated
from fedstill_sim.costs.observed import Observation, Observations, ObservedRounds
from fedstill_sim.request import RunRequest
from fedstill_sim.runner.calibration import first_devices
from typer.testing import CliRunner

COMMAND = "fedstill-sim run digits --method local --devices 10 --rounds 20 --out DIR"
OBSERVED = Observation(
    devices=100,
    processes=0,
    run=ObservedRounds(preparing_s=2.0, first_round_s=3.0, round_s=1.0),
    phases={"data": 0.5, "export": 1.0},
    baselines={"local": ObservedRounds(preparing_s=1.0, first_round_s=0.5, round_s=0.5)},
    asked=100.0,
    uplink=50.0,
    first_downlink=1000.0,
    downlink=100.0,
    memory_bytes=5e8,
    disk_bytes=1e6,
)
LARGER = dataclasses.replace(
    OBSERVED,
    devices=200,
    run=ObservedRounds(preparing_s=2.0, first_round_s=4.0, round_s=1.5),
    asked=200.0,
    disk_bytes=1.5e6,
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDSTILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(estimate_module, "usable_cores", lambda: 2)


def test_a_run_as_large_as_one_that_was_measured_takes_as_long() -> None:
    found = estimated([OBSERVED], devices=100, rounds=5, baselines=("local",))

    assert found is not None
    assert found.seconds == {
        "start": 3.0,
        "data": 0.5,
        "export": 1.0,
        "preparation": 2.0,
        "rounds": 3.0 + 4 * 1.0,
        "baseline local": 1.0 + 0.5 + 4 * 0.5,
    }
    assert found.total_seconds == 3.0 + 0.5 + 1.0 + 2.0 + 7.0 + 3.5
    assert found.uplink_bytes == 100 * 50 * 5
    assert found.downlink_bytes == 100 * (1000 + 4 * 100)


def test_baselines_beside_the_rounds_add_what_they_take_longer() -> None:
    found = estimated([OBSERVED], devices=100, rounds=5, baselines=("local",), beside=1)

    assert found is not None
    assert found.total_seconds == 3.0 + 0.5 + 1.0 + 2.0 + 7.0


def test_two_fleets_make_a_line_that_worker_processes_share() -> None:
    found = estimated([OBSERVED, LARGER], devices=400, rounds=1)

    assert found is not None
    assert found.seconds["rounds"] == 4.0 + 200 * 0.01 / 2  # seconds a device, on two cores
    assert found.seconds["preparation"] == 2.0
    assert found.disk_bytes == 1.5e6 + 200 * 5000


def test_nothing_is_said_of_a_kind_that_nobody_measured() -> None:
    assert estimated([], devices=1, rounds=1) is None


def test_a_kind_is_a_command_of_any_size() -> None:
    Observations(COMMAND).note(OBSERVED)

    other = "fedstill-sim run digits --method local --devices 1000 --rounds 1 --seed 4 --out DIR"
    assert Observations(other).read() == [OBSERVED]
    assert Observations(COMMAND.replace("local", "fedavg")).read() == []
    Observations(other).note(LARGER, dataclasses.replace(OBSERVED, asked=99.0))
    assert [one.asked for one in Observations(COMMAND).read()] == [200.0, 99.0]


def test_a_spoilt_cache_is_an_empty_one(tmp_path: Path) -> None:
    Observations(COMMAND).note(OBSERVED)
    (file,) = (tmp_path / "cache" / "costs").iterdir()
    file.write_text("{")

    assert Observations(COMMAND).read() == []


def test_a_measured_fleet_has_every_family() -> None:
    data = requested_data(RunRequest(dataset="digits", method="local", devices=40))

    few = first_devices(data, 2)
    assert set(few.families.names) == set(data.families.names)
    assert few.devices <= 2 + len(data.families.names)
    assert few.train.counts.tolist()[0] == data.train.counts.tolist()[0]
    assert first_devices(data, 50) is data


def test_a_dry_run_leaves_no_folder_and_says_what_a_run_costs(tmp_path: Path) -> None:
    words = ["run", "digits", "--method", "class-logits", "--devices", "4", "--families", "mlp-small"]
    words += ["--rounds", "4", "--epochs", "1", "--baselines", "none", "--out", str(tmp_path / "run")]

    dry = CliRunner().invoke(app, [*words, "--dry-run", "--json"])
    assert dry.exit_code == 0, dry.output
    assert not (tmp_path / "run").exists()
    estimate = json.loads(dry.stdout)
    done = CliRunner().invoke(app, [*words, "--no-report"])

    assert done.exit_code == 0, done.output
    assert "class-logits on digits: 4 devices, 4 rounds; about " in done.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    for name in ("uplink_bytes", "downlink_bytes"):
        assert 0.5 < estimate[name] / result["final"][name] < 2
    assert {"data", "artifacts", "preparation", "rounds", "export"} <= estimate["seconds"].keys()
    assert estimate["devices"] == 4

"""fedstill-server schedule, pause and resume, as an operator meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fedstill_server import cli
from fedstill_server.config.codec import ConfigError
from fedstill_server.config.schedule import Schedule
from fedstill_server.fleet.folder import FleetFolder, FleetSettings
from fedstill_server.operations.audit import AuditLog
from typer.testing import CliRunner


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    folder = tmp_path / "fleet"
    FleetFolder.create(folder, FleetSettings(host="127.0.0.1", port=8443, superlink_port=8000))
    return folder


def said(*words: str) -> str:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(cli.cli, words)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_schedule_is_said_piece_by_piece_and_shown(fleet: Path) -> None:
    assert "rounds a day   24" in said("schedule", str(fleet))
    said("schedule", str(fleet), "--window", "0 2 * * *", "--for", "3h", "--zone", "Europe/Berlin")
    text = said("schedule", str(fleet), "--least-devices", "20", "--every", "10m")
    assert "window         '0 2 * * *' for 3h (Europe/Berlin)" in text
    assert "devices        at least 20" in text
    assert "between them   at least 10m" in text
    assert Schedule.read(fleet, continuous=True) == Schedule(
        window="0 2 * * *",
        lasts_s=10800,
        zone="Europe/Berlin",
        least_devices=20,
        most_rounds_a_day=24,
        least_pause_s=600,
    )
    document = json.loads(said("schedule", str(fleet), "--json"))
    assert document["status"] is None


def test_rounds_are_paused_and_go_on(fleet: Path) -> None:
    assert "rounds are paused; to go on: fedstill-server resume" in said("pause", str(fleet))
    assert Schedule.read(fleet, continuous=True).paused
    assert "paused" not in said("resume", str(fleet))
    assert [entry.action for entry in AuditLog(fleet).entries()] == ["pause", "resume"]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--window", "0 0 31 2 *"), "--window: '0 0 31 2 .' is not "),
        (("--for", "0s"), "--for: 0.0 is not "),
        (("--rounds-a-day", "0"), "--rounds-a-day: 0 is not 1 or more"),
        (("--zone", "Mars"), "--zone: 'Mars' is not a time zone"),
        (("--every", "soon"), "--every: 'soon' is not a duration"),
    ],
)
def test_what_never_opens_is_refused_and_changes_nothing(
    fleet: Path, words: tuple[str, str], error: str
) -> None:
    with pytest.raises(ConfigError, match=error):
        said("schedule", str(fleet), *words)
    assert not (fleet / "schedule.json").exists()
    assert AuditLog(fleet).entries() == []

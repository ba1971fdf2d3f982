"""The systemd units that the commands print: systemd has nothing to say against them."""

from __future__ import annotations

import configparser
import getpass
import shutil
import subprocess
from pathlib import Path

import pytest
from fedstill_client.fleet.unit import agent_unit
from fedstill_client.home import AgentHome
from fedstill_server.fleet.folder import FleetFolder, FleetSettings
from fedstill_server.fleet.unit import server_unit


def fleet(folder: Path, port: int = 8443) -> FleetFolder:
    return FleetFolder.create(folder, FleetSettings(host="127.0.0.1", port=port, superlink_port=8000))


def read(text: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    return parser


def test_the_agent_runs_as_its_user_in_its_home(tmp_path: Path) -> None:
    service = read(agent_unit(AgentHome(tmp_path / "home")))["Service"]
    program, *words = service["ExecStart"].split()
    assert Path(program).name == "fedstill-agent"
    assert Path(program).exists()
    assert words == ["run", "--home", str(tmp_path / "home")]
    assert service["User"] == getpass.getuser()
    assert service["ReadWritePaths"] == str(tmp_path / "home")


def test_a_low_port_needs_a_capability(tmp_path: Path) -> None:
    assert "AmbientCapabilities" not in read(server_unit(fleet(tmp_path / "high")))["Service"]
    low = read(server_unit(fleet(tmp_path / "low", port=443), user="fleet"))["Service"]
    assert low["AmbientCapabilities"] == "CAP_NET_BIND_SERVICE"
    assert low["User"] == "fleet"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_accepts_both(tmp_path: Path) -> None:
    files = [tmp_path / "fedstill-agent.service", tmp_path / "fedstill-server.service"]
    files[0].write_text(agent_unit(AgentHome(tmp_path / "home")))
    files[1].write_text(server_unit(fleet(tmp_path / "fleet")))
    for file in files:
        done = subprocess.run(["systemd-analyze", "verify", file], capture_output=True, text=True)
        own = [line for line in done.stderr.splitlines() if file.name in line]
        assert not own, done.stderr

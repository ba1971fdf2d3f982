"""The systemd units that the commands print: systemd has nothing to say against them."""

from __future__ import annotations

import configparser
import getpass
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from fedstill_client.fleet.unit import agent_unit
from fedstill_client.home import AgentHome
from fedstill_proto.errors import InvalidValue
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


ODD = 'my home 50%i $HOME \\ it\'s "new"'


def test_blanks_and_signs_of_systemd_s_own_are_quoted_in_both(tmp_path: Path) -> None:
    home, folder = tmp_path / ODD, fleet(tmp_path / f"fleet {ODD}").folder
    for text, words in (
        (agent_unit(AgentHome(home)), ["run", "--home", str(home)]),
        (server_unit(FleetFolder.open(folder)), ["up", str(folder)]),
    ):
        service = read(text)["Service"]
        # systemd doubles % and $ in commands, and splits words as a shell does.
        assert shlex.split(service["ExecStart"].replace("%%", "%").replace("$$", "$"))[1:] == words
        assert shlex.split(service["ReadWritePaths"].replace("%%", "%")) == words[-1:]
        assert "50%%i" in service["ExecStart"]
    assert "50%%i" in read(agent_unit(AgentHome(home)))["Unit"]["Description"]


def test_what_no_unit_can_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match=r"home: .*holds signs that a unit cannot"):
        agent_unit(AgentHome(tmp_path / "a\nExecStartPre=b"))
    with pytest.raises(InvalidValue, match=r"folder: .*holds signs"):
        server_unit(fleet(tmp_path / "a\nb"))
    with pytest.raises(InvalidValue, match=r"user: .*no user's name"):
        agent_unit(AgentHome(tmp_path), user="root\nExecStartPre=b")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_accepts_both(tmp_path: Path) -> None:
    files = [tmp_path / f"fedstill-{name}.service" for name in ("agent", "server", "odd-agent", "odd-server")]
    files[0].write_text(agent_unit(AgentHome(tmp_path / "home")))
    files[1].write_text(server_unit(fleet(tmp_path / "fleet")))
    files[2].write_text(agent_unit(AgentHome(tmp_path / ODD)))
    files[3].write_text(server_unit(fleet(tmp_path / f"fleet {ODD}")))
    for file in files:
        done = subprocess.run(["systemd-analyze", "verify", file], capture_output=True, text=True)
        own = [line for line in done.stderr.splitlines() if file.name in line]
        assert not own, done.stderr

"""The systemd unit of an agent: started with the device, alone in its home, first to give way."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path

from fedstill_proto.system.unit_words import unit_argument, unit_path, unit_text, unit_user

from fedstill_client.home import AgentHome

# An agent that is told to stop ends its SuperNode within ten seconds, and a round's process with it.
_UNIT = """\
# Written by fedstill-agent unit.
[Unit]
Description=fedstill agent of {home_text}
Wants=network-online.target
After=network-online.target

[Service]
Type=exec
User={user}
ExecStart={program} run --home {home_word}
Restart=always
RestartSec=5
TimeoutStopSec=30
# Apps of the device go first.
Nice=10
IOSchedulingClass=idle
CPUWeight=20
MemoryHigh=300M
MemoryMax=450M
# It needs its home and the network, and nothing else.
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome={protect_home}
ReadWritePaths={home_path}
PrivateTmp=yes
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
LockPersonality=yes
UMask=0077

[Install]
WantedBy=multi-user.target
"""


def agent_unit(home: AgentHome, *, user: str | None = None) -> str:
    """The text of a systemd unit.

    Args:
        home: The home that the agent serves.
        user: Whom the home belongs to; None is the current user.

    Raises:
        InvalidValue: A path or the user's name holds what no unit can.
    """
    folder, program = home.folder.resolve(), Path(sys.executable).with_name("fedstill-agent")
    under_home = any(
        path.is_relative_to("/home") or path.is_relative_to("/root") for path in (folder, program)
    )
    return _UNIT.format(
        home_text=unit_text("home", folder),
        home_word=unit_argument("home", folder),
        home_path=unit_path("home", folder),
        program=unit_argument("program", program),
        user=unit_user("user", user or getpass.getuser()),
        protect_home="no" if under_home else "yes",
    )

"""The systemd unit of a fleet's server: SuperLink, proxy and rounds under one service."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path

from fedstill_proto.system.unit_words import unit_argument, unit_path, unit_user

from fedstill_server.fleet.folder import FleetFolder

_UNIT = """\
# Written by fedstill-server unit.
[Unit]
Description=fedstill fleet {run} at {address}
Wants=network-online.target
After=network-online.target

[Service]
Type=exec
User={user}
ExecStart={program} {command} {folder_word}
Restart=always
RestartSec=5
# Each of its processes gets ten seconds to end.
TimeoutStopSec=60
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome={protect_home}
ReadWritePaths={folder_path}
PrivateTmp=yes
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
{ports}UMask=0077

[Install]
WantedBy=multi-user.target
"""
_FIRST_OPEN_PORT = 1024


def server_unit(fleet: FleetFolder, *, user: str | None = None, command: str = "up") -> str:
    """The text of a systemd unit.

    Args:
        fleet: The fleet that it serves.
        user: The owner of the folder; None is the current user.
        command: The command of fedstill-server that serves it.

    Raises:
        InvalidValue: A path or the user's name holds what no unit can.
    """
    folder, program = fleet.folder.resolve(), Path(sys.executable).with_name("fedstill-server")
    under_home = any(
        path.is_relative_to("/home") or path.is_relative_to("/root") for path in (folder, program)
    )
    low = fleet.settings.proxy and fleet.settings.port < _FIRST_OPEN_PORT
    return _UNIT.format(
        run=fleet.run,
        command=command,
        address=fleet.settings.address,
        folder_word=unit_argument("folder", folder),
        folder_path=unit_path("folder", folder),
        program=unit_argument("program", program),
        user=unit_user("user", user or getpass.getuser()),
        protect_home="no" if under_home else "yes",
        ports="AmbientCapabilities=CAP_NET_BIND_SERVICE\n" if low else "",
    )

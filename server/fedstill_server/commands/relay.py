"""fedstill-server init-relay and relay: a node of a server above, and a server to its own devices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from fedstill_server.commands.shared import AsJson, help_of

Relay = Annotated[Path, typer.Argument(help="The relay's folder.")]


def register(cli: typer.Typer) -> None:
    """Add the commands to `cli`."""
    for name, command in (("init-relay", init_relay), ("relay", relay)):
        help_text = help_of(command)
        cli.command(name=name, help=help_text, rich_help_panel="A relay of a fleet")(command)


def init_relay(
    folder: Relay,
    enrolment: Annotated[
        Path, typer.Argument(help="What the operator of the server above wrote with fedstill-server invite.")
    ],
    name: Annotated[str, typer.Option(help="The relay's name at the server above.")],
    host: Annotated[str, typer.Option(help="Name or address that the relay's devices reach it by.")],
    port: Annotated[int, typer.Option(help="Where the relay's reverse proxy listens for devices.")] = 8443,
    superlink_port: Annotated[
        int, typer.Option(help="Where the relay's SuperLink listens, on loopback.")
    ] = 8000,
    without_proxy: Annotated[
        bool, typer.Option("--without-proxy", help="Try a relay out on this machine alone, without nginx.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a relay: a folder with its certificate authority, and the key that the server above registers.

    Devices enrol with the relay's own invitation, and are registered with the relay; students come from the
    fleet's repository, signed by the fleet's keys.

    Example: fedstill-server init-relay relays/west kitchen.enrolment --name west --host west.example.org
    """
    from fedstill_proto.system.enrolment import read_enrolment

    from fedstill_server.fleet.folder import FleetSettings
    from fedstill_server.relay.folder import RelayFolder

    above = read_enrolment(enrolment)
    settings = FleetSettings(host=host, port=port, superlink_port=superlink_port, proxy=not without_proxy)
    made = RelayFolder.create(folder, settings, above, name=name)
    document = {"relay": str(folder), "address": settings.address, "public_key": str(made.public_key)}
    told = (
        f"made relay {name} of fleet {above.run} in {folder}; devices will reach it at {settings.address}\n"
        f"bring {made.public_key} to the operator at {above.address}, who registers it with\n"
        "  fedstill-server register FLEET relay.pub --relay-devices 500"
    )
    typer.echo(json.dumps(document, indent=1) if as_json else told)


def relay(folder: Relay, as_json: AsJson = False) -> None:
    """Serve a relay's devices, and take part in the rounds of the server above for them, until Ctrl-C.

    Whatever ends is started again. What each process says is in the relay's logs/.
    """
    from fedstill_proto.system.signals import EndSignals

    from fedstill_server.fleet.up import Watch
    from fedstill_server.relay.folder import RelayFolder
    from fedstill_server.relay.up import RelayUp

    opened = RelayFolder.open(folder)

    def tell(kind: str, text: str, **document: object) -> None:
        print(json.dumps({"event": kind, **document}) if as_json else text, flush=True)

    watch = Watch(
        on_text=lambda text: tell("note", text, note=text),
        on_processes=lambda pids: tell(
            "up",
            f"the relay is up at {opened.fleet.settings.address}, for {opened.above.address} "
            f"({', '.join(f'{name} {pid}' for name, pid in pids.items())})",
            address=opened.fleet.settings.address,
            above=opened.above.address,
            processes=pids,
        ),
    )
    with EndSignals() as signals:
        RelayUp(opened, watch).run(signals)
    tell("down", "the relay is down")

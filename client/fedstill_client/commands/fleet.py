"""fedstill-agent enrol and run: join a fleet, and take part in it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from fedstill_client.agent_types import check_precision
from fedstill_client.commands.options import (
    AgentCommand,
    HomeOption,
    JsonOption,
    PrecisionOption,
    RulesOption,
)
from fedstill_client.commands.paths import check_file
from fedstill_client.home import AgentHome, check_encryption


def register(app: typer.Typer) -> None:
    """Add the fleet's commands to fedstill-agent."""
    app.command(cls=AgentCommand)(enrol)
    app.command(cls=AgentCommand)(run)
    app.command(cls=AgentCommand)(unit)


def enrol(
    file: Annotated[
        Path, typer.Argument(help="The operator's invitation, which fedstill-server invite wrote.")
    ],
    name: Annotated[str, typer.Option(help="The device's name, which the fleet knows it by.")],
    family: Annotated[
        str | None,
        typer.Option(help="Student family; needed where the fleet has several.", show_default=False),
    ] = None,
    encryption: Annotated[
        str,
        typer.Option(
            help="Encryption of the private store at rest: off, key-file or keyring (needs "
            "fedstill\\[encrypted])."
        ),
    ] = "off",
    allow: Annotated[
        list[str] | None,
        typer.Option(
            help="What it may do beyond its policy, such as plain: answer without noise; may be given again.",
            show_default=False,
        ),
    ] = None,
    assignments: RulesOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Join a fleet: make this device's home and key, and install its student.

    What the fleet says, signed, that it will ask is held against the device's policy, which by default is
    that of fedstill-agent policy --default. What goes beyond it is named, and will be refused.

    The public key that it names must then be brought to the operator, who registers it; until then the
    server does not let the device in. A command that was interrupted can be given again.
    """
    chosen = check_encryption(encryption)
    check_file(file)
    from fedstill_proto.system.enrolment import read_enrolment

    from fedstill_client.fleet.enrol import enrol as enrol_device
    from fedstill_client.privacy.policy import DevicePolicy
    from fedstill_client.privacy.statement import how_to_allow

    at = AgentHome.given(home)
    policy = DevicePolicy.read(at.folder).allowing(allow or ()).setting(assignments or ())
    enrolled = enrol_device(
        at,
        read_enrolment(file),
        name=name,
        family=family,
        encryption=chosen,
        policy=policy,
    )
    if as_json:
        document = {
            "name": enrolled.name,
            "public_key": str(enrolled.public_key),
            "fingerprint": enrolled.fingerprint,
            "package_version": enrolled.package.version,
            "family": enrolled.package.family,
            "refused": [str(one) for one in enrolled.refused],
        }
        print(json.dumps(document))
        return
    print(
        f"enrolled as {enrolled.name}, with package {enrolled.package.version} of {enrolled.package.family}"
    )
    if enrolled.refused:
        print("this fleet will ask for more than the device's policy allows, and be refused:")
        for one in enrolled.refused:
            print(f"  {one}")
        options = how_to_allow(enrolled.refused)
        print("see what that costs, and allow it if you want that:")
        print(f"  fedstill-agent policy --home {at.folder} {options}")
    print(f"bring {enrolled.public_key} to the operator ({enrolled.fingerprint}), who registers it with")
    print(f"  fedstill-server register FLEET {enrolled.public_key.name}")
    print("and then: fedstill-agent run")


def run(
    threads: Annotated[int, typer.Option(min=1, help="Processor threads of each answer.")] = 1,
    precision: PrecisionOption = "float32",
    metrics_port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="Let Prometheus read /metrics on loopback at this port; off by default."
        ),
    ] = None,
    apps: Annotated[
        bool, typer.Option("--apps/--no-apps", help="Answer apps; a device that only learns needs no socket.")
    ] = True,
    home: HomeOption = None,
) -> None:
    """Answer this device's apps and take part in the fleet's rounds, until Ctrl-C or SIGTERM.

    Rounds are done when the device is idle, on power and on an unmetered network (eligibility.json in the
    home changes that). The log of Flower's SuperNode is in logs/ of the home.
    """
    chosen = check_precision(precision)
    from fedstill_client.fleet.run import run as run_device

    def tell(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    run_device(
        AgentHome.given(home),
        tell=tell,
        threads=threads,
        precision=chosen,
        apps=apps,
        metrics_port=metrics_port,
    )


def unit(
    user: Annotated[
        str, typer.Option(help="The user whom the home belongs to and the agent runs as; you by default.")
    ] = "",
    home: HomeOption = None,
) -> None:
    """Print a systemd unit that runs this agent from boot on, with the lowest priority, shut in its home.

    Example: fedstill-agent unit --user fedstill | sudo tee /etc/systemd/system/fedstill-agent.service
    """
    from fedstill_client.fleet.unit import agent_unit

    print(agent_unit(AgentHome.given(home), user=user or None), end="")

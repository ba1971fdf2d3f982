"""fedstill-server console, console-password: look at a fleet in a browser, behind a login."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from fedstill_server.commands.shared import Fleet

if TYPE_CHECKING:
    from fedstill_proto.system.supervisor import ChildProcess

    from fedstill_server.fleet.folder import FleetFolder

_PANEL = "A real fleet"


def register(cli: typer.Typer) -> None:
    """Add the commands to `cli`."""
    cli.command(name="console", rich_help_panel=_PANEL)(console)
    cli.command(name="console-password", rich_help_panel=_PANEL)(console_password)


def console(
    fleet: Fleet,
    host: Annotated[
        str, typer.Option(help="Where to listen; on any address but loopback with the fleet's certificate.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="TCP; 0 takes one that is free.")] = 8600,
    metrics_port: Annotated[
        int,
        typer.Option(
            min=0, max=65535, help="Where Prometheus reads /metrics without a login, on loopback alone."
        ),
    ] = 0,
    on_alarm: Annotated[
        str,
        typer.Option(
            metavar="COMMAND",
            help="Run this for each alarm that is raised or cleared, with what it is as JSON on its input.",
        ),
    ] = "",
    allow_changes: Annotated[
        bool,
        typer.Option(
            "--allow-changes",
            help="Give the page buttons: pause and resume rounds and releases, roll back, the kill switch.",
        ),
    ] = False,
    otel: Annotated[
        str,
        typer.Option(
            metavar="URL", help="Send spans of rounds to an OpenTelemetry collector: http://127.0.0.1:4318."
        ),
    ] = "",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON for scripts, and nothing else.")
    ] = False,
) -> None:
    """Serve the fleet's console: rounds as they come, accuracy, devices, releases, alarms and metrics.

    It changes nothing unless you allow it. Set its password first, with console-password.

    Example: fedstill-server console fleets/kitchen --metrics-port 9600
    """
    from fedstill_server.console.serving import ConsoleOptions, serve_console

    def told(address: str) -> None:
        print(json.dumps({"console": address}) if as_json else f"the console is at {address}", flush=True)

    options = ConsoleOptions(
        host=host,
        port=port,
        metrics_port=metrics_port,
        on_alarm=on_alarm,
        otel=otel,
        allow_changes=allow_changes,
    )
    serve_console(fleet, options, on_ready=told)


def console_beside_fleet(fleet: FleetFolder, *, port: int, on_alarm: str) -> ChildProcess:
    """The console as a program that `up` keeps alive; raises ConsoleError where it has no password yet."""
    from fedstill_proto.system.supervisor import ChildProcess

    from fedstill_server.console.login import Credentials

    Credentials.read(fleet)
    command = [sys.executable, "-P", "-m", "fedstill_server.cli", "console", str(fleet.folder.resolve())]
    command += ["--port", str(port), "--on-alarm", on_alarm]
    return ChildProcess("console", command, fleet.logs / "console.log")


def console_password(
    fleet: Fleet,
    from_input: Annotated[
        bool, typer.Option("--stdin", help="Read the password's one line from standard input.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON for scripts, and nothing else.")
    ] = False,
) -> None:
    """Set the password of the console, and print a token for programs, which is shown this once.

    Whoever is logged in has to log in again, and an earlier token lets nobody in. Start the console anew.

    Example: fedstill-server console-password fleets/kitchen
    """
    from fedstill_server.console.login import Credentials
    from fedstill_server.fleet.folder import FleetFolder
    from fedstill_server.operations.audit import AuditLog

    opened = FleetFolder.open(fleet)
    if from_input:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    credentials, token = Credentials.create(password)
    credentials.write(opened)
    AuditLog(fleet).append("console-password")
    if as_json:
        print(json.dumps({"token": token}))
    else:
        print(f"the password is set. For programs (Authorization: Bearer ...): {token}")

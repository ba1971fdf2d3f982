"""fedstill-agent doctor: why this device takes part in no round."""

from __future__ import annotations

import typer

from fedstill_client.commands.options import AgentCommand, HomeOption, JsonOption
from fedstill_client.commands.output import print_json
from fedstill_client.home import AgentHome


def register(app: typer.Typer) -> None:
    """Add the command to fedstill-agent."""
    app.command(name="doctor", cls=AgentCommand)(doctor_command)


def doctor_command(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Find out why this device takes part in no round: what stands in the way, and what to do about it.

    It looks at the home, the way to the server, the clock, certificate and registration, the package, each
    rule of eligibility with its reading, the policy and its budget, the disk, the agent, and the last rounds.
    It changes nothing, and exits with 1 where something stands in the way.

    [bold]Examples[/bold]

      fedstill-agent doctor --home /var/lib/fedstill

      fedstill-agent doctor --json
    """
    from fedstill_client.doctor import CheckVerdict, examine

    found = []
    for finding in examine(AgentHome.given(home)):
        found.append(finding)
        if not as_json:
            print(f"{finding.verdict:8s} {finding.check}: {finding.found}", flush=True)
            if finding.remedy:
                print(f"{'':8s}   {finding.remedy}", flush=True)
    in_the_way = [one.check for one in found if one.verdict is CheckVerdict.BAD]
    if as_json:
        print_json({"in_the_way": in_the_way, "findings": [vars(one) for one in found]})
    elif in_the_way:
        print(f"In the way of a round: {', '.join(in_the_way)}.")
    else:
        print("Nothing stands in the way of a round.")
    raise typer.Exit(1 if in_the_way else 0)

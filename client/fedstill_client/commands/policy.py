"""fedstill-agent policy: what this device ever does for its fleet, and what it refused lately."""

from __future__ import annotations

import datetime
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Annotated

import typer

from fedstill_client.commands.options import AgentCommand, HomeOption, JsonOption
from fedstill_client.commands.output import Facts, print_json
from fedstill_client.home import AgentHome

if TYPE_CHECKING:
    from fedstill_client.privacy.policy import DevicePolicy
    from fedstill_client.privacy.refusals import RefusedTask

_SHOWN_REFUSALS = 5


def register(app: typer.Typer) -> None:
    """Add the command to fedstill-agent."""
    app.command(name="policy", cls=AgentCommand)(policy_command)


def policy_command(
    allow: Annotated[
        list[str] | None,
        typer.Option(
            help="An answer, encoding or start to allow, such as parameters or task; may be given again.",
            show_default=False,
        ),
    ] = None,
    deny: Annotated[
        list[str] | None, typer.Option(help="One to allow no more; may be given again.", show_default=False)
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="RULE=VALUE",
            help="Another value of a rule; may be given again.",
            show_default=False,
        ),
    ] = None,
    default: Annotated[
        bool, typer.Option("--default", help="Put all rules back to their defaults first.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what this device ever does for its fleet, or set it: no server can change it.

    A task that goes beyond a rule is refused before any work is done for it; the agent's log and this command
    name the rule, the value and the bound, and the server gets the word policy or budget.

    [bold]Examples[/bold]

      fedstill-agent policy

      fedstill-agent policy --set rounds_a_day=10 --deny row-selection

      fedstill-agent policy --allow parameters --json
    """
    from fedstill_client.privacy.guard import spending_of
    from fedstill_client.privacy.policy import DevicePolicy
    from fedstill_client.privacy.refusals import last_refusals
    from fedstill_client.store import PrivateStore

    folder = AgentHome.given(home).folder
    with PrivateStore.open(AgentHome(folder)) as store:
        policy = DevicePolicy() if default else DevicePolicy.read(folder)
        if default or allow or deny or assignments:
            policy = policy.allowing(allow or ()).denying(deny or ()).setting(assignments or ())
            policy.write(folder)
        spent, refused = spending_of(store.ledger).by_rule(), last_refusals(store.ledger)
    if as_json:
        print_json(
            {
                "policy": policy.to_json(),
                "spent": spent,
                "refused": [asdict(one) for one in reversed(refused)],
            }
        )
    else:
        _print(policy, spent, refused)


def _print(policy: DevicePolicy, spent: Facts, refused: list[RefusedTask]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table("rule", "value", "spent", "what it means and costs", box=None, pad_edge=False)
    for one in fields(policy):
        value = getattr(policy, one.name)
        shown = ", ".join(value) or "none" if isinstance(value, tuple) else f"{value:,}"
        changed = "" if value == one.default else " *"
        table.add_row(one.name, shown + changed, f"{spent.get(one.name, '')}", one.metadata["says"])
    console.print(table)
    console.print("* set by you; --default puts it back", highlight=False, markup=False)
    for one in refused[: -_SHOWN_REFUSALS - 1 : -1]:
        when = datetime.datetime.fromtimestamp(one.at).isoformat(" ", "minutes")
        console.print(
            f"{when}: round {one.round} of {one.run} refused: {one.text}", highlight=False, markup=False
        )

"""fedstill-agent policy: what this device ever does for its fleet, and what it refused lately."""

from __future__ import annotations

import datetime
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Annotated

import typer

from fedstill_client.commands.options import AgentCommand, HomeOption, JsonOption, RulesOption
from fedstill_client.commands.output import Facts, print_json, print_line
from fedstill_client.home import AgentHome

if TYPE_CHECKING:
    from fedstill_proto.task_bounds import TaskBounds

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
    assignments: RulesOption = None,
    default: Annotated[
        bool, typer.Option("--default", help="Put all rules back to their defaults first.")
    ] = False,
    accept: Annotated[
        bool,
        typer.Option("--accept", help="Let the fleet ask what its newest release says, if that is more."),
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what this device ever does for its fleet, or set it: no server can change it.

    A task that goes beyond a rule is refused before any work is done for it; the agent's log and this command
    name the rule, the value and the bound, and the server gets the word policy or budget. What the fleet
    said, signed, that it would ask is a bound of its own.

    [bold]Examples[/bold]

      fedstill-agent policy

      fedstill-agent policy --set rounds_a_day=10 --deny row-selection

      fedstill-agent policy --allow parameters --json
    """
    from fedstill_client.privacy.guard import spending_of
    from fedstill_client.privacy.policy import DevicePolicy
    from fedstill_client.privacy.refusals import last_refusals
    from fedstill_client.privacy.statement import accept_statement, newer_statement, read_statement
    from fedstill_client.store import PrivateStore

    folder = AgentHome.given(home).folder
    with PrivateStore.open(AgentHome(folder)) as store:
        policy = DevicePolicy() if default else DevicePolicy.read(folder)
        if default or allow or deny or assignments:
            policy = policy.allowing(allow or ()).denying(deny or ()).setting(assignments or ())
            policy.write(folder)
        if accept:
            accept_statement(folder)
            AgentHome(folder).look_for_release()  # one that has waited for this
        said, newer = read_statement(folder), newer_statement(folder)
        spent, refused = spending_of(store.ledger).by_rule(), last_refusals(store.ledger)
    if as_json:
        print_json(
            {
                "policy": policy.to_json(),
                "fleet_asks": None if said is None else said.to_json(),
                "fleet_wants": None if newer is None else newer.to_json(),
                "spent": spent,
                "refused": [asdict(one) for one in reversed(refused)],
            }
        )
    else:
        _print(policy, said, spent, refused)
        if newer is not None:
            print_line("The fleet's newest release asks for more than it said before; --accept allows that.")


def _print(policy: DevicePolicy, said: TaskBounds | None, spent: Facts, refused: list[RefusedTask]) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    columns = ("rule", "value", "the fleet asks", "spent", "what it means and costs")
    table = Table(*columns, box=None, pad_edge=False)
    for one in fields(policy):
        value = getattr(policy, one.name)
        changed = "" if value == one.default else " *"
        asks = _shown(getattr(said, one.name, ""))
        spent_of_it = _shown(spent.get(one.name, ""))
        table.add_row(one.name, _shown(value) + changed, asks, spent_of_it, one.metadata["says"])
    console.print(table)
    console.print("* set by you; --default puts it back", highlight=False, markup=False)
    for task in refused[: -_SHOWN_REFUSALS - 1 : -1]:
        when = datetime.datetime.fromtimestamp(task.at).isoformat(" ", "minutes")
        console.print(
            f"{when}: round {task.round} of {task.run} refused: {task.text}", highlight=False, markup=False
        )


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    return f"{value:,}" if isinstance(value, int | float) else str(value)

"""fedstill-agent privacy: how much this device ever reveals to its fleet, and how much it has revealed."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer
from fedstill_proto.errors import FedstillError

from fedstill_client.commands.options import AgentCommand, HomeOption, JsonOption
from fedstill_client.commands.output import print_facts, print_json
from fedstill_client.home import AgentHome


def register(app: typer.Typer) -> None:
    """Add the command to fedstill-agent."""
    app.command(name="privacy", cls=AgentCommand)(privacy_command)


def privacy_command(
    epsilon: Annotated[
        float | None, typer.Option(help="The most that all answers together may ever cost, at --delta.")
    ] = None,
    delta: Annotated[
        float | None, typer.Option(help="The delta of the budget; 1e-5 by default.", show_default=False)
    ] = None,
    least_noise: Annotated[
        float | None,
        typer.Option(
            help="The least noise multiplier of a single answer; any by default.", show_default=False
        ),
    ] = None,
    off: Annotated[
        bool, typer.Option("--off", help="Answer without noise, too, where the policy allows it.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set this device's privacy budget, or show what is spent of it.

    With a budget, nothing leaves the device but answers with noise, and only as long as the budget covers
    them. It holds for as long as the home does: what was spent stays spent, whatever the budget is set to. It
    is a part of the device's policy: fedstill-agent policy shows the rest.

    [bold]Examples[/bold]

      fedstill-agent privacy --epsilon 8

      fedstill-agent privacy --json
    """
    if off and (epsilon, delta, least_noise) != (None, None, None):
        raise FedstillError("--off: takes the budget away; leave the other options out.")
    if not off and epsilon is None and (delta, least_noise) != (None, None):
        raise FedstillError("--epsilon: missing; give the budget anew with --delta or --least-noise.")
    from fedstill_client.privacy.account import budget_facts
    from fedstill_client.privacy.policy import DevicePolicy
    from fedstill_client.store import PrivateStore

    folder = AgentHome.given(home).folder
    with PrivateStore.open(AgentHome(folder)) as store:
        policy, default = DevicePolicy.read(folder), DevicePolicy()
        if off:
            policy = replace(policy, epsilon=default.epsilon).allowing(["plain"])
            policy.write(folder)
        elif epsilon is not None:
            policy = replace(
                policy,
                protection=default.protection,
                epsilon=epsilon,
                delta=default.delta if delta is None else delta,
                least_noise_multiplier=least_noise or 0.0,
            )
            policy.write(folder)
        facts = dict(budget_facts(folder, store.ledger))
    if as_json:
        print_json(facts)
    else:
        print_facts(facts)

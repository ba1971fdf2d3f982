"""What a device has spent of its privacy, and of which budget."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

from fedstill_proto.privacy import epsilon_of_rho
from fedstill_proto.refusal import Refusal

from fedstill_client.privacy.policy import DevicePolicy
from fedstill_client.privacy.refusals import last_refusals
from fedstill_client.store.ledger import Ledger

_OF_THE_POLICY = (Refusal.POLICY.word, Refusal.BUDGET.word, Refusal.ANOTHER_APP.word)


class BudgetFacts(TypedDict):
    """Fields of AgentStatus."""

    epsilon_spent: float
    epsilon_budget: float
    delta: float
    releases_without_noise: int
    privacy_refusal: str


def budget_facts(folder: Path, ledger: Ledger) -> BudgetFacts:
    """What an agent's home has spent, by its ledger, and of which budget."""
    policy, released = DevicePolicy.read(folder), ledger.totals()
    by_policy = [one for one in last_refusals(ledger) if one.word in _OF_THE_POLICY]
    return BudgetFacts(
        epsilon_spent=epsilon_of_rho(released.rho, policy.delta),
        epsilon_budget=policy.epsilon,
        delta=policy.delta,
        releases_without_noise=released.unbounded,
        privacy_refusal=by_policy[-1].text if by_policy else "",
    )

"""What a device has spent of its privacy, and of which budget."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

from fedstill_proto.privacy import epsilon_of_rho

from fedstill_client.privacy.guard import LAST_REFUSAL
from fedstill_client.privacy.policy import PrivacyPolicy
from fedstill_client.store.ledger import Ledger

_DEFAULT_DELTA = 1e-5


class BudgetFacts(TypedDict):
    """Fields of AgentStatus."""

    epsilon_spent: float
    epsilon_budget: float
    delta: float
    releases_without_noise: int
    privacy_refusal: str


def budget_facts(folder: Path, ledger: Ledger) -> BudgetFacts:
    """What an agent's home has spent, by its ledger, and of which budget."""
    policy, released = PrivacyPolicy.read(folder), ledger.totals()
    delta = _DEFAULT_DELTA if policy is None else policy.delta
    return BudgetFacts(
        epsilon_spent=epsilon_of_rho(released.rho, delta),
        epsilon_budget=0.0 if policy is None else policy.epsilon,
        delta=delta,
        releases_without_noise=released.unbounded,
        privacy_refusal=ledger.noted(LAST_REFUSAL),
    )

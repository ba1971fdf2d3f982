"""Differential privacy of a run: the rule of its baselines, and what it has cost in the end."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from fedstill_server.config.fleet import FleetConfig
from fedstill_server.methods import METHODS
from fedstill_server.privacy.accountant import (
    epsilon_of_rounds,
    zcdp_epsilon_of_rounds,
)
from fedstill_server.privacy.rule import PrivacyRule
from fedstill_server.rounds.most_asked import most_releases
from fedstill_server.rounds.round_record import RoundRecord
from fedstill_server.rounds.run_store import RunStore

from fedstill_sim.results.run_result import PrivacyResult


def rule_for(method: str, rule: PrivacyRule | None) -> PrivacyRule | None:
    """Make a baseline's rule: the same, with the clip that suits it; a method that sends nothing has none."""
    default_clip = METHODS.load(method).default_clip
    return None if rule is None or default_clip is None else dataclasses.replace(rule, clip=default_clip)


def spent_privacy(
    config: FleetConfig, store: RunStore, records: Sequence[RoundRecord]
) -> PrivacyResult | None:
    """Return what the rounds have cost the device that was asked most often; None without privacy."""
    rule = config.privacy
    if rule is None:
        return None
    rounds = most_releases(store, config, records)
    return PrivacyResult(
        mode=rule.mode,
        noise_multiplier=rule.noise_multiplier,
        clip=rule.clip,
        delta=rule.delta,
        rounds=rounds,
        rho=rounds * rule.noising.rho,
        epsilon=epsilon_of_rounds(rule.noise_multiplier, rounds, rule.delta),
        zcdp_epsilon=zcdp_epsilon_of_rounds(rule.noise_multiplier, rounds, rule.delta),
    )

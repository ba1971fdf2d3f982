"""Differential privacy of a run: the rule that a request comes to, and what it has cost in the end."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from fedstill_proto.errors import InvalidValue
from fedstill_server.methods import METHODS, noised_methods
from fedstill_server.privacy.accountant import (
    epsilon_of_rounds,
    noise_for_epsilon,
    zcdp_epsilon_of_rounds,
)
from fedstill_server.privacy.rule import PrivacyRule
from fedstill_server.rounds.most_asked import most_asked
from fedstill_server.rounds.round_record import RoundRecord

from fedstill_sim.request import RequestError, RunRequest
from fedstill_sim.results.run_result import PrivacyResult

DEFAULT_DELTA = 1e-5


def privacy_rule(request: RunRequest, *, rounds: int) -> PrivacyRule | None:
    """Make the privacy rule that a request asks for.

    Where it names an epsilon, the noise is what that needs if a device is asked in every round.

    Raises:
        RequestError: The method has no differential privacy, or an option is out of its range.
    """
    if request.privacy is None:
        return None
    delta = DEFAULT_DELTA if request.delta is None else request.delta
    default_clip = METHODS.load(request.method).default_clip
    if default_clip is None:
        return None if request.method == "local" else _refused(request.method)
    try:
        noise = request.noise_multiplier
        if request.epsilon is not None:
            noise = noise_for_epsilon(request.epsilon, rounds, delta)
        assert noise is not None  # the request has one of the two
        return PrivacyRule(
            mode=request.privacy,
            noise_multiplier=noise,
            clip=default_clip if request.clip is None else request.clip,
            delta=delta,
            noise_seed=request.seed,
            measured=True,
        )
    except InvalidValue as error:
        raise RequestError(f"--{error.field.replace('_', '-')}: {error.problem}") from None


def rule_for(method: str, rule: PrivacyRule | None) -> PrivacyRule | None:
    """Make a baseline's rule: the same, with the clip that suits it; a method that sends nothing has none."""
    default_clip = METHODS.load(method).default_clip
    return None if rule is None or default_clip is None else dataclasses.replace(rule, clip=default_clip)


def spent_privacy(rule: PrivacyRule | None, records: Sequence[RoundRecord]) -> PrivacyResult | None:
    """Return what the rounds have cost the device that was asked most often; None without privacy."""
    if rule is None:
        return None
    rounds = most_asked(records)
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


def _refused(method: str) -> PrivacyRule:
    names = ", ".join(noised_methods())
    raise RequestError(f"--method: {method!r} has no differential privacy; those that have it are {names}")

"""What an audit found, as in audit.json."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from fedstill_server.privacy.accountant import epsilon_of_rounds
from fedstill_server.privacy.rule import PrivacyRule

from fedstill_sim.audit.label_distribution import LabelDistributionResult
from fedstill_sim.audit.membership import MembershipResult
from fedstill_sim.audit.noise_check import NoiseResult
from fedstill_sim.audit.reconstruction import ReconstructionResult


@dataclass(frozen=True, kw_only=True)
class Promise:
    """What a configuration promises to a device that is asked in all rounds.

    Attributes:
        mode: Who adds the noise.
        epsilon: By the account, of a whole private set.
        delta: The delta of it.
        noise_multiplier: The noise, in units of what another private set can change.
    """

    mode: str
    epsilon: float
    delta: float
    noise_multiplier: float


@dataclass(frozen=True, kw_only=True)
class AuditResult:
    """What an audit found.

    Attributes:
        command: The run that was audited.
        method: Its method.
        device: The device whose tasks were answered.
        examples: How many private examples that device holds.
        rounds: In how many rounds it was asked.
        shadows: Shadow devices of each kind from which the adversary learned.
        runs: Answers of each kind that the attacks were counted on.
        seed: What decided every draw.
        promise: What is promised; None without --privacy.
        examples_told: Membership of single examples.
        devices_told: Whether a whole private set was replaced.
        labels: Histograms of private labels.
        reconstruction: Private examples themselves.
        noise: The test of the noise; None where none is promised.
    """

    command: str
    method: str
    device: str
    examples: int
    rounds: int
    shadows: int
    runs: int
    seed: int
    promise: Promise | None
    examples_told: MembershipResult
    devices_told: MembershipResult
    labels: LabelDistributionResult
    reconstruction: ReconstructionResult
    noise: NoiseResult | None

    @property
    def broken(self) -> str:
        """Why the promise is false, in words; empty where the audit found nothing against it."""
        if self.promise is None:
            return ""
        wrong = [self.noise.missing] if self.noise is not None and self.noise.missing else []
        for told in (self.examples_told, self.devices_told):
            if told.epsilon > self.promise.epsilon:
                wrong.append(
                    f"membership of a {told.unit} proves an epsilon of at least {told.epsilon:.2f}, and "
                    f"{self.promise.epsilon:.2f} is promised"
                )
        return "; ".join(wrong)

    def to_json(self) -> dict[str, Any]:
        """As in audit.json."""
        return {**dataclasses.asdict(self), "broken": self.broken}


def promise_of(rule: PrivacyRule | None, rounds: int) -> Promise | None:
    """The promise of a rule to a device that is asked in so many rounds."""
    if rule is None:
        return None
    return Promise(
        mode=rule.mode,
        epsilon=epsilon_of_rounds(rule.noise_multiplier, rounds, rule.delta),
        delta=rule.delta,
        noise_multiplier=rule.noise_multiplier,
    )

"""The noised sum of a round: all that the server, or anybody behind it, learns from what devices answer.

A method makes a vector of each answer; it is clipped onto a grid of whole numbers (see
fedstill_proto.privacy), and all are added up exactly. In mode central the server adds the noise, and from
there on nothing remembers an answer: what is learned, sent and recorded is made of the noised sum, which is
debited before anybody sees it (rounds/account.py). The mean is over the devices that were asked, not over
those that answered: whether one did may depend on its data. In mode local the answers are noised already, and
in mode distributed their sum is, which is all that the server has (rounds/summing.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from fedstill_proto.privacy import discrete_gaussian, seeded_bits, system_bits
from fedstill_proto.privacy.noising import Noising, Steps

from fedstill_server.consensus.aggregation import Statistics
from fedstill_server.consensus.group_means import GroupFold, GroupMean
from fedstill_server.consensus.noised_mean import ALL_FAMILIES, NoisedMean
from fedstill_server.methods.interface import Method
from fedstill_server.privacy.rule import PrivacyRule
from fedstill_server.rounds.gate import Answer
from fedstill_server.rounds.summing import GroupTotal
from fedstill_server.state import FleetState


@dataclass(frozen=True)
class PrivateFold:
    """Makes a round's consensus of its answers, with noise."""

    method: Method
    rule: PrivacyRule
    group_fold: GroupFold | None = None  # how the means of groups become one; None adds their sums up

    def noised_means(
        self,
        answers: Sequence[Answer],
        state: FleetState,
        *,
        asked: Mapping[str, int],
        round_number: int,
        groups: Sequence[GroupTotal] | None = None,
    ) -> dict[str, NoisedMean]:
        """The noised means of a round, by part: the release itself.

        Args:
            answers: The answers that count.
            state: The state that the round's tasks were made from.
            asked: How many devices were asked, by family.
            round_number: The round.
            groups: The sums of groups, where the server sees nothing else of the answers.
        """
        noising = self.rule.noising
        parts = self.method.released_parts(state, round_number=round_number)
        sums = {name: np.zeros(size, np.int64) for name, size in parts.items()}
        counted: Counter[str] = Counter()
        noises: dict[str, float] = dict.fromkeys(parts, 0.0)  # how many times the whole noise is in a sum
        if groups is None:
            read = self.method.released_vector(state, round_number=round_number)
            for answer in answers:
                name = part_of(answer.summary.family, parts)
                noised = answer.summary.statistics.noised
                steps = noising.on_grid(read(answer.summary)) if noised is None else noised
                sums[name] = sums[name] + steps
                counted[name] += 1
        for group in groups or ():
            sums[group.part] = sums[group.part] + group.steps
            counted[group.part] += len(group.devices)
            noises[group.part] += group.noises
        means = {}
        for name in sorted(sums):
            if self.rule.mode == "central":
                devices = sum(many for family, many in asked.items() if part_of(family, parts) == name)
                sums[name] = sums[name] + self._noise(len(sums[name]), name, round_number)
                deviation = noising.sigma
            else:
                devices = counted[name]
                deviation = noising.sigma * (devices if groups is None else noises[name]) ** 0.5
            if self.group_fold is not None and groups is not None:
                parted = [_mean_of(group, noising) for group in groups if group.part == name]
                if parted:
                    means[name] = self.group_fold(parted)
            elif devices:
                mean = noising.values(sums[name]) / devices
                means[name] = NoisedMean(mean, deviation / devices, devices)
        return means

    def consensus(
        self, means: Mapping[str, NoisedMean], state: FleetState, *, round_number: int
    ) -> Statistics:
        """The consensus that noised means come to; the same each time that it is made."""
        return self.method.consensus_of(means, state, round_number=round_number)

    def _noise(self, count: int, name: str, round_number: int) -> Steps:
        seed = self.rule.noise_seed
        bits = system_bits if seed is None else seeded_bits(seed, "server", name, round_number)
        return discrete_gaussian(count, bits=bits)


def _mean_of(group: GroupTotal, noising: Noising) -> GroupMean:
    devices = len(group.devices)
    noise = noising.sigma * group.noises**0.5 / devices
    return GroupMean(noising.values(group.steps) / devices, noise, devices)


def part_of(family: str, parts: Mapping[str, int]) -> str:
    """The part of a release that devices of a family are in."""
    return family if family in parts else ALL_FAMILIES

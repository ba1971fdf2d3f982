"""Utility selection: devices whose answers say much, and come soon, are asked more often (Oort).

Lai et al. 2021, "Oort: Efficient federated learning via guided participant selection" (arXiv 2010.06081),
algorithm 1, for soft labels. A device i that has answered has the utility

    Util(i) = U_i + sqrt(0.1 log R / L_i),   times (T / t_i)^2 where t_i > T

with U_i its statistical utility, R the round, L_i the round in which it was asked last, t_i how long it took
then and T the preferred duration. Of the devices that a round asks, a share max(0.9 * 0.98^(R-1), 0.2) is
drawn from those that never were; the others are drawn, in proportion to their utility, from those whose
utility is at least 95 % of the last one that would fit. T is a percentile of the durations: it starts at the
30th, and rises by 5 after every 20 rounds in which the utilities gained less than in the 20 before.

Oort's U_i is a sum of squared losses, which devices here tell nobody. What the server has of a device is its
answer: U_i is how far that moves what the fleet says (answer_utility.py), in units of the 95th percentile of
the devices and at most 1, so that who shouts is not asked more often than that. A liar's answer is far from
the others', too: Oort gives it more rounds, and the folds that bound it matter more.

t_i is observed by the run's clock. In a simulation in which no time passes, only U_i counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from fedstill_server.randomness import generator

FIRST_EXPLORATION, EXPLORATION_DECAY, LEAST_EXPLORATION = 0.9, 0.98, 0.2
SLOWNESS_EXPONENT = 2.0
CUTOFF = 0.95
CLIPPED_AT = 95.0  # percentile of the statistical utilities that counts as 1
FIRST_PERCENTILE, PERCENTILE_STEP = 30.0, 5.0
PACED_ROUNDS = 20


@dataclass(frozen=True, kw_only=True)
class DeviceUtility:
    """What is known of a device that was asked.

    Attributes:
        statistical: How far its last answer moved what the fleet says; 0 where it has not answered.
        seconds: How long it took then, or how long it was waited for; 0 where no time passes.
        round: In which it was asked last.
    """

    statistical: float
    seconds: float
    round: int


@dataclass(frozen=True, kw_only=True)
class UtilityState:
    """What selection by utility remembers, committed with each round.

    Attributes:
        devices: By name, of those that were asked.
        percentile: That of the durations which is preferred.
        gained: The statistical utility of the answers of each round since the preferred duration was last
            looked at, and of as many rounds before.
    """

    devices: dict[str, DeviceUtility] = field(default_factory=dict)
    percentile: float = FIRST_PERCENTILE
    gained: tuple[float, ...] = ()

    def after(
        self,
        round_number: int,
        *,
        asked: Iterable[str],
        statistical: Mapping[str, float],
        seconds: Mapping[str, float],
    ) -> UtilityState:
        """What is remembered after a round.

        Args:
            round_number: The round.
            asked: The devices that were asked.
            statistical: Of those whose answers counted.
            seconds: How long each that was asked took, or was waited for.
        """
        devices = dict(self.devices)
        for device in sorted(asked):
            before = devices.get(device)
            devices[device] = DeviceUtility(
                statistical=statistical.get(device, 0.0 if before is None else before.statistical),
                seconds=seconds.get(device, 0.0 if before is None else before.seconds),
                round=round_number,
            )
        return replace(
            self, devices=devices, gained=(*self.gained, float(sum(statistical.values())))
        )._paced()

    def _paced(self) -> UtilityState:
        """Prefer longer durations where the faster devices have less and less to say."""
        if len(self.gained) < 2 * PACED_ROUNDS:
            return self
        before, lately = sum(self.gained[:PACED_ROUNDS]), sum(self.gained[PACED_ROUNDS:])
        percentile = min(self.percentile + PERCENTILE_STEP, 100.0) if lately < before else self.percentile
        return replace(self, percentile=percentile, gained=self.gained[PACED_ROUNDS:])


def exploration(round_number: int) -> float:
    """The share of a cohort that is drawn from devices which never answered."""
    return max(FIRST_EXPLORATION * EXPLORATION_DECAY ** (round_number - 1), LEAST_EXPLORATION)


def utilities(state: UtilityState, names: Sequence[str], *, round_number: int) -> npt.NDArray[np.float64]:
    """The utility of devices that were asked before [n]."""
    known = [state.devices[name] for name in names]
    said = np.array([one.statistical for one in known])
    most = float(np.percentile(said, CLIPPED_AT)) if len(said) else 0.0
    scaled = np.minimum(said / most, 1.0) if most > 0 else np.ones(len(said))
    waited = np.array([one.round for one in known], np.float64)
    total = scaled + np.sqrt(0.1 * math.log(max(round_number, 2)) / np.maximum(waited, 1.0))
    seconds = np.array([one.seconds for one in known])
    if (seconds > 0).any():
        preferred = float(np.percentile(seconds[seconds > 0], state.percentile))
        slow = seconds > preferred
        total[slow] *= (preferred / seconds[slow]) ** SLOWNESS_EXPONENT
    return total


def select_by_utility(
    devices: Iterable[str], wanted: int, state: UtilityState, *, seed: int, round_number: int
) -> list[str]:
    """Draw whom a round asks; the same seed, round and state draw the same.

    Args:
        devices: Those that are there.
        wanted: How many are asked.
        state: What is remembered of them.
        seed: The run's.
        round_number: The round.
    """
    names = sorted(devices)
    known = [name for name in names if name in state.devices]
    unknown = [name for name in names if name not in state.devices]
    wanted = min(wanted, len(names))
    explored = min(round(exploration(round_number) * wanted), len(unknown))
    explored = max(explored, wanted - len(known))  # where too few are known to fill the rest
    draw = generator(seed, round_number, "cohort/oort")
    chosen = [unknown[place] for place in draw.permutation(len(unknown))[:explored]]
    left = wanted - explored
    if left:
        worth = utilities(state, known, round_number=round_number)
        cutoff = CUTOFF * np.sort(worth)[::-1][left - 1]
        eligible = np.flatnonzero(worth >= cutoff)
        chances = np.maximum(worth[eligible], 1e-12)
        drawn = draw.choice(len(eligible), left, replace=False, p=chances / chances.sum())
        chosen += [known[eligible[place]] for place in drawn]
    return [chosen[place] for place in draw.permutation(len(chosen))]

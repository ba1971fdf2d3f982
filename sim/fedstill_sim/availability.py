"""Which devices of a simulated fleet are available, and how long they take for a round.

`Availability` says what share of the devices behaves in each way; which devices, and when, follows from the
seed alone. Time is virtual: nobody waits for it.

A device that leaves does so in the middle of a round: it is asked once more and never replies. One that comes
back goes on with the student it had.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import IntArray
from fedstill_server.config.fleet import ConfigError
from fedstill_server.randomness import generator

FOR_EVER = 1 << 31  # a round that no run reaches
_TICKS = 100  # in an ordinary device's round: arrivals at the same tick are handled together

_SHARES = ("stragglers", "vanish", "away", "join_late")


@dataclass(frozen=True, kw_only=True)
class Availability:
    """How devices of a fleet behave: shares of the whole fleet from 0 to 1, and times in virtual seconds."""

    stragglers: float = 0.0  # share of devices that take `slowdown` times as long
    slowdown: float = 5.0
    speed_spread: float = 0.0  # standard deviation of the logarithm of the devices' seconds
    device_seconds: float = 60.0  # an ordinary device's time for a round's work
    vanish: float = 0.0  # share of devices that leave in some round for ever
    away: float = 0.0  # share of devices that leave in some round for `away_rounds` rounds
    away_rounds: int = 3
    join_late: float = 0.0  # share of devices that join in some later round

    def __post_init__(self) -> None:
        for name in _SHARES:
            _check(0 <= getattr(self, name) <= 1, name, getattr(self, name), "a share from 0 to 1")
        _check(self.join_late < 1, "join_late", self.join_late, "below 1: somebody has to begin")
        _check(1 <= self.slowdown < math.inf, "slowdown", self.slowdown, "a factor of 1 or more")
        _check(0 <= self.speed_spread <= 3, "speed_spread", self.speed_spread, "a number from 0 to 3")
        _check(0 < self.device_seconds < math.inf, "device_seconds", self.device_seconds, "seconds above 0")
        _check(self.away_rounds >= 1, "away_rounds", self.away_rounds, "1 round or more")

    def describe(self) -> str:
        """Describe how the fleet differs from one whose devices are always there, for reports."""
        descriptions = {
            "stragglers": f"{self.stragglers:.0%} stragglers ({self.slowdown:g} times as slow)",
            "vanish": f"{self.vanish:.0%} vanish for ever",
            "away": f"{self.away:.0%} are away for {self.away_rounds} rounds",
            "join_late": f"{self.join_late:.0%} join late",
        }
        parts = [text for name, text in descriptions.items() if getattr(self, name) > 0]
        if self.speed_spread > 0:
            parts.append(f"speeds spread by {self.speed_spread:g}")
        return ", ".join(parts) or "every device is there and as fast as the others"


def _check(holds: bool, name: str, value: object, needed: str) -> None:
    if not holds:
        raise ConfigError(f"{name}: {value!r} is not {needed}")


@dataclass(frozen=True, eq=False)
class AvailabilitySchedule:
    """The seconds that each device takes, and the rounds for which it is gone.

    A device that is asked in a round of gone_from <= round < gone_until does not reply, and once such a round
    has begun it is not there to be asked.

    Attributes:
        seconds: Virtual seconds for a round's work [devices].
        gone_from: First rounds of each device's absences [devices, 3].
        gone_until: The rounds in which it is back [devices, 3].
    """

    seconds: npt.NDArray[np.float64]
    gone_from: IntArray
    gone_until: IntArray

    def __post_init__(self) -> None:
        assert self.gone_from.shape == self.gone_until.shape == (len(self.seconds), 3)

    def gone(self, round_number: int) -> npt.NDArray[np.bool_]:
        """Return which devices [devices] do not reply in a round, and are not there when it is over."""
        in_between = (self.gone_from <= round_number) & (round_number < self.gone_until)
        return np.asarray(in_between.any(axis=1))


def draw_schedule(
    availability: Availability, *, devices: int, rounds: int, seed: int
) -> AvailabilitySchedule:
    """Draw which devices behave in which way, and when; the same seed draws the same schedule."""
    joins = _rounds_of(availability.join_late, devices, 2, max(2, rounds), seed, "join")
    vanishes = _rounds_of(availability.vanish, devices, 1, rounds, seed, "vanish")
    last = max(1, rounds - availability.away_rounds)
    leaves = _rounds_of(availability.away, devices, 1, last, seed, "away")
    return AvailabilitySchedule(
        seconds=_seconds(availability, devices, seed),
        gone_from=np.stack([np.zeros(devices, np.int64), vanishes, leaves], axis=1),
        gone_until=np.stack(
            [
                # Asked for the first time in the round of joining, so there when the one before is over.
                np.where(joins == FOR_EVER, 0, joins - 1),
                np.full(devices, FOR_EVER),
                leaves + availability.away_rounds + 1,
            ],
            axis=1,
        ),
    )


def _seconds(availability: Availability, devices: int, seed: int) -> npt.NDArray[np.float64]:
    normal = generator(seed, 0, "participation/speed").normal(size=devices)
    seconds = availability.device_seconds * np.exp(availability.speed_spread * normal)
    seconds[_chosen(availability.stragglers, devices, seed, "stragglers")] *= availability.slowdown
    tick = availability.device_seconds / _TICKS
    # The small step down keeps what is whole ticks already from being rounded up to one more.
    ticks: npt.NDArray[np.float64] = np.maximum(1, np.ceil(seconds / tick - 1e-6)) * tick
    return ticks


def _rounds_of(share: float, devices: int, first: int, last: int, seed: int, purpose: str) -> IntArray:
    """Draw a round from `first` to `last` for each of the share's devices, FOR_EVER for the others."""
    drawn = generator(seed, 0, f"participation/{purpose} rounds").integers(first, last + 1, devices)
    rounds = np.full(devices, FOR_EVER, np.int64)
    chosen = _chosen(share, devices, seed, purpose)
    rounds[chosen] = drawn[chosen]
    return rounds


def _chosen(share: float, devices: int, seed: int, purpose: str) -> IntArray:
    """Draw the share's devices, to the nearest whole number."""
    order = generator(seed, 0, f"participation/{purpose}").permutation(devices)
    return order[: round(share * devices)]

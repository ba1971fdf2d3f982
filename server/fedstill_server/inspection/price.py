"""What answers cost in money, and what a watt and a joule buy: by prices that are stated, not known."""

from __future__ import annotations

from dataclasses import dataclass

from fedstill_server.inspection.energy import Energy

_JOULES_OF_A_KWH = 3.6e6
_SECONDS_OF_AN_HOUR = 3600.0
MILLION = 1_000_000
_LEAST = 1e-9  # of energy, where a counter has not moved


@dataclass(frozen=True, kw_only=True)
class Price:
    """A million answers, in the currency of the prices.

    Attributes:
        kwh: The price of a kilowatt-hour that was stated.
        machine_hour: The price of an hour of the machine that was stated.
        energy: Of a million single answers, by the joules of each.
        machine: Of the hours that a million single answers take, one after another.
        machine_batched: The same in the fastest batches.
        hours: Those of single answers.
    """

    kwh: float
    machine_hour: float
    energy: float
    machine: float
    machine_batched: float
    hours: float

    @property
    def total(self) -> float:
        """Energy and machine, of single answers; a rented machine's price has its energy in it."""
        return self.energy + self.machine


def price_of(
    energy: Energy,
    *,
    seconds_per_answer: float,
    answers_per_second: float,
    kwh: float,
    machine_hour: float,
) -> Price:
    """Price a million answers.

    Args:
        energy: Of an answer.
        seconds_per_answer: Of single answers, one after another.
        answers_per_second: In the fastest batches.
        kwh: The price of a kilowatt-hour.
        machine_hour: The price of an hour of the machine.
    """
    joules = energy.microjoules_per_answer  # of a million: micro- falls away
    hours = MILLION * seconds_per_answer / _SECONDS_OF_AN_HOUR
    return Price(
        kwh=kwh,
        machine_hour=machine_hour,
        energy=kwh * joules / _JOULES_OF_A_KWH,
        machine=machine_hour * hours,
        machine_batched=machine_hour * MILLION / answers_per_second / _SECONDS_OF_AN_HOUR,
        hours=hours,
    )


@dataclass(frozen=True, kw_only=True)
class Efficiency:
    """What power buys.

    Attributes:
        accuracy_per_watt: Accuracy, 0 to 1, by the mean power while answering.
        answers_per_joule: Single answers.
        right_answers_per_joule: Those of them that are right.
    """

    accuracy_per_watt: float
    answers_per_joule: float
    right_answers_per_joule: float


def efficiency_of(energy: Energy, *, accuracy: float) -> Efficiency:
    """What a watt and a joule buy."""
    answers = 1e6 / max(energy.microjoules_per_answer, _LEAST)
    return Efficiency(
        accuracy_per_watt=accuracy / max(energy.watts, _LEAST),
        answers_per_joule=answers,
        right_answers_per_joule=accuracy * answers,
    )

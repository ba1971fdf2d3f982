"""Plans: many fleets are drawn, their rounds pass without training, and each figure gets an interval."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fedstill_server.config.fleet import CohortRule
from fedstill_server.randomness import derived_seed, generator

from fedstill_sim.energy.coefficients import receiving_j, sending_j
from fedstill_sim.plan.request import PlanError, PlanRequest
from fedstill_sim.plan.rounds import PlannedRounds, RoundBytes, RoundNeverBegins, planned_rounds
from fedstill_sim.traces.columns import FleetTrace, Floats
from fedstill_sim.traces.generated import GENERATED, parse_generator
from fedstill_sim.traces.pace import least_devices
from fedstill_sim.traces.reading import read_trace
from fedstill_sim.traces.work import RoundArithmetic

_MOST_DRAWN = 20_000  # devices: of a larger fleet, a sample is drawn, with goals in proportion
_LARGEST_FOUND = 10_000_000
_DRAWS_OF_A_SEARCH = 5
_STEP = 1.25  # from one size of a fleet to the next in a search
_NO_FASTER = 5  # steps without gain end a search


@dataclass(frozen=True, kw_only=True)
class PlannedFigure:
    """A figure: its median over the draws, and the interval that holds nine tenths of them."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> PlannedFigure:
        """That of one value a draw."""
        low, middle, high = np.quantile(np.array(values), [0.05, 0.5, 0.95]).tolist()
        return cls(value=middle, low=low, high=high)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run will take.

    Attributes:
        devices: Of the fleet.
        rounds: How many.
        goal: Answers that a round waits for, on average.
        why_rounds: Where the number of rounds is from.
        days: Until the last has ended.
        rounds_a_day: On average.
        round_minutes: Of a round, from its beginning to its end.
        asked_a_round: Devices that are asked.
        lost_share: Share of the tasks whose answers never come.
        tasks_per_device: Of the whole run, on average.
        tasks_of_busiest: Of the device that is asked most often.
        up_bytes_per_device: That a device sends in the whole run, on average.
        down_bytes_per_device: That it receives.
        total_bytes: Of all devices, both ways.
        joules_per_task: Energy of one task of a device, on average.
        battery_share_a_day: Of a device's full battery, on average over devices and days.
        busiest_battery_share_a_day: That of the busiest device.
        epsilon: That the run costs the busiest device at `delta`; None without privacy.
        noise_multiplier: The noise that it has; None without privacy.
        delta: Of epsilon.
        battery_wh: Of a full battery.
        draws: How many fleets were drawn.
        notes: What was assumed, and what to watch.
    """

    devices: int
    rounds: int
    goal: PlannedFigure
    why_rounds: str
    days: PlannedFigure
    rounds_a_day: PlannedFigure
    round_minutes: PlannedFigure
    asked_a_round: PlannedFigure
    lost_share: PlannedFigure
    tasks_per_device: PlannedFigure
    tasks_of_busiest: PlannedFigure
    up_bytes_per_device: PlannedFigure
    down_bytes_per_device: PlannedFigure
    total_bytes: PlannedFigure
    joules_per_task: PlannedFigure
    battery_share_a_day: PlannedFigure
    busiest_battery_share_a_day: PlannedFigure
    epsilon: PlannedFigure | None
    noise_multiplier: float | None
    delta: float
    battery_wh: float
    draws: int
    notes: tuple[str, ...]


def make_plan(request: PlanRequest) -> Plan:
    """Plan a run.

    Raises:
        FedstillError: The trace has a hole, too few devices are ever there, or no fleet is fast enough.
    """
    fleets = _Fleets(request)
    devices = request.devices or _smallest_fleet(request, fleets)
    return _plan_of(request, devices, [_Draw.of(request, fleets, devices, n) for n in range(request.draws)])


class _Fleets:
    """Draws fleets: of a generator with another seed each, of a file with replacement (bootstrap)."""

    def __init__(self, request: PlanRequest) -> None:
        self._source, self._seed = request.rule.source, request.seed

    @functools.cached_property
    def recorded(self) -> FleetTrace | None:
        """The trace of a file."""
        return None if self._source.partition(":")[0] == GENERATED else read_trace(Path(self._source))

    def draw(self, devices: int, number: int) -> FleetTrace:
        """A fleet; the same number draws the same."""
        seed = derived_seed(self._seed, number, "plan/fleet")
        if self.recorded is None:
            return parse_generator(self._source, where="--trace").generate(devices, seed=seed)
        drawn = generator(seed, 0, "plan/bootstrap").integers(0, self.recorded.devices, devices)
        return self.recorded.of(np.sort(drawn))


@dataclass(frozen=True, eq=False)
class _Draw:
    """One fleet's rounds; `factor` is how many devices each of its own stands for."""

    rounds: PlannedRounds
    joules: Floats  # of a task of each device [devices]
    factor: float

    @classmethod
    def of(cls, request: PlanRequest, fleets: _Fleets, devices: int, number: int) -> _Draw:
        drawn = min(devices, _MOST_DRAWN)
        trace = fleets.draw(drawn, number)
        work = _work(request, trace, number)
        cohort = _scaled(request, devices, drawn)
        needed = least_devices(request.rule.least_devices, _cohort_of(request, devices), devices)
        pace = dataclasses.replace(
            request.rule.pace(cohort, drawn), least_devices=max(1, round(needed * drawn / devices))
        )
        rounds = planned_rounds(
            request.rule.schedule(trace, work),
            pace,
            cohort,
            rounds=request.rounds,
            sizes=RoundBytes(down=request.down_bytes, up=request.up_bytes),
            seed=derived_seed(request.seed, number, "plan/rounds"),
        )
        ones = np.ones(drawn)
        joules = (
            request.energy.computing_j(work.total)
            + receiving_j(request.down_bytes * ones, trace.down_mbps, trace.network, ones)
            + sending_j(request.up_bytes * ones, trace.up_mbps, trace.network, ones)
        )
        return cls(rounds, joules, devices / drawn)


def _work(request: PlanRequest, trace: FleetTrace, number: int) -> RoundArithmetic:
    """The arithmetic of each device: how much its examples are is drawn from those of the run."""
    draw = generator(request.seed, number, "plan/work")
    own = request.spread[draw.integers(0, len(request.spread), trace.devices)]
    return RoundArithmetic(training=request.training_gflop * own, answering=request.answering_gflop * own)


def _cohort_of(request: PlanRequest, devices: int) -> CohortRule:
    """The cohort of a fleet of so many."""
    if not request.tenth:
        return request.cohort
    return dataclasses.replace(request.cohort, goal_count=max(1, devices // 10))


def _scaled(request: PlanRequest, devices: int, drawn: int) -> CohortRule:
    """The same for the devices that are drawn in its place."""
    cohort = _cohort_of(request, devices)
    if cohort.goal_count == 0 or devices == drawn:
        return cohort
    return dataclasses.replace(cohort, goal_count=max(1, round(cohort.goal_count * drawn / devices)))


def _smallest_fleet(request: PlanRequest, fleets: _Fleets) -> int:
    """The smallest fleet, to a quarter, whose median days are within those that it may need."""
    assert request.within_days is not None
    size, days = float(max(request.cohort.goal_count, 10)), [float("inf")]
    while size <= _LARGEST_FOUND:
        devices = round(size)
        with contextlib.suppress(RoundNeverBegins):
            draws = [_Draw.of(request, fleets, devices, n) for n in range(_DRAWS_OF_A_SEARCH)]
            days.append(float(np.median([draw.rounds.days for draw in draws])))
            if days[-1] <= request.within_days:
                return devices
            if len(days) > _NO_FASTER and days[-_NO_FASTER] < 1.01 * days[-1]:
                break  # with twice the devices, it is no faster
        size *= _STEP
    raise PlanError(
        f"--within-days {request.within_days:g}: no fleet is so fast, however large; one of "
        f"{devices:,} devices needs {days[-1]:.2f} days; allow more --rounds-a-day, a shorter --round-pause, "
        "or more days"
    )


def _plan_of(request: PlanRequest, devices: int, draws: Sequence[_Draw]) -> Plan:
    def over(figure: Callable[[_Draw], float]) -> PlannedFigure:
        return PlannedFigure.of([figure(draw) for draw in draws])

    epsilon, noise = _epsilon(request, draws)
    battery = request.energy.battery_share
    down, up = request.down_bytes, request.up_bytes
    return Plan(
        devices=devices,
        rounds=request.rounds,
        goal=over(lambda draw: float(draw.rounds.answered.mean()) * draw.factor),
        why_rounds=request.why_rounds,
        days=over(lambda draw: draw.rounds.days),
        rounds_a_day=over(lambda draw: request.rounds / max(draw.rounds.days, 1e-9)),
        round_minutes=over(lambda draw: float((draw.rounds.ended_s - draw.rounds.started_s).mean()) / 60),
        asked_a_round=over(lambda draw: float(draw.rounds.asked.mean()) * draw.factor),
        lost_share=over(lambda draw: 1 - float(draw.rounds.answers.sum() / draw.rounds.tasks.sum())),
        tasks_per_device=over(lambda draw: float(draw.rounds.tasks.mean())),
        tasks_of_busiest=over(lambda draw: float(draw.rounds.tasks.max())),
        up_bytes_per_device=over(lambda draw: up * float(draw.rounds.answers.mean())),
        down_bytes_per_device=over(lambda draw: down * float(draw.rounds.tasks.mean())),
        total_bytes=over(
            lambda draw: devices * float(up * draw.rounds.answers.mean() + down * draw.rounds.tasks.mean())
        ),
        joules_per_task=over(
            lambda draw: float((draw.joules * draw.rounds.tasks).sum() / draw.rounds.tasks.sum())
        ),
        battery_share_a_day=over(
            lambda draw: float(battery(draw.joules * draw.rounds.tasks).mean()) / max(draw.rounds.days, 1.0)
        ),
        busiest_battery_share_a_day=over(
            lambda draw: float(battery(draw.joules * draw.rounds.tasks).max()) / max(draw.rounds.days, 1.0)
        ),
        epsilon=epsilon,
        noise_multiplier=noise,
        delta=request.delta,
        battery_wh=request.energy.battery_wh,
        draws=len(draws),
        notes=_notes(request, devices),
    )


def _epsilon(request: PlanRequest, draws: Sequence[_Draw]) -> tuple[PlannedFigure | None, float | None]:
    """The epsilon of the busiest device, by the server's own accountant: every task that it got counts."""
    if request.privacy is None:
        return None, None
    from fedstill_server.privacy.accountant import epsilon_of_rounds, noise_for_epsilon

    noise = request.noise_multiplier
    if noise is None:
        assert request.epsilon is not None
        noise = noise_for_epsilon(request.epsilon, request.rounds, request.delta)
    busiest = [int(draw.rounds.tasks.max()) for draw in draws]
    return PlannedFigure.of([epsilon_of_rounds(noise, tasks, request.delta) for tasks in busiest]), noise


def _notes(request: PlanRequest, devices: int) -> tuple[str, ...]:
    notes = []
    if request.assumed:
        notes.append(f"assumed, as nobody said: {', '.join(request.assumed)}")
    if request.privacy is not None and request.delta * devices > 1:
        notes.append(f"delta {request.delta:g} is more than 1 in {devices:,} devices; name a smaller --delta")
    if request.privacy is not None and request.noise_multiplier is None:
        notes.append(
            f"the noise is that with which {request.rounds} tasks of one device cost epsilon "
            f"{request.epsilon:g}; a device that is asked less often pays less"
        )
    if devices > _MOST_DRAWN:
        notes.append(f"each fleet was drawn as {_MOST_DRAWN:,} devices, with goals in proportion")
    return tuple(notes)

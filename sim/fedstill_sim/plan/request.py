"""What `fedstill plan` is asked, and what a run tells it."""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fedstill_proto.errors import FedstillError
from fedstill_server.config.codec import ConfigError
from fedstill_server.config.fleet import CohortRule
from fedstill_server.config.options import check_options, option
from fedstill_server.privacy.rule import MODES

from fedstill_sim.energy.coefficients import EnergyRule
from fedstill_sim.traces.columns import INTERRUPTED, WHEN
from fedstill_sim.traces.generated import GENERATED
from fedstill_sim.traces.rule import TraceRule

_FLEET, _GOAL, _COST, _HOW = ("The fleet", "The goal", "What a round costs a device", "The plan itself")
_SMOOTHED = 3  # rounds of a learning curve that are averaged: one lucky round is no goal reached


class PlanError(FedstillError):
    """A plan asks for what cannot be, or what nothing is known of."""


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    """The options of `fedstill plan`."""

    trace: str = option(
        GENERATED,
        "A trace, as for fedstill-sim run; by default the generator.",
        panel=_FLEET,
        metavar="FOLDER|FILE|generated",
    )
    devices: int | None = option(
        None,
        "Devices of the fleet; without it, the fewest with which --within-days holds.",
        least=1,
        panel=_FLEET,
    )
    within_days: float | None = option(
        None, "Find the smallest fleet that needs no more days.", above=0, panel=_GOAL
    )
    rounds: int | None = option(None, "Rounds that the run needs.", least=1, panel=_GOAL)
    target_accuracy: float | None = option(
        None,
        "In place of --rounds: the accuracy to reach, 0 to 1, by the learning curve of --run or --curve.",
        above=0,
        most=1,
        panel=_GOAL,
    )
    accuracy: str = option("global", "Which accuracy of --run.", choices=("global", "personal"), panel=_GOAL)
    curve: str | None = option(
        None, "A learning curve: a CSV file with the columns round,accuracy.", panel=_GOAL, metavar="FILE"
    )
    run: str | None = option(
        None,
        "A finished run of the simulator: it tells bytes, arithmetic, the learning curve, and whatever else "
        "is not said here.",
        panel=_GOAL,
        metavar="DIR",
    )
    goal_count: int | None = option(
        None, "Answers that end a round; 0, or without a --run a tenth of the fleet.", least=0, panel=_FLEET
    )
    participation: float | None = option(
        None, "The same as a share of those that are there.", least=0, most=1, panel=_FLEET
    )
    over_selection: float | None = option(None, "Ask so many times the goal; 1.3.", least=1, panel=_FLEET)
    deadline: float | None = option(None, "Seconds after which a round ends; 600.", above=0, panel=_FLEET)
    rounds_a_day: int | None = option(
        None, "Rounds that begin in a day (UTC) at most; no limit.", least=1, panel=_FLEET
    )
    round_pause: float | None = option(
        None, "Seconds from the end of a round to the next; 0.", least=0, panel=_FLEET
    )
    least_devices: int | None = option(
        None, "Devices that have to be there; as many as the goal, or half.", least=1, panel=_FLEET
    )
    trace_when: str | None = option(None, "When devices may be asked; charging.", choices=WHEN, panel=_FLEET)
    interrupted: str | None = option(
        None, "What becomes of interrupted work; fail.", choices=INTERRUPTED, panel=_FLEET
    )
    up_bytes: float | None = option(None, "Bytes of an answer; 2000.", least=0, panel=_COST)
    down_bytes: float | None = option(None, "Bytes of a task; 2000.", least=0, panel=_COST)
    gflop: float | None = option(
        None, "GFLOP of a device's training and answers in a round; 0.5.", least=0, panel=_COST
    )
    device_seconds: float | None = option(
        None, "In place of --gflop: seconds that the median device computes.", above=0, panel=_COST
    )
    setup_seconds: float | None = option(
        None, "Seconds that are neither arithmetic nor bytes; 10.", least=0, panel=_COST
    )
    joules_per_gflop: float = option(1.0, "Energy of arithmetic.", least=0, panel=_COST)
    battery_wh: float = option(15.0, "Watt-hours of a full battery.", above=0, panel=_COST)
    privacy: str | None = option(None, "How answers are noised, as for a run.", choices=MODES, panel=_GOAL)
    epsilon: float | None = option(
        None, "What all rounds together may cost a device, at --delta.", above=0, panel=_GOAL
    )
    noise_multiplier: float | None = option(
        None, "Instead of --epsilon, the noise; the plan says the epsilon.", above=0, panel=_GOAL
    )
    delta: float = option(1e-5, "Less than 1 in the number of devices.", above=0, below=1, panel=_GOAL)
    draws: int = option(
        20, "Fleets that are drawn for the intervals, which hold nine tenths of them.", least=3, panel=_HOW
    )
    seed: int = option(0, "Everything random follows from it.", least=0, panel=_HOW)

    def __post_init__(self) -> None:
        check_options(self, texts=True)
        if self.devices is not None and self.within_days is not None:
            raise PlanError("--devices and --within-days: name one; the plan finds the other")
        if self.rounds is not None and self.target_accuracy is not None:
            raise PlanError("--rounds and --target-accuracy: name one")
        if self.target_accuracy is not None and self.run is None and self.curve is None:
            raise PlanError("--target-accuracy needs a learning curve: --run DIR or --curve FILE")
        if self.rounds is None and self.target_accuracy is None and self.run is None:
            raise PlanError(
                "name the goal: --rounds N, --target-accuracy with a learning curve, or --run DIR"
            )
        if self.goal_count and self.participation:
            raise PlanError("--goal-count and --participation: name one")
        if self.privacy is None and (self.epsilon or self.noise_multiplier):
            raise PlanError(
                "--epsilon and --noise-multiplier belong to --privacy central, local or distributed"
            )
        if self.privacy is not None and (self.epsilon is None) == (self.noise_multiplier is None):
            raise PlanError("--privacy: name one of --epsilon and --noise-multiplier")


@dataclass(frozen=True, kw_only=True)
class PilotRun:
    """What a finished run tells.

    Attributes:
        devices: Of its fleet.
        rounds: That it had.
        cohort: Whom its rounds asked.
        trace: By which trace it lived; None where time did not pass, or by shares.
        up_bytes: Of an answer, on average.
        down_bytes: Of a task.
        training_gflop: Of a device's training in a round, on average.
        answering_gflop: Of its answers.
        curve: Accuracy by name and round, where it was measured.
        spread: GFLOP of each device in units of the mean [devices].
    """

    devices: int
    rounds: int
    cohort: CohortRule
    trace: TraceRule | None
    up_bytes: float
    down_bytes: float
    training_gflop: float
    answering_gflop: float
    curve: dict[str, list[tuple[int, float]]]
    spread: np.ndarray

    @classmethod
    def read(cls, folder: Path) -> PilotRun:
        """Read a run's folder.

        Raises:
            PlanError: It holds no finished run.
        """
        from fedstill_sim.config import read_config
        from fedstill_sim.data.fleet import load_fleet
        from fedstill_sim.folder import DATA_FOLDER
        from fedstill_sim.results.json_files import read_json
        from fedstill_sim.results.run_result import RESULT_FILE
        from fedstill_sim.runner.in_time import VirtualFleet

        if not (folder / RESULT_FILE).is_file():
            raise PlanError(f"--run {folder}: holds no finished run; name the folder of one (--out)")
        config, data = read_config(folder), load_fleet(folder / DATA_FOLDER)
        result, sizes = read_json(folder / RESULT_FILE), read_json(folder / "stack_sizes.json")
        work = VirtualFleet(folder, config, data, sizes).work()
        final = result["final"]
        curve: dict[str, list[tuple[int, float]]] = {"global": [], "personal": []}
        for each in result["rounds"]:
            for name, points in curve.items():
                if each[f"{name}_accuracy"] is not None:
                    points.append((each["round"], each[f"{name}_accuracy"]))
        return cls(
            devices=config.simulation.devices,
            rounds=config.fleet.rounds,
            cohort=config.fleet.cohort,
            trace=config.simulation.trace,
            up_bytes=final["uplink_bytes_per_device_round"],
            down_bytes=final["downlink_bytes_per_device_round"],
            training_gflop=float(work.training.mean()),
            answering_gflop=float(work.answering.mean()),
            curve=curve,
            spread=work.total / max(float(work.total.mean()), 1e-12),
        )


@dataclass(frozen=True, kw_only=True)
class PlanRequest:
    """A plan with everything decided but the size of the fleet, where that is to be found.

    Attributes:
        rule: By which trace devices live.
        cohort: Whom rounds ask; a goal_count of 0 with a fraction of 0 asks all.
        tenth: Whether the goal is a tenth of the fleet, since nobody named one.
        devices: None is to be found.
        within_days: The days that it may need then.
        rounds: How many there are.
        why_rounds: Where that number is from, for people.
        up_bytes: Of an answer.
        down_bytes: Of a task.
        training_gflop: Of a device in a round.
        answering_gflop: The same.
        spread: GFLOP of devices in units of the mean, from which each draws its own.
        assumed: What nobody said, for people.
    """

    rule: TraceRule
    cohort: CohortRule
    tenth: bool
    devices: int | None
    within_days: float | None
    rounds: int
    why_rounds: str
    up_bytes: float
    down_bytes: float
    training_gflop: float
    answering_gflop: float
    spread: np.ndarray
    energy: EnergyRule
    privacy: str | None
    epsilon: float | None
    noise_multiplier: float | None
    delta: float
    draws: int
    seed: int
    assumed: tuple[str, ...]

    @classmethod
    def of(cls, options: PlanOptions) -> PlanRequest:
        """Decide what the options leave open: by the run, or by what is usual."""
        pilot = None if options.run is None else PilotRun.read(Path(options.run))
        rounds, why = _rounds(options, pilot)
        assumed: list[str] = []
        known = {} if pilot is None else vars(pilot)

        def decided(name: str, usual: float, *, option_name: str | None = None) -> float:
            asked = getattr(options, option_name or name, None)
            if asked is not None:
                return float(asked)
            if name in known:
                return float(known[name])
            assumed.append(f"--{name.replace('_', '-')} {usual:g}")
            return usual

        up, down = decided("up_bytes", 2000.0), decided("down_bytes", 2000.0)
        if options.gflop is not None or options.device_seconds is not None:
            training, answering = options.gflop or 0.0, 0.0
        elif pilot is not None:
            training, answering = pilot.training_gflop, pilot.answering_gflop
        else:
            training, answering = 0.5, 0.0
            assumed.append("--gflop 0.5")
        devices = options.devices
        if devices is None and options.within_days is None:
            if pilot is None:
                raise PlanError("say how large the fleet is (--devices), or have it found (--within-days)")
            devices = pilot.devices
        cohort, tenth = _cohort(options, pilot)
        return cls(
            rule=_rule(options, pilot),
            cohort=cohort,
            tenth=tenth,
            devices=devices,
            within_days=options.within_days,
            rounds=rounds,
            why_rounds=why,
            up_bytes=up,
            down_bytes=down,
            training_gflop=training,
            answering_gflop=answering,
            spread=np.ones(1) if pilot is None or options.gflop is not None else pilot.spread,
            energy=EnergyRule(joules_per_gflop=options.joules_per_gflop, battery_wh=options.battery_wh),
            privacy=options.privacy,
            epsilon=options.epsilon,
            noise_multiplier=options.noise_multiplier,
            delta=options.delta,
            draws=options.draws,
            seed=options.seed,
            assumed=tuple(assumed),
        )


def _rounds(options: PlanOptions, pilot: PilotRun | None) -> tuple[int, str]:
    if options.rounds is not None:
        return options.rounds, "as asked for"
    if options.target_accuracy is None:
        assert pilot is not None
        return pilot.rounds, f"those of {options.run}"
    if options.curve is not None:
        curve, where = read_curve(Path(options.curve)), f"--curve {options.curve}"
    else:
        assert pilot is not None
        curve, where = pilot.curve[options.accuracy], f"--run {options.run}"
    return rounds_to(options.target_accuracy, curve, where=where), f"the learning curve of {where}"


def rounds_to(target: float, curve: Sequence[tuple[int, float]], *, where: str) -> int:
    """The first round whose accuracy, averaged with that of the rounds before, is the target's.

    Raises:
        PlanError: The curve never comes so far.
    """
    if not curve:
        raise PlanError(f"{where}: measures no accuracy; name a run that evaluates its rounds, or --rounds")
    values = [accuracy for _, accuracy in curve]
    for place, (number, _) in enumerate(curve):
        recent = values[max(0, place - _SMOOTHED + 1) : place + 1]
        if sum(recent) / len(recent) >= target:
            return number
    raise PlanError(
        f"{where}: reaches {max(values):.3f} in {curve[-1][0]} rounds, and not {target:g}; a plan goes no "
        "further than its curve: name a longer one, a lower --target-accuracy, or --rounds"
    )


def read_curve(path: Path) -> list[tuple[int, float]]:
    """A learning curve of a CSV file; raises PlanError, naming the line."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
    except OSError as error:
        raise PlanError(f"--curve {path}: {error.strerror or error}") from None
    if not rows or [name.strip() for name in rows[0]] != ["round", "accuracy"]:
        raise PlanError(f"--curve {path}, line 1: the columns are not round,accuracy; write these")
    curve: list[tuple[int, float]] = []
    for line, row in enumerate(rows[1:], 2):
        try:
            number, accuracy = int(row[0]), float(row[1])
        except (ValueError, IndexError):
            raise PlanError(f"--curve {path}, line {line}: {','.join(row)!r} is no round,accuracy") from None
        if not math.isfinite(accuracy) or not 0 <= accuracy <= 1:
            raise PlanError(f"--curve {path}, line {line}: accuracy {accuracy} is not from 0 to 1")
        if number <= (curve[-1][0] if curve else 0):
            raise PlanError(f"--curve {path}, line {line}: round {number} does not rise; sort the lines")
        curve.append((number, accuracy))
    return curve


def _cohort(options: PlanOptions, pilot: PilotRun | None) -> tuple[CohortRule, bool]:
    """Whom rounds ask, and whether the goal is to be a tenth of the fleet."""
    usual = CohortRule(over_selection=1.3) if pilot is None else pilot.cohort
    goal, share = options.goal_count, options.participation
    if goal is None and share is None:
        goal, share = usual.goal_count, usual.fraction
    rule = CohortRule(
        goal_count=goal or 0,
        fraction=share or 0.0,
        over_selection=usual.over_selection if options.over_selection is None else options.over_selection,
        deadline_s=usual.deadline_s if options.deadline is None else options.deadline,
    )
    return rule, pilot is None and options.goal_count is None and options.participation is None


def _rule(options: PlanOptions, pilot: PilotRun | None) -> TraceRule:
    usual = pilot.trace if pilot is not None and pilot.trace is not None else TraceRule(source=GENERATED)
    source = options.trace if options.trace != GENERATED else usual.source
    if source.partition(":")[0] != GENERATED and not Path(source).exists():
        raise ConfigError(f"--trace {source}: no such folder or file; name one, or generated")

    asked: dict[str, Any] = {
        "when": options.trace_when,
        "interrupted": options.interrupted,
        "rounds_a_day": options.rounds_a_day,
        "least_devices": options.least_devices,
        "round_pause": options.round_pause,
        "device_seconds": options.device_seconds,
        "setup_seconds": options.setup_seconds,
    }
    changed = {name: value for name, value in asked.items() if value is not None}
    return dataclasses.replace(usual, source=source, digest="", **changed)

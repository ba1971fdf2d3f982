"""Which runs can be folded where their devices run, and why another cannot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fedstill_server.config.fleet import ConfigError, FleetConfig
from fedstill_server.consensus.exact_sum import ExactFold
from fedstill_server.consensus.folds import FOLDS
from fedstill_server.families import FAMILIES
from fedstill_server.methods import METHODS, Method
from fedstill_server.plugins import Registry
from fedstill_server.tasks import TASKS
from fedstill_server.teachers.registry import TEACHERS

AUTO, STACKS, MESSAGES = "auto", "stacks", "messages"
PATHS = (AUTO, STACKS, MESSAGES)


@dataclass(frozen=True, kw_only=True)
class FleetBehaviour:
    """What of a simulation decides whether its answers have to be looked at one by one.

    Attributes:
        engine: The engine's name.
        lies: Whether some devices lie.
        takes_time: Whether devices come and go, or time passes.
    """

    engine: str
    lies: bool
    takes_time: bool


def chosen_path(asked: str, fleet: FleetConfig, behaviour: FleetBehaviour, method: Method) -> str:
    """The path of a run: stacks where it can be, unless it is asked for messages.

    Raises:
        ConfigError: It is asked for stacks, and cannot be.
    """
    if asked == MESSAGES:
        return MESSAGES
    why_not = why_no_stacks(fleet, behaviour, method)
    if asked == STACKS and why_not:
        raise ConfigError(f"--path: 'stacks' cannot be: {why_not}; take auto or messages")
    return MESSAGES if why_not else STACKS


def of_this_process(fleet: FleetConfig) -> str:
    """Return what of a fleet no other process could find by its name; empty where there is nothing."""
    named: list[tuple[Registry[Any], object]] = [
        (METHODS, fleet.method.name),
        (FOLDS, fleet.method.options.get("fold", "")),
        (TASKS, fleet.task.name),
        *((FAMILIES, family) for family in fleet.families),
        (FAMILIES, fleet.teacher.network),
        (TEACHERS, fleet.teacher.network),
    ]
    return next(
        (name for registry, name in named if isinstance(name, str) and registry.is_only_here(name)), ""
    )


def why_no_stacks(fleet: FleetConfig, behaviour: FleetBehaviour, method: Method) -> str:
    """Why a run needs its messages one by one; empty where it does not. The method is bound to the fleet."""
    codec, name = getattr(method, "codec", None), fleet.method.name
    reasons = {
        f"engine {behaviour.engine!r} gives each device a client of its own": behaviour.engine != "cohort",
        "in mode async answers arrive one by one": fleet.mode != "rounds",
        "some devices lie, each with its own answer": behaviour.lies,
        "devices come and go, and take their time": behaviour.takes_time,
        "devices are selected by what each has answered": fleet.cohort.select != "random",
        "with privacy, noise is added to single answers or to their sum": fleet.privacy is not None,
        "answers are coded against those before": fleet.uplink.delta or getattr(codec, "delta", False),
        f"method {name!r} asks the students that devices send": method.runs_students,
    }
    if own := of_this_process(fleet):
        return f"{own!r} is known to this process, and to no worker"
    for reason, holds in reasons.items():
        if holds:
            return reason
    if not ExactFold.is_exact(method.bounded_zero(round_number=1)):
        return f"what method {name!r} adds up depends on the order of its devices"
    return ""

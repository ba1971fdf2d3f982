"""The attacks by name, and the share of a fleet that makes one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from fedstill_proto.arrays import IntArray
from fedstill_server.config.choice import Choice, choice_in, chosen
from fedstill_server.config.codec import ConfigError
from fedstill_server.config.options import option_named
from fedstill_server.methods import METHODS
from fedstill_server.plugins import PluginError, Registry
from fedstill_server.randomness import generator

from fedstill_sim.attacks.interface import Attack, overrides, unsuited


def _attack_class(found: object) -> type[Attack]:
    if not (isinstance(found, type) and issubclass(found, Attack)):
        raise PluginError("it is no subclass of fedstill_sim.attacks.interface.Attack")
    if not any(overrides(found, name) for name in ("soft_labels", "parameters", "poisoned")):
        raise PluginError("it overrides neither soft_labels, nor parameters, nor poisoned: it does nothing")
    return found


ATTACKS: Registry[type[Attack]] = Registry(
    "attack",
    group="fedstill.attacks",
    built_in={
        "label-flip": "fedstill_sim.attacks.label_flip:LabelFlip",
        "second-class": "fedstill_sim.attacks.second_class:SecondClass",
        "lma": "fedstill_sim.attacks.loss_maximization:LossMaximization",
        "cpa": "fedstill_sim.attacks.class_prior:ClassPrior",
        "hips": "fedstill_sim.attacks.hidden:Hidden",
        "sign-flip": "fedstill_sim.attacks.sign_flip:SignFlip",
        "same-value": "fedstill_sim.attacks.same_value:SameValue",
        "random": "fedstill_sim.attacks.random_answers:RandomAnswers",
        "free-rider": "fedstill_sim.attacks.free_rider:FreeRider",
        "backdoor": "fedstill_sim.attacks.backdoor:Backdoor",
        "count-inflation": "fedstill_sim.attacks.count_inflation:CountInflation",
        "huge-weights": "fedstill_sim.attacks.huge_weights:HugeWeights",
        "inside-clip": "fedstill_sim.attacks.inside_clip:InsideClip",
        "blind-spot": "fedstill_sim.attacks.blind_spot:BlindSpot",
        "ipm": "fedstill_sim.attacks.inner_product:InnerProduct",
        "alie": "fedstill_sim.attacks.little_is_enough:LittleIsEnough",
        "trim": "fedstill_sim.attacks.trim:Trim",
        "min-max": "fedstill_sim.attacks.min_max:MinMax",
        "mimic": "fedstill_sim.attacks.mimic:Mimic",
    },
    check=_attack_class,
)


@dataclass(frozen=True, kw_only=True)
class AttackPlan:
    """Which share of the devices lies, and how."""

    share: float
    attack: Choice

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ConfigError(f"share: {self.share!r} is not a share above 0 and below 1")

    @property
    def made(self) -> Attack:
        """The attack itself."""
        return chosen(ATTACKS, self.attack, where="attack")

    def adversaries(self, devices: int, *, seed: int) -> IntArray:
        """Which of the devices lie, increasing; a larger share of the same seed holds a smaller one."""
        order = generator(seed, 0, "adversaries").permutation(devices)
        return np.sort(order[: self.count(devices)]).astype(np.int64)

    def count(self, devices: int) -> int:
        """How many of so many devices lie.

        Raises:
            ConfigError: For none, or all.
        """
        count = round(self.share * devices)
        if not 0 < count < devices:
            raise ConfigError(
                f"--adversaries {self.share:g} of {devices} devices is {count}; there must be one that lies, "
                "and one that does not"
            )
        return count


def planned_attack(
    name: str, given: Mapping[str, Any], *, share: float, where: str = "--attack"
) -> AttackPlan:
    """A plan with all of the attack's options: those that are given, each maybe a text, and defaults.

    Raises:
        FedstillError: For a name or an option that there is not, or a value that the option cannot have.
    """
    kind = ATTACKS.load(name, where=where)
    try:
        values = {key: option_named(kind, key, where=name).read(value) for key, value in given.items()}
        made = kind(**values)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    options = choice_in(ATTACKS, made).options
    return AttackPlan(share=share, attack=Choice(name=name, options=options))


def suits(name: str, method: str) -> bool:
    """Whether an attack makes sense for a method."""
    return unsuited(ATTACKS.load(name), METHODS.load(method)) is None


def check_attack(name: str, method: str, *, where: str = "--attack") -> None:
    """Refuse an attack that makes no sense for a method.

    Raises:
        ConfigError: With the reason.
    """
    reason = unsuited(ATTACKS.load(name, where=where), METHODS.load(method))
    if reason is not None:
        raise ConfigError(f"{where}: {name} makes no sense for {method}: {reason}")

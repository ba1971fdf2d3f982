"""How a device learns from its own examples."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fedstill_proto.errors import FedstillError
from fedstill_proto.messages import Optimizer, TrainingPlan
from fedstill_proto.package.artifact import StudentManifest

_BATCH_SIZE = 16
_RATES = {Optimizer.SGD: 0.05, Optimizer.MOMENTUM: 0.01, Optimizer.ADAMW: 0.002}
_TEXT_RATE = 1e-4  # with more, a few passes learn a person's few words by heart
_LEAST = {
    "batch_size": 0,
    "learning_rate": 0,
    "soft_weight": 0,
    "temperature": 1e-3,
    "snapshot_seconds": 0,
    "seed": 0,
    "label_prior": 0,
}
_FRACTIONS = ("learning_rate", "soft_weight", "temperature", "snapshot_seconds", "label_prior")


class SettingsError(FedstillError):
    """A setting of learning that is out of range."""


@dataclass(frozen=True)
class LearningSettings:
    """A check measures the student on the device's held-out examples; the best one of all checks counts."""

    batch_size: int = 0  # private examples in a step; 0 is as many as the artifact takes, up to 16
    learning_rate: float = 0.0  # 0 is the usual one of the artifact's optimizer, or of text
    soft_weight: float = 0.3  # of the fleet's (or the installed student's) soft labels; 0 is without
    temperature: float = 2.0  # of the installed student's soft labels; the fleet's bring their own
    check_every: int = 20  # steps
    patience: int = 5  # checks without a better student after which learning ends
    epochs: int = 50  # at most
    least_examples: int = 10  # training examples; with fewer there is nothing to learn from
    least_held_out: int = 10  # with fewer, no held-out judgement is made (see learner.py for the rule then)
    epochs_unjudged: int = 5  # at most, with too few held-out examples
    snapshot_seconds: float = 10.0  # between two snapshots that a killed learning goes on from
    seed: int = 0
    label_prior: float = 1.0  # the device's own; what answers are judged with (see prior_strength.py)

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            least = _LEAST.get(name, 1)
            if not (math.isfinite(value) and value >= least):
                raise SettingsError(f"learning setting {name} is {value}; give {least} or more.")
            if name not in _FRACTIONS and not isinstance(value, int):
                raise SettingsError(f"learning setting {name} is {value}; give a whole number.")
        if self.soft_weight > 1:
            raise SettingsError(f"learning setting soft_weight is {self.soft_weight}; give 0 to 1.")

    def plan(
        self, manifest: StudentManifest, *, public: bool, temperature: float, soft: bool
    ) -> TrainingPlan:
        """One epoch on the artifact of `manifest`. public: a step also takes as many public examples."""
        room = manifest.step_rows // (2 if public else 1)
        return TrainingPlan(
            epochs=1,
            batch_size=self.batch_size or max(1, min(_BATCH_SIZE, room)),
            learning_rate=self.learning_rate or _usual_rate(manifest),
            optimizer=manifest.optimizer,
            temperature=temperature,
            soft_weight=self.soft_weight if soft else 0.0,
            seed=self.seed,
        )


def _usual_rate(manifest: StudentManifest) -> float:
    return _TEXT_RATE if manifest.label_shape else _RATES[manifest.optimizer]

"""How a device learns from its own examples."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from fedstill_proto.errors import FedstillError
from fedstill_proto.messages import Optimizer, TrainingPlan
from fedstill_proto.package.artifact import StudentManifest

from fedstill_client.agent_types import PersonalizeOptions
from fedstill_client.model.owner_share import OWNER_SHARE

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
    "owner_share": 0,
}
_FRACTIONS = ("learning_rate", "soft_weight", "temperature", "snapshot_seconds", "owner_share")


class SettingsError(FedstillError):
    """A setting of learning is out of range."""


@dataclass(frozen=True)
class LearningSettings:
    """How a device learns; a check scores the student on held-out examples, and the best one counts.

    The defaults are those of a classifier; `of` knows a text's.
    """

    batch_size: int = 0  # private examples in a step; 0 is as many as the artifact takes, up to 16
    learning_rate: float = 0.0  # 0 is the default of the artifact's optimizer, or of text
    soft_weight: float = 0.5  # of the fleet's (or its student's) soft labels; 0 is without
    temperature: float = 1.0  # of the student's soft labels; the fleet's bring their own
    check_every: int = 20  # steps
    patience: int = 5  # checks without a better student after which learning ends
    epochs: int = 20  # at most
    least_examples: int = 10  # training examples; with fewer there is nothing to learn from
    least_held_out: int = 10  # with fewer, students are scored on all examples (see learner.py)
    epochs_unjudged: int = 5  # at most, with too few held-out examples
    snapshot_seconds: float = 10.0  # between two snapshots that a killed learning goes on from
    seed: int = 0
    owner_share: float = OWNER_SHARE  # what answers are scored with (see model/label_prior.py)

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            least = _LEAST.get(name, 1)
            if not (math.isfinite(value) and value >= least):
                raise SettingsError(f"learning setting {name} is {value}; give {least} or more.")
            if name not in _FRACTIONS and not isinstance(value, int):
                raise SettingsError(f"learning setting {name} is {value}; give a whole number.")
        if self.soft_weight > 1:
            raise SettingsError(f"learning setting soft_weight is {self.soft_weight}; give 0 to 1.")

    @classmethod
    def of(cls, manifest: StudentManifest, *, owner_share: float = OWNER_SHARE) -> LearningSettings:
        """The usual settings for an artifact."""
        if manifest.labels_each_place:
            return cls(epochs=50, soft_weight=0.3, temperature=2.0)
        if not manifest.target.is_single:  # neither labels nor numbers have a prior
            return cls(owner_share=0.0)
        return cls(owner_share=owner_share)

    def with_options(self, options: PersonalizeOptions) -> LearningSettings:
        """These settings, with what `options` choose in place of them; raises SettingsError."""
        names = ("epochs", "batch_size", "learning_rate", "temperature", "soft_weight", "seed")
        chosen = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
        return replace(self, **chosen)

    def plan(
        self, manifest: StudentManifest, *, public: bool, temperature: float, soft: bool, epochs: int = 1
    ) -> TrainingPlan:
        """The training plan for an artifact.

        Args:
            manifest: The artifact's manifest.
            public: Whether a step also takes as many public examples.
            temperature: The temperature of the soft labels.
            soft: Whether there are soft labels at all.
            epochs: Passes over the private examples that are planned at once.
        """
        room = manifest.step_rows // (2 if public else 1)
        return TrainingPlan(
            epochs=epochs,
            batch_size=self.batch_size or max(1, min(_BATCH_SIZE, room)),
            learning_rate=self.learning_rate or _default_rate(manifest),
            optimizer=manifest.optimizer,
            temperature=temperature,
            soft_weight=self.soft_weight if soft else 0.0,
            seed=self.seed,
        )


def _default_rate(manifest: StudentManifest) -> float:
    return _TEXT_RATE if manifest.labels_each_place else _RATES[manifest.optimizer] * manifest.target.pace

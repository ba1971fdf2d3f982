"""Where recipes work: each training is a stage with its own checkpoint, so that a recipe that was killed
finds its finished stages again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from torch import nn

from fedstill_server.config.options import WithOptions
from fedstill_server.data.examples import Examples
from fedstill_server.distill.engine import EpochDone, train
from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.job import UNKNOWN, DistillJob, Trained
from fedstill_server.distill.scoring import accuracy_on
from fedstill_server.distill.teachers.torch_module import TorchTeacher
from fedstill_server.families import build_student
from fedstill_server.training.networks import load_parameters

StageWatcher = Callable[[str, EpochDone], None]


@dataclass(kw_only=True)
class StageRunner:
    """`folder` keeps checkpoints (None: none are kept); `validation` is what recipes choose by."""

    folder: Path | None = None
    validation: Examples | None = None
    watch: StageWatcher | None = None
    notes: list[str] = field(default_factory=list)  # what happened, in words
    trainings: int = 0

    def train(self, stage: str, job: DistillJob) -> Trained:
        """The student of a job; a stage that a killed run has finished is read, not trained."""
        checkpoint = None if self.folder is None else self.folder / f"{stage}.safetensors"
        watch = self.watch
        self.trainings += 1
        return train(
            job,
            checkpoint=checkpoint,
            watch=None if watch is None else lambda report: watch(stage, report),
        )

    def accuracy(self, network: nn.Module) -> float:
        """On the validation examples."""
        if self.validation is None or self.validation.y is None:
            raise DistillError(
                "validation: this recipe chooses by labelled examples that are held out, and there are none"
            )
        return accuracy_on(network, self.validation)


class Recipe(WithOptions):
    """A way to a student through several trainings; `base` is the job as it would be without the recipe.

    A subclass becomes a frozen dataclass of its options by itself.
    """

    name: ClassVar[str]
    source: ClassVar[str] = ""  # the paper

    def run(self, base: DistillJob, runner: StageRunner) -> Trained:
        raise NotImplementedError


def network_of(job: DistillJob, trained: Trained) -> nn.Module:
    return load_parameters(
        build_student(trained.family, job.input_shape, job.classes, seed=0), trained.parameters
    )


def teacher_of(job: DistillJob, trained: Trained) -> TorchTeacher:
    """A student that teaches."""
    return TorchTeacher(network_of(job, trained), name=trained.family)


def without_data(base: DistillJob, x: np.ndarray) -> DistillJob:
    """The job on examples that no one has labelled."""
    return replace(base, x=x, labels=np.full(len(x), UNKNOWN, np.int64), answers=None)

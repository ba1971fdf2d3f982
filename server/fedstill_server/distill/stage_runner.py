"""The stages of a recipe: each training has its own checkpoint, so that a recipe that was killed finds its
finished stages again.
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
    """Trains the stages of a recipe.

    Attributes:
        folder: Keeps the checkpoints; None keeps none.
        validation: The examples that recipes choose by.
        watch: Is called after each epoch of a stage.
        notes: What happened, in words, for the report.
        trainings: How many trainings there were.
    """

    folder: Path | None = None
    validation: Examples | None = None
    watch: StageWatcher | None = None
    notes: list[str] = field(default_factory=list)
    trainings: int = 0

    def train(self, stage: str, job: DistillJob) -> Trained:
        """Train the student of a job.

        Args:
            stage: A name of its own, also for the checkpoint; a finished stage is read, not trained.
            job: What is trained.
        """
        checkpoint = None if self.folder is None else self.folder / f"{stage}.safetensors"
        watch = self.watch
        self.trainings += 1
        return train(
            job,
            checkpoint=checkpoint,
            watch=None if watch is None else lambda report: watch(stage, report),
        )

    def accuracy(self, network: nn.Module) -> float:
        """The accuracy of a network on the validation examples.

        Raises:
            DistillError: There are none.
        """
        if self.validation is None or self.validation.y is None:
            raise DistillError(
                "validation: this recipe chooses by labelled examples that are held out, and there are none"
            )
        return accuracy_on(network, self.validation)


class Recipe(WithOptions):
    """A way to a student through several trainings.

    A subclass becomes a frozen dataclass of its options by itself; it has a `name` and overrides `run`.
    """

    name: ClassVar[str]
    source: ClassVar[str] = ""  # the paper

    def run(self, base: DistillJob, runner: StageRunner) -> Trained:
        """Train the student.

        Args:
            base: The job as it would be without the recipe.
            runner: Trains the stages, and measures accuracy on the validation examples.

        Returns:
            The student that the recipe came to.
        """
        raise NotImplementedError


def network_of(job: DistillJob, trained: Trained) -> nn.Module:
    """The torch module of a trained student."""
    return load_parameters(
        build_student(trained.family, job.input_shape, job.classes, seed=0), trained.parameters
    )


def teacher_of(job: DistillJob, trained: Trained) -> TorchTeacher:
    """A trained student as a teacher."""
    return TorchTeacher(network_of(job, trained), name=trained.family)


def without_data(base: DistillJob, x: np.ndarray) -> DistillJob:
    """The job on examples x [n, *input_shape] that have no labels."""
    return replace(base, x=x, labels=np.full(len(x), UNKNOWN, np.int64), answers=None)

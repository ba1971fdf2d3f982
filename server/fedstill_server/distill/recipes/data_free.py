"""Distillation without data: examples are made from the teacher, and then teach as any others do.

See distill/synthetic for how each kind is made. The examples of the job are not looked at, but for their
shape; `low` and `high` say between what values real ones would be.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from fedstill_proto.arrays import FloatArray
from torch import nn

from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.job import DistillJob, Trained
from fedstill_server.distill.plan import check
from fedstill_server.distill.stage_runner import Recipe, StageRunner, without_data
from fedstill_server.distill.synthetic import (
    Canvas,
    adversarial_examples,
    inverted_examples,
    noise_examples,
    one_hot_examples,
)
from fedstill_server.distill.teachers.torch_module import TorchTeacher
from fedstill_server.families import build_student
from fedstill_server.randomness import derived_seed


@dataclass(frozen=True, kw_only=True)
class DataFree(Recipe):
    """The base of all; each kind makes its examples."""

    count: int = 2000
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        check(self.count >= 1, f"{self.name}.count", self.count, "1 or more")
        check(self.low < self.high, f"{self.name}.low", self.low, f"below high, which is {self.high}")

    def run(self, base: DistillJob, runner: StageRunner) -> Trained:
        canvas = Canvas(
            shape=base.input_shape,
            classes=base.classes,
            count=self.count,
            low=self.low,
            high=self.high,
            seed=derived_seed(base.plan.seed, 0, self.name),
        )
        x = self.examples(base, canvas)
        runner.notes.append(f"{self.name}: {len(x)} examples made from the teacher")
        return runner.train("student", without_data(base, x))

    def examples(self, base: DistillJob, canvas: Canvas) -> FloatArray:
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class RandomNoise(DataFree):
    name: ClassVar[str] = "noise"
    source: ClassVar[str] = "baseline"
    line: ClassVar[str] = "no data: the teacher's answers to noise, uniform or of more contrast"

    contrast: float = 0.0  # see distill/synthetic/noise.py

    def __post_init__(self) -> None:
        super().__post_init__()
        check(0 <= self.contrast <= 100, "noise.contrast", self.contrast, "0 (uniform) to 100")

    def examples(self, base: DistillJob, canvas: Canvas) -> FloatArray:
        return noise_examples(canvas, contrast=self.contrast)


@dataclass(frozen=True, kw_only=True)
class DeepInversion(DataFree):
    name: ClassVar[str] = "deep-inversion"
    source: ClassVar[str] = "Yin et al. 2020, arXiv 1912.08795"
    line: ClassVar[str] = "no data: noise moved along the teacher's gradient until it looks like a class"

    steps: int = 40

    def examples(self, base: DistillJob, canvas: Canvas) -> FloatArray:
        return inverted_examples(_network(base, self.name), canvas, steps=self.steps)


@dataclass(frozen=True, kw_only=True)
class OneHotGenerator(DataFree):
    name: ClassVar[str] = "dafl"
    source: ClassVar[str] = "Chen et al. 2019, arXiv 1904.01186"
    line: ClassVar[str] = "no data: a generator of examples that the teacher is sure of"

    steps: int = 800
    contrast: float = 4.0  # see distill/synthetic/generator.py
    activation: float = 0.0
    balance: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check(0 < self.contrast <= 100, "dafl.contrast", self.contrast, "above 0, up to 100")

    def examples(self, base: DistillJob, canvas: Canvas) -> FloatArray:
        return one_hot_examples(
            _network(base, self.name),
            canvas,
            steps=self.steps,
            activation=self.activation,
            balance=self.balance,
            contrast=self.contrast,
        )


@dataclass(frozen=True, kw_only=True)
class AdversarialGenerator(DataFree):
    name: ClassVar[str] = "dfad"
    source: ClassVar[str] = "Fang et al. 2019, arXiv 1912.11006"
    line: ClassVar[str] = "no data: a generator of examples on which student and teacher differ"

    steps: int = 400

    def examples(self, base: DistillJob, canvas: Canvas) -> FloatArray:
        critic = build_student(base.family, canvas.shape, canvas.classes, seed=canvas.seed)
        return adversarial_examples(_network(base, self.name), critic, canvas, steps=self.steps)


def _network(base: DistillJob, name: str) -> nn.Module:
    if not isinstance(base.teacher, TorchTeacher):
        raise DistillError(f"{name}: needs the teacher's gradients; give a torch module as the teacher")
    return base.teacher.network

"""Distillation without data: examples are made from the teacher, and then teach as any others do.

See distill/synthetic for how each kind is made. Only the shape of the job's examples is used; `low` and
`high` are the range of real values.
"""

from __future__ import annotations

from typing import ClassVar

from fedstill_proto.arrays import FloatArray
from torch import nn

from fedstill_server.config.options import option
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


class DataFree(Recipe):
    """The base of recipes without data; each kind makes its examples."""

    count: int = option(2000, "Examples that are made.", least=1)
    low: float = option(0.0, "The least value of an example's numbers.")
    high: float = option(1.0, "The largest value of an example's numbers.")

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self.low < self.high, "low", self.low, f"below high, which is {self.high}")

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
        """Make the examples [canvas.count, *canvas.shape].

        Args:
            base: The job, with its teacher.
            canvas: What examples look like.
        """
        raise NotImplementedError


class RandomNoise(DataFree):
    name: ClassVar[str] = "noise"
    source: ClassVar[str] = "baseline"
    line: ClassVar[str] = "no data: the teacher's answers to noise, uniform or of more contrast"

    contrast: float = option(0.0, "The contrast of the noise; 0 is uniform.", least=0, most=100)

    def examples(self, base: DistillJob, canvas: Canvas) -> FloatArray:
        return noise_examples(canvas, contrast=self.contrast)


class DeepInversion(DataFree):
    name: ClassVar[str] = "deep-inversion"
    source: ClassVar[str] = "Yin et al. 2020, arXiv 1912.08795"
    line: ClassVar[str] = "no data: noise moved along the teacher's gradient until it looks like a class"

    steps: int = option(40, "Moves of the noise along the teacher's gradient.", least=0)

    def examples(self, base: DistillJob, canvas: Canvas) -> FloatArray:
        return inverted_examples(_network(base, self.name), canvas, steps=self.steps)


class OneHotGenerator(DataFree):
    name: ClassVar[str] = "dafl"
    source: ClassVar[str] = "Chen et al. 2019, arXiv 1904.01186"
    line: ClassVar[str] = "no data: a generator of examples that the teacher is sure of"

    steps: int = option(800, "Steps of the generator's training.", least=0)
    contrast: float = option(4.0, "The contrast of the generator's examples.", above=0, most=100)
    activation: float = option(0.0, "Weight of the teacher's activations.", least=0)
    balance: float = option(5.0, "Weight of classes being equally frequent.", least=0)

    def examples(self, base: DistillJob, canvas: Canvas) -> FloatArray:
        return one_hot_examples(
            _network(base, self.name),
            canvas,
            steps=self.steps,
            activation=self.activation,
            balance=self.balance,
            contrast=self.contrast,
        )


class AdversarialGenerator(DataFree):
    name: ClassVar[str] = "dfad"
    source: ClassVar[str] = "Fang et al. 2019, arXiv 1912.11006"
    line: ClassVar[str] = "no data: a generator of examples on which student and teacher differ"

    steps: int = option(400, "Steps of the generator's training.", least=0)

    def examples(self, base: DistillJob, canvas: Canvas) -> FloatArray:
        critic = build_student(base.family, canvas.shape, canvas.classes, seed=canvas.seed)
        return adversarial_examples(_network(base, self.name), critic, canvas, steps=self.steps)


def _network(base: DistillJob, name: str) -> nn.Module:
    if not isinstance(base.teacher, TorchTeacher):
        raise DistillError(f"{name}: needs the teacher's gradients; give a torch module as the teacher")
    return base.teacher.network

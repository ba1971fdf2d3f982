"""What a technique is: a frozen description with its options, which begins a Term for one training run.

A Term is a torch module. Its parameters (adapters, auxiliary heads, peers) are trained along with the student
and are no part of it, so no export can hold them; its buffers (an averaged teacher, say) are saved in every
checkpoint with them. Each hook does nothing unless a technique overrides it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from fedstill_proto.arrays import Parameters
from torch import Tensor, nn

from fedstill_server.config.options import WithOptions, option
from fedstill_server.data.examples import Examples
from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.layers import parse_map
from fedstill_server.distill.plan import DistillPlan
from fedstill_server.teachers.interface import TeacherModel

LAYERS_HELP = "Which are compared: uniform, last, logits, or pairs such as hidden.0=hidden.1."


@dataclass(frozen=True, eq=False, kw_only=True)
class Setting:
    """What a technique's term begins with.

    Attributes:
        plan: How the student is trained.
        family: The student's.
        student: The student itself.
        input_shape: The shape of an example.
        classes: How many classes the student tells apart.
        pairs: The (student layer, teacher layer) that the technique's `pairs` chose.
        student_features: A few examples' features by layer, to read shapes from.
        teacher_features: The same of the teacher.
        teacher_classes: How many classes the teacher tells apart; 0 without a teacher.
        teacher_logits: The teacher's answers to all examples [n, teacher_classes]; None if the plan is
            online.
        teacher: Whom a term may ask about examples of its own; None where kept answers are all there is.
        held_out: Labelled examples that no step learns; None where there are none.
    """

    plan: DistillPlan
    family: str
    student: nn.Module
    input_shape: tuple[int, ...]
    classes: int
    pairs: tuple[tuple[str, str], ...]
    student_features: Mapping[str, Tensor]
    teacher_features: Mapping[str, Tensor]
    teacher_classes: int
    teacher_logits: Tensor | None
    teacher: TeacherModel | None = None
    held_out: Examples | None = None

    def check_pairs(self, name: str, what: str, fits: Callable[[Tensor], bool]) -> None:
        """Refuse pairs of layers whose features the technique cannot compare.

        Args:
            name: The technique, for the error.
            what: What it compares, in words.
            fits: Whether the features of a layer are of that kind.

        Raises:
            DistillError: Those of a pair are not.
        """
        for mine, theirs in self.pairs:
            both = self.student_features[mine], self.teacher_features[theirs]
            if not all(map(fits, both)):
                shapes = " and ".join(str(list(features.shape)) for features in both)
                raise DistillError(f"{name}.layers: {mine}={theirs} are no {what}; the shapes are {shapes}")


@dataclass(frozen=True, eq=False, kw_only=True)
class Step:
    """One batch, and the answers of student and teacher to it."""

    x: Tensor  # [B, *input_shape]
    labels: Tensor  # [B] int64, or [B, S] for text; -1 where unknown
    labelled: Tensor  # [B] bool
    logits: Tensor  # [B, classes], the student's
    features: Mapping[str, Tensor]
    teacher_logits: Tensor | None  # [B, teacher_classes]
    teacher_features: Mapping[str, Tensor]
    progress: float  # share of the training that is done, 0 to 1
    number: int  # of the step in the training, from 0
    temperature: float
    weights: Tensor | None = None  # [B], or [B, S] for text: what each example counts in the soft terms
    heard: Tensor | None = None  # [B, S] bool, of rows of sub-words: the places that are no padding

    @property
    def places(self) -> Tensor | None:
        """The places of rows that count, bool [B, S]; None where all do, and where examples are no rows."""
        if self.weights is None or self.weights.dim() < 2:
            return self.heard
        counted = self.weights > 0
        return counted if self.heard is None else counted & self.heard

    @property
    def taught(self) -> Tensor:
        """The teacher's logits [B, teacher_classes], for a technique that cannot do without.

        Raises:
            DistillError: There is no teacher.
        """
        if self.teacher_logits is None:
            raise DistillError(
                "the techniques ask for a teacher and there is none; give one with --teacher, or learn the "
                "labels alone with --technique none"
            )
        return self.teacher_logits


class Term(nn.Module):
    """A technique at work in one training run: a torch module whose parameters are trained along.

    A subclass overrides the hooks that it needs; `loss` is the usual one.
    """

    def example_weights(self, step: Step) -> Tensor | None:
        """The weight of each example in the soft terms [B], of any scale; None leaves them alone."""
        return None

    def loss(self, step: Step) -> Tensor | None:
        """The term of a batch, a scalar that is multiplied by the plan's soft_weight.

        Args:
            step: The batch, and the answers of student and teacher to it.
        """
        return None

    def soft_labels(self) -> Tensor | None:
        """The soft labels p [n, classes] of all examples, where the term is T^2 KL(p || softmax(student / T))
        and p is known before the first step; None for other terms. `loss` is then called only if the examples
        have weights.
        """
        return None

    def label_logits(self, logits: Tensor, step: Step) -> Tensor:
        """The logits [B, classes] that the labels' cross-entropy sees."""
        return logits

    def hard_loss(self, step: Step) -> Tensor | None:
        """A term that is computed from labels, multiplied by 1 - soft_weight."""
        return None

    def after_step(self, student: nn.Module) -> None:
        """Is called when the optimizer has made a step."""

    def after_epoch(self, student: nn.Module, *, progress: float) -> None:
        """Is called at the end of each epoch; `progress` is the share of the training that is done."""

    def exits(self, student: nn.Module) -> dict[str, Parameters]:
        """The weights of further students that this training made, by family."""
        return {}


class Technique(WithOptions):
    """A term that is added to a student's loss.

    A subclass becomes a frozen dataclass of its options by itself:

        class LogitDistance(Technique):
            name = "logit-distance"
            source = "Ba and Caruana 2014, arXiv 1312.6184"
            line = "the teacher's logits, squared distance"
            margin: float = option(0.0, "Squared distances below it count nothing.", least=0)

            def begin(self, setting: Setting) -> Term: ...
    """

    name: ClassVar[str]  # by which its part of the loss is reported
    source: ClassVar[str] = ""  # the paper
    compares: ClassVar[str] = "layers"  # or "attention", "states", "projections": what `pairs` chooses from

    weight: float = option(1.0, "Multiplies the term.", least=0)

    def pairs(self, student: Sequence[str], teacher: Sequence[str]) -> tuple[tuple[str, str], ...]:
        """The (student layer, teacher layer) whose features the technique needs.

        Args:
            student: The student's layers, from the first to the last.
            teacher: The teacher's; empty where it shows none.
        """
        return ()

    def begin(self, setting: Setting) -> Term:
        """Make the term of one training run.

        Args:
            setting: The student, the teacher, and the shapes of their features.
        """
        raise NotImplementedError


class FeatureTechnique(Technique):
    """The base of techniques that compare layers; `layers` is explained in layers.parse_map."""

    layers: str = option("last", LAYERS_HELP)

    def pairs(self, student: Sequence[str], teacher: Sequence[str]) -> tuple[tuple[str, str], ...]:
        return parse_map(self.layers, student, teacher)


def scale_to_mean_one(weights: Tensor) -> Tensor:
    """The weights scaled to a mean of 1; all 1 where all are 0."""
    mean = weights.mean()
    return torch.where(mean > 0, weights / mean.clamp(min=1e-12), torch.ones_like(weights))

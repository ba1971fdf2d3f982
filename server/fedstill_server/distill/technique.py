"""What a technique is: a frozen description with its options, which begins a Term for one training run.

A Term is a torch module. Its parameters (adapters, auxiliary heads, peers) are trained along with the student
and are no part of it, so no export can hold them; its buffers (an averaged teacher, say) are saved in every
checkpoint with them. Each hook does nothing until a technique says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from fedstill_proto.arrays import Parameters
from torch import Tensor, nn

from fedstill_server.config.options import WithOptions, option
from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.layers import parse_map
from fedstill_server.distill.plan import DistillPlan

LAYERS_HELP = "Which are compared: uniform, last, logits, or pairs such as hidden.0=hidden.1."


@dataclass(frozen=True, eq=False, kw_only=True)
class Setting:
    """What a technique begins from. Features are of a few examples, to read their shapes from."""

    plan: DistillPlan
    family: str
    student: nn.Module
    input_shape: tuple[int, ...]
    classes: int
    pairs: tuple[tuple[str, str], ...]  # the technique's own
    student_features: Mapping[str, Tensor]
    teacher_features: Mapping[str, Tensor]
    teacher_classes: int  # 0 without a teacher
    teacher_logits: Tensor | None  # of all examples [n, teacher_classes], unless the plan is online

    def check_pairs(self, name: str, what: str, fits: Callable[[Tensor], bool]) -> None:
        """Refuse pairs of the technique `name` whose features are not `what` it compares."""
        for mine, theirs in self.pairs:
            both = self.student_features[mine], self.teacher_features[theirs]
            if not all(map(fits, both)):
                shapes = " and ".join(str(list(features.shape)) for features in both)
                raise DistillError(f"{name}.layers: {mine}={theirs} are no {what}; the shapes are {shapes}")


@dataclass(frozen=True, eq=False, kw_only=True)
class Step:
    """One batch: what the student and the teacher make of it."""

    x: Tensor  # [B, *input_shape]
    labels: Tensor  # [B] int64, or [B, S] of text, -1 where unknown
    labelled: Tensor  # [B] bool
    logits: Tensor  # [B, classes], the student's
    features: Mapping[str, Tensor]
    teacher_logits: Tensor | None  # [B, teacher_classes]
    teacher_features: Mapping[str, Tensor]
    progress: float  # share of the training that is done, 0 to 1
    temperature: float
    weights: Tensor | None = None  # [B], or [B, S] of text: what each example counts in the soft terms

    @property
    def taught(self) -> Tensor:
        """The teacher's logits, where a technique cannot do without."""
        if self.teacher_logits is None:
            raise DistillError(
                "the techniques ask for a teacher and there is none; give one with --teacher, or learn the "
                "labels alone with --technique none"
            )
        return self.teacher_logits


class Term(nn.Module):
    """A technique at work in one training run."""

    def example_weights(self, step: Step) -> Tensor | None:
        """What each example counts in the soft terms [B], of any scale; None leaves them alone."""
        return None

    def loss(self, step: Step) -> Tensor | None:
        """The term, a scalar; it is multiplied with the plan's soft_weight."""
        return None

    def soft_labels(self) -> Tensor | None:
        """Where the term is T^2 KL(p || softmax(student / T)) of soft labels p [n, classes] that are known
        before the first step: these. `loss` is then asked only if the examples have weights.
        """
        return None

    def label_logits(self, logits: Tensor, step: Step) -> Tensor:
        """The logits [B, classes] that the labels' cross-entropy sees."""
        return logits

    def hard_loss(self, step: Step) -> Tensor | None:
        """A term of labels, multiplied with 1 - soft_weight."""
        return None

    def after_step(self, student: nn.Module) -> None:
        """Called when the optimizer has moved."""

    def after_epoch(self, student: nn.Module, *, progress: float) -> None:
        """Called at the end of each epoch."""

    def exits(self, student: nn.Module) -> dict[str, Parameters]:
        """Further students that this training made, by family."""
        return {}


class Technique(WithOptions):
    """What adds to a student's loss. A subclass becomes a frozen dataclass of its options by itself:

    class LogitDistance(Technique):
        name = "logit-distance"
        source = "Ba and Caruana 2014, arXiv 1312.6184"
        line = "the teacher's logits, squared distance"
        margin: float = option(0.0, "Squared distances below it are none.", least=0)

        def begin(self, setting: Setting) -> Term: ...
    """

    name: ClassVar[str]  # under which its part of the loss is told
    source: ClassVar[str] = ""  # the paper
    compares: ClassVar[str] = "layers"  # or "attention": of which parts `pairs` is told

    weight: float = option(1.0, "Multiplies the term.", least=0)

    def pairs(self, student: Sequence[str], teacher: Sequence[str]) -> tuple[tuple[str, str], ...]:
        """The (student layer, teacher layer) whose features it needs, from those there are."""
        return ()

    def begin(self, setting: Setting) -> Term:
        raise NotImplementedError


class FeatureTechnique(Technique):
    """The base of techniques that compare layers; see layers.parse_map for what `layers` may say."""

    layers: str = option("last", LAYERS_HELP)

    def pairs(self, student: Sequence[str], teacher: Sequence[str]) -> tuple[tuple[str, str], ...]:
        return parse_map(self.layers, student, teacher)


def scale_to_mean_one(weights: Tensor) -> Tensor:
    """Scaled to a mean of 1; all 1 where all are 0."""
    mean = weights.mean()
    return torch.where(mean > 0, weights / mean.clamp(min=1e-12), torch.ones_like(weights))

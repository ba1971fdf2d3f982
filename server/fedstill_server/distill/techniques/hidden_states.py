"""Hidden states of transformers, layer by layer (TinyBERT, Jiao et al. 2020, arXiv 1909.10351).

    mean over pairs of layers of mean (H_s W - H_t)^2 / mean H_t^2

over the places that hold something. The student's layers are spread evenly over the teacher's, and the hidden
states before the first layer, the embedding, are a pair of their own. W is the identity where the widths are
equal, and else a linear map that exists in training only. Divided by the size of the teacher's states one
weight suits all teachers. Layers are found by the configuration of a model of Hugging Face; fedstill's own
transformer and state-space students have them, too, so that one learns from the other: what stands between
two blocks is a vector of each place in both, whatever mixes the places (as in MOHAWK's second stage, Bick et
al. 2024, arXiv 2408.10189).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from fedstill_server.config.options import option
from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.layers import uniform_map
from fedstill_server.distill.technique import FeatureTechnique, Setting, Step, Term
from fedstill_server.losses import hidden_state_loss


class HiddenStates(FeatureTechnique):
    name: ClassVar[str] = "hidden-states"
    source: ClassVar[str] = "Jiao et al. 2020, arXiv 1909.10351"
    line: ClassVar[str] = "hidden states of a transformer's layers, and its embedding"
    compares: ClassVar[str] = "states"

    layers: str = "uniform"
    embedding: bool = option(True, "Whether the states before the first layer are compared, too.")

    def pairs(self, student: Sequence[str], teacher: Sequence[str]) -> tuple[tuple[str, str], ...]:
        if self.layers != "uniform":
            return super().pairs(student, teacher)
        for who, states in (("student", student), ("teacher", teacher)):
            if len(states) < 2:
                raise DistillError(f"hidden-states: the {who} shows no layers: transformers do, and ssm")
        between = uniform_map(student[1:], teacher[1:])
        return ((student[0], teacher[0]), *between) if self.embedding else between

    def begin(self, setting: Setting) -> Term:
        return _Term(setting)


class _Term(Term):
    sizes: Tensor

    def __init__(self, setting: Setting) -> None:
        super().__init__()
        self.pairs = setting.pairs
        widths = [
            (setting.student_features[mine].shape[-1], setting.teacher_features[theirs].shape[-1])
            for mine, theirs in self.pairs
        ]
        self.adapters = nn.ModuleList(
            nn.Identity() if mine == theirs else nn.Linear(mine, theirs, bias=False)
            for mine, theirs in widths
        )
        sizes = [setting.teacher_features[theirs].square().mean() for _, theirs in self.pairs]
        self.register_buffer("sizes", torch.stack(sizes).clamp(min=1e-6))

    def loss(self, step: Step) -> Tensor:
        losses = [
            hidden_state_loss(
                adapter(by_place(step.features[mine], step)),
                by_place(step.teacher_features[theirs], step),
                mask=step.places,
            )
            for adapter, (mine, theirs) in zip(self.adapters, self.pairs, strict=True)
        ]
        return (torch.stack(losses) / self.sizes).mean()


def by_place(vectors: Tensor, step: Step) -> Tensor:
    """Vectors of places as [B, S, width], of networks that see all places of a batch as rows, too."""
    return vectors.reshape(*step.x.shape[:2], vectors.shape[-1])

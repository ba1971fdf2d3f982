"""Response distillation from the k largest soft labels and a rest bucket: what a wire can afford."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from fedstill_server.config.options import option
from fedstill_server.distill.technique import Setting, Step, Technique, Term
from fedstill_server.losses import top_k_bucket_loss


class TopKDistillation(Technique):
    name: ClassVar[str] = "top-k"
    source: ClassVar[str] = "Hinton et al. 2015 with a rest bucket"
    line: ClassVar[str] = "the k largest soft labels, all others as one"

    k: int = option(3, "Soft labels that are kept apart.", least=1)

    def begin(self, setting: Setting) -> Term:
        return _Term(min(self.k, setting.teacher_classes or self.k))


class _Term(Term):
    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k

    def loss(self, step: Step) -> Tensor:
        soft = torch.softmax(step.taught / step.temperature, dim=-1)
        kept, indices = soft.topk(self.k, dim=-1)
        return top_k_bucket_loss(step.logits, indices, kept, temperature=step.temperature, mask=step.weights)

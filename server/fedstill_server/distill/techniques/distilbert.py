"""DistilBERT's triple loss (Sanh et al. 2019, arXiv 1910.01108) as a term: soft answers and hidden states.

    (5 T^2 KL(teacher || student) + 1 (1 - cos(h_s, h_t))) / 6

With soft_weight = 0.75 and T = 2 the labels' part is 2 beside them, as published (losses/triple.py is the
whole). h are the layers that `layers` pairs, such as `norm=norm` of two transformers; of models of Hugging
Face the last hidden layers, found by their configurations, or with `uniform` all of the student's. Where
their widths differ, a linear map that exists in training only stands between. A sentence model's answer is a
vector, whose soft part is 1 - cos of both. A student of fewer layers begins as some of the teacher's: that is
the family's part (hugging_face/initialization.py).
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from fedstill_server.config.options import option
from fedstill_server.distill.sub_words import is_sentence_model
from fedstill_server.distill.technique import FeatureTechnique, Setting, Step, Term
from fedstill_server.losses import cosine_loss, kd_loss


class DistilBert(FeatureTechnique):
    name: ClassVar[str] = "distilbert"
    source: ClassVar[str] = "Sanh et al. 2019, arXiv 1910.01108"
    line: ClassVar[str] = "soft answers and the direction of hidden states, 5 to 1"

    soft: float = option(5.0, "Share of the soft answers.", least=0)
    cosine: float = option(1.0, "Share of the direction of hidden states.", least=0)

    def begin(self, setting: Setting) -> Term:
        return _Term(self, setting)


class _Term(Term):
    def __init__(self, technique: DistilBert, setting: Setting) -> None:
        super().__init__()
        self.soft, self.cosine, self.pairs = technique.soft, technique.cosine, setting.pairs
        self.vectors = is_sentence_model(setting.student)
        self.adapters = nn.ModuleList(
            _between(setting.student_features[mine], setting.teacher_features[theirs])
            for mine, theirs in self.pairs
        )

    def loss(self, step: Step) -> Tensor:
        if self.vectors:
            soft = cosine_loss(step.logits, step.taught, mask=step.weights)
        else:
            soft = kd_loss(step.logits, step.taught, temperature=step.temperature, mask=step.weights)
        # For text, the places that a word follows; of sub-words, those that are no padding.
        mask = None if step.places is None else step.places.flatten()
        cosines = [
            cosine_loss(adapter(_rows(step.features[mine])), _rows(step.teacher_features[theirs]), mask=mask)
            for adapter, (mine, theirs) in zip(self.adapters, self.pairs, strict=True)
        ]
        total = self.soft * soft + self.cosine * torch.stack(cosines).mean()
        return total / max(self.soft + self.cosine, 1e-9)


def _rows(features: Tensor) -> Tensor:
    """Hidden states [n, ..., width] as [rows, width]; maps are made flat."""
    return features.flatten(1) if features.dim() == 4 else features.reshape(-1, features.shape[-1])


def _between(student: Tensor, teacher: Tensor) -> nn.Module:
    mine, theirs = _rows(student).shape[-1], _rows(teacher).shape[-1]
    return nn.Identity() if mine == theirs else nn.Linear(mine, theirs, bias=False)

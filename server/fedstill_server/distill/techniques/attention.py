"""Attention transfer of convolution maps (Zagoruyko and Komodakis 2017, arXiv 1612.03928).

The weight is that of the authors' code, whose loss is a mean over places. Layers that are no maps [n,
channels, h, w] are refused. For the matrices of transformers there is attention-matrices.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from fedstill_server.distill.technique import FeatureTechnique, Setting, Step, Term
from fedstill_server.losses import attention_map_loss


class AttentionTransfer(FeatureTechnique):
    name: ClassVar[str] = "attention"
    source: ClassVar[str] = "Zagoruyko and Komodakis 2017, arXiv 1612.03928"
    line: ClassVar[str] = "convolutions look where the teacher's look"

    layers: str = "uniform"
    weight: float = 1000.0

    def begin(self, setting: Setting) -> Term:
        setting.check_pairs(self.name, "maps of convolutions", lambda features: features.dim() == 4)
        return _Term(setting)


class _Term(Term):
    def __init__(self, setting: Setting) -> None:
        super().__init__()
        self.pairs = setting.pairs

    def loss(self, step: Step) -> Tensor:
        losses = [attention_map_loss(step.features[s], step.teacher_features[t]) for s, t in self.pairs]
        return torch.stack(losses).mean()

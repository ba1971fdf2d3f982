"""Adaptive weights: an example counts by how sure the teacher is of it.

    w = max_c softmax(t / T)_c, or softmax(t)_label where the label is known

so that a teacher's doubtful or wrong answers teach less. Needs another technique, whose term it weighs.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from fedstill_server.distill.technique import Setting, Step, Technique, Term


class ConfidenceWeights(Technique):
    name: ClassVar[str] = "confidence"
    source: ClassVar[str] = "own rule"
    line: ClassVar[str] = "examples of which the teacher is sure, or right, count more"

    def begin(self, setting: Setting) -> Term:
        return _Term()


class _Term(Term):
    def example_weights(self, step: Step) -> Tensor:
        soft = torch.softmax(step.taught, dim=-1)
        right = soft.gather(-1, step.labels.clamp(min=0).unsqueeze(-1)).squeeze(-1)
        return right.where(step.labelled, soft.max(dim=-1).values)

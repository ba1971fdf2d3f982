"""Sentence embeddings: the student's vector of a text is the teacher's, and two texts are as alike.

    cosine (1 - cos(s_i, t_i)) + relation mean over i != j of (cos(s_i, s_j) - cos(t_i, t_j))^2

(Reimers and Gurevych 2020, arXiv 2004.09813, distil the vectors, squared; a sentence model is asked for
cosines, so that their length does not matter here.) Where the student's vectors are of another width, a
linear map that exists in training only stands between in the first part.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from fedstill_server.config.options import option
from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.technique import Setting, Step, Technique, Term
from fedstill_server.losses import cosine_loss, pairwise_cosine_loss


class EmbeddingDistillation(Technique):
    name: ClassVar[str] = "embedding"
    source: ClassVar[str] = "Reimers and Gurevych 2020, arXiv 2004.09813"
    line: ClassVar[str] = "the teacher's vectors of texts, and how alike two texts are"

    cosine: float = option(1.0, "Weight of the direction of each vector.", least=0)
    relation: float = option(1.0, "Weight of the cosines between the texts of a batch.", least=0)

    def begin(self, setting: Setting) -> Term:
        if len(setting.student_features["logits"].shape) != 2:
            raise DistillError("embedding: takes one vector of each example, and these are rows of them")
        return _Term(self, setting)


class _Term(Term):
    def __init__(self, technique: EmbeddingDistillation, setting: Setting) -> None:
        super().__init__()
        self.cosine, self.relation = technique.cosine, technique.relation
        theirs = setting.teacher_classes
        same = theirs in (0, setting.classes)
        self.between = nn.Identity() if same else nn.Linear(setting.classes, theirs, bias=False)

    def loss(self, step: Step) -> Tensor:
        direction = cosine_loss(self.between(step.logits), step.taught, mask=step.weights)
        return self.cosine * direction + self.relation * pairwise_cosine_loss(step.logits, step.taught)

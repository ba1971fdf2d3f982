"""Several teachers as one: the mean of their probabilities, or of their logits, or weighted by agreement.

    probabilities   T log mean_k softmax(z_k / T)              (You et al. 2017, and most since)
    logits          mean_k (z_k - mean over classes z_k)
    agreement       T log sum_k w_k softmax(z_k / T), with the weights of losses/agreement.py

so that softmax(answer / T) is the mean of the teachers' soft labels at the temperature T of the distillation.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from fedstill_proto.arrays import FloatArray
from torch import Tensor
from torch.nn.functional import log_softmax

from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.plan import check
from fedstill_server.losses import agreement_weights
from fedstill_server.teachers.interface import TeacherAnswers, TeacherModel, refuse_layers

COMBINATIONS = ("probabilities", "logits", "agreement")
AGREEMENT_SHARPNESS = 4.0
"""Sharpness of agreement weights; measured with a corrupted teacher of five (benchmarks/techniques.py)."""


class EnsembleTeacher:
    layers: tuple[str, ...] = ()
    attention: tuple[str, ...] = ()

    def __init__(
        self,
        teachers: Sequence[TeacherModel],
        *,
        combination: str = "probabilities",
        temperature: float = 4.0,
        sharpness: float = AGREEMENT_SHARPNESS,
    ) -> None:
        if not teachers:
            raise DistillError("teachers: none; an ensemble has at least one")
        check(combination in COMBINATIONS, "combination", combination, f"one of {', '.join(COMBINATIONS)}")
        self.teachers = tuple(teachers)
        self.combination, self.temperature, self.sharpness = combination, temperature, sharpness
        parts = [combination, repr(temperature), repr(sharpness), *(teacher.digest for teacher in teachers)]
        self.digest = hashlib.sha256("/".join(parts).encode()).hexdigest()

    def answer(self, x: FloatArray, *, layers: Sequence[str] = ()) -> TeacherAnswers:
        refuse_layers(layers, "ensemble")
        answers = [teacher.answer(x).logits for teacher in self.teachers]
        if len({array.shape for array in answers}) != 1:
            raise DistillError(
                f"teachers: of {[array.shape[1] for array in answers]} classes; they must be the same"
            )
        logits = torch.stack([torch.from_numpy(array) for array in answers])  # [teachers, n, classes]
        return TeacherAnswers(self.combined(logits).numpy())

    def combined(self, logits: Tensor) -> Tensor:
        """The logits [n, classes] that stand for those of all teachers [teachers, n, classes]."""
        if self.combination == "logits":
            return (logits - logits.mean(dim=-1, keepdim=True)).mean(dim=0)
        log_p = log_softmax(logits / self.temperature, dim=-1)
        sharpness = self.sharpness if self.combination == "agreement" else 0.0
        weights = agreement_weights(logits, temperature=self.temperature, sharpness=sharpness)
        return self.temperature * (log_p + weights.log().unsqueeze(-1)).logsumexp(dim=0)

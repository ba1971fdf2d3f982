"""Contrastive distillation in a batch (CRD, Tian et al. 2020, arXiv 1910.10699), in the InfoNCE form (van den
Oord et al. 2018, arXiv 1807.03748).

    1/2 mean_i -log( exp(s_i . t_i / tau) / sum_j exp(s_i . t_j / tau) )
    1/2 mean_i -log( exp(s_i . t_i / tau) / sum_j exp(s_j . t_i / tau) )

with unit vectors s, t: the student's view of example i should be nearer to the teacher's view of i than to
any other example of the batch, and the teacher's to the student's. CRD's memory of negatives from outside
the batch is left out.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from fedstill_server.losses.response import cross_entropy


def contrastive_loss(student: Tensor, teacher: Tensor, *, tau: float) -> Tensor:
    """The loss of embeddings [batch, width] of the same width; tau is the temperature of the similarities."""
    similarities = normalize(student, dim=-1) @ normalize(teacher, dim=-1).T / tau  # [batch, batch]
    own = torch.arange(len(student))
    return (cross_entropy(similarities, own) + cross_entropy(similarities.T, own)) / 2

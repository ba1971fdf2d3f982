"""The parts of a student's loss whose targets are known before the first step: labels, and a teacher's
answers.

They are gathered once for many batches, and computed together (losses/fixed_targets.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from fedstill_server.losses.fixed_targets import fixed_target_slopes


@dataclass(frozen=True, eq=False)
class FixedTarget:
    """The term weight * T^2 KL(table || softmax(logits / T)), over the examples whose row is not all 0."""

    name: str
    table: Tensor  # [n, classes], probabilities
    temperature: float
    weight: float


class FixedBatch(NamedTuple):
    """One batch's part of all targets; a NamedTuple, since one is made for every step."""

    targets: Tensor  # [B, k, classes]
    mass: Tensor  # [B, k, 1]
    offsets: Sequence[float]  # [k]


class FixedTargets:
    """All targets of a training run, at least one."""

    def __init__(self, targets: Sequence[FixedTarget]) -> None:
        self.names = [target.name for target in targets]
        self.tables = torch.stack([target.table for target in targets], dim=1)  # [n, k, classes]
        self.mass = self.tables.sum(dim=-1).round()  # [n, k], 0 or 1
        self.temperatures = torch.tensor([target.temperature for target in targets])
        self.weights = torch.tensor([target.weight for target in targets])
        self.sharpness = (1 / self.temperatures).unsqueeze(-1)
        self.entropies = -torch.special.xlogy(self.tables, self.tables).sum(dim=-1)  # [n, k]

    def batches(self, rows: Tensor, batch_size: int) -> Iterator[FixedBatch]:
        """The batches of the examples `rows`, in their order."""
        mass = self.mass[rows]
        counts = torch.stack([part.sum(dim=0) for part in _split(mass, batch_size)]).clamp(min=1)
        # [batches, k]
        each = self.weights * self.temperatures / counts
        shares = each.repeat_interleave(batch_size, dim=0)[: len(rows)]  # [m, k]
        targets = self.tables.index_select(0, rows).mul_(shares.unsqueeze(-1))
        entropies = [part.sum(dim=0) for part in _split(self.entropies[rows] * shares, batch_size)]
        offsets = (-torch.stack(entropies) * self.temperatures).tolist()
        scaled = (mass * shares).unsqueeze(-1)
        return map(FixedBatch, _split(targets, batch_size), _split(scaled, batch_size), offsets)

    def slopes(self, logits: Tensor, batch: FixedBatch) -> tuple[Tensor, Tensor]:
        """The values [k] that `losses` takes, and the gradient of the sum of the terms by the logits [B,
        classes].
        """
        return fixed_target_slopes(logits, batch.targets, batch.mass, self.sharpness)

    def losses(self, values: Sequence[Tensor], batches: Sequence[FixedBatch]) -> dict[str, float]:
        """The mean of each term over batches, by name."""
        offsets = torch.tensor([batch.offsets for batch in batches], dtype=torch.float64)
        losses = -self.temperatures * torch.stack(list(values)).double() + offsets  # [batches, k]
        return dict(zip(self.names, losses.mean(dim=0).tolist(), strict=True))


def _split(table: Tensor, rows: int) -> tuple[Tensor, ...]:
    parts: tuple[Tensor, ...] = table.split(rows)  # type: ignore[no-untyped-call]
    return parts

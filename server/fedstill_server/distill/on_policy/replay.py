"""DistiLLM's adaptive use of what a student writes (Ko et al. 2024, arXiv 2402.03898): seldom, and again.

A share of the batches, at first 0, is of rows that the student wrote. It grows by a tenth after each epoch at
whose end the student says held-out labels worse, by more than a margin, than at the best end before: a sign
that it learns too little of how it goes on itself. Of these batches a falling part is written anew and kept;
the others are drawn from the rows that are kept. At time t from 0 to 1,

    u uniform      u < share * (1 - t), or nothing is kept yet: written anew      u < share: kept rows

The paper compares with the last loss that was worse; from an untrained student, which gets better for long,
that would never grow.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_GROWTH = 0.1


class ReplayedRows(nn.Module):
    """Rows [capacity, S + 1] that were written, the latest ones, and the share of the batches they are for.

    All of it is buffers, which checkpoints hold.
    """

    kept: Tensor
    count: Tensor
    share: Tensor
    least_loss: Tensor

    def __init__(self, capacity: int, places: int, *, share: float) -> None:
        super().__init__()
        self.register_buffer("kept", torch.zeros(capacity, places + 1, dtype=torch.int64))
        self.register_buffer("count", torch.zeros(1, dtype=torch.int64))  # of all rows ever written
        self.register_buffer("share", torch.tensor([share], dtype=torch.float64))
        self.register_buffer("least_loss", torch.tensor([torch.inf], dtype=torch.float64))

    def is_due(self, uniform: float, *, progress: float) -> bool:
        """Whether a batch is to be written anew."""
        fresh = (1 - progress) * self.share.item()
        return uniform < fresh or (uniform < self.share.item() and self.count.item() == 0)

    def is_replayed(self, uniform: float) -> bool:
        """Whether a batch that is not written anew is drawn from the kept rows."""
        return uniform < self.share.item()

    def keep(self, words: Tensor) -> None:
        """Keep rows [n, S + 1], in the place of the oldest ones."""
        start = int(self.count.item())
        at = torch.arange(start, start + len(words)) % len(self.kept)
        self.kept[at[-len(self.kept) :]] = words[-len(self.kept) :]
        self.count += len(words)

    def drawn(self, rows: int, random: torch.Generator) -> Tensor:
        """Rows [rows, S + 1] that were kept, with repetition."""
        held = min(int(self.count.item()), len(self.kept))
        return self.kept[torch.randint(held, (rows,), generator=random)]

    def adapt(self, loss: float, *, margin: float) -> None:
        """Let the share follow the loss of held-out labels."""
        if loss >= self.least_loss.item() + margin:
            self.share.add_(_GROWTH).clamp_(max=1.0)
        self.least_loss.clamp_(max=loss)

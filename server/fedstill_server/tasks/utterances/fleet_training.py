"""How a fleet of utterances learns on the server: a wider bag of n-grams is its teacher."""

from __future__ import annotations

from torch import nn

from fedstill_server.families.ngrams import wide_bag
from fedstill_server.tasks.training import ServerTraining


class UtteranceTraining(ServerTraining):
    """Soft labels are [n, classes]."""

    def new_teacher(self) -> nn.Module:
        return wide_bag(self.config.classes, hidden=max(self.config.teacher.hidden, default=1))

"""How a fleet of next sub-words learns on the server: its teacher is a network of its first family."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from fedstill_server.families import build_student
from fedstill_server.randomness import derived_seed
from fedstill_server.tasks.text.fleet_training import TextTraining


@dataclass(frozen=True, kw_only=True)
class NextSubwordTraining(TextTraining):
    """Soft labels are the likeliest next sub-words of every place, and draws of the others."""

    width: int = 0  # the teacher's sizes are those of its family
    state_width: int = 0

    def new_teacher(self) -> nn.Module:
        config = self.config
        seed = derived_seed(config.seed, 0, "teacher")
        return build_student(config.families[0], config.input_shape, config.classes, seed=seed)

"""How a fleet of texts learns on the server: its teacher is a network of its first family.

The teacher begins as that family's model does, with the weights of the model and a head of its own, learns
the public labels, and the students learn what it says: between students that know their language already
there is no need of a larger one. What a family's rule freezes (`hf:models/bert+lora:8`) is frozen in the
teacher.
"""

from __future__ import annotations

from torch import nn

from fedstill_server.families import build_student
from fedstill_server.randomness import derived_seed
from fedstill_server.tasks.training import ServerTraining


class SubwordTraining(ServerTraining):
    """Soft labels are [n, classes]."""

    def new_teacher(self) -> nn.Module:
        config = self.config
        seed = derived_seed(config.seed, 0, "teacher")
        return build_student(config.families[0], config.input_shape, config.classes, seed=seed)

"""A torch module as a teacher: the only kind that shows its layers, and through which gradients can go."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from fedstill_proto.arrays import FloatArray
from torch import nn

from fedstill_server.distill.layers import attention_parts, inner_layers, parts_shown, watched
from fedstill_server.state import digest_of
from fedstill_server.teachers.interface import TeacherAnswers, checked

_ROWS_AT_ONCE = 4096


class TorchTeacher:
    """Takes the module as it is; it answers in eval mode without gradients, and is never changed."""

    def __init__(self, network: nn.Module, *, name: str = "torch teacher") -> None:
        self.network = network.eval()
        self.name = name
        self.layers, self.attention = inner_layers(network), attention_parts(network)
        state = {key: value.detach().cpu().numpy() for key, value in network.state_dict().items()}
        # Two modules of the same weights may differ in what they do with them; repr names their parts.
        state["structure"] = np.frombuffer(repr(network).encode(), np.uint8)
        self.digest = digest_of(state)

    def parts(self, kind: str) -> tuple[str, ...]:
        """The names of its parts of a kind (see layers.parts_shown)."""
        return parts_shown(self.network, kind)

    def answer(self, x: FloatArray, *, layers: Sequence[str] = ()) -> TeacherAnswers:
        was_training = self.network.training
        self.network.eval()
        logits, features = [], []
        with torch.no_grad(), watched(self.network, layers) as seen:
            for start in range(0, len(x), _ROWS_AT_ONCE):
                logits.append(self.network(torch.from_numpy(x[start : start + _ROWS_AT_ONCE])))
                features.append(dict(seen))
        self.network.train(was_training)
        return TeacherAnswers(
            checked(torch.cat(logits).numpy(), rows=len(x), who=self.name),
            {layer: torch.cat([part[layer] for part in features]).numpy() for layer in layers},
        )

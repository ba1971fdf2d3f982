"""Deep-to-shallow self distillation (Zhang et al. 2019, "Be Your Own Teacher", arXiv 1905.08094).

An auxiliary head after each hidden layer learns the labels, and the answers of the deepest one. Every exit of
a student of the family mlp-64-32-16 is a student too, of the families mlp-64 and mlp-64-32, and is exported:
a device takes the depth that it can afford.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from fedstill_proto.arrays import Parameters
from torch import Tensor, nn

from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.layers import inner_layers
from fedstill_server.distill.technique import Setting, Step, Technique, Term
from fedstill_server.families.sizes import widths_of
from fedstill_server.losses import cross_entropy, kd_loss
from fedstill_server.training.networks import parameters_of


class EarlyExits(Technique):
    name: ClassVar[str] = "exits"
    source: ClassVar[str] = "Zhang et al. 2019, arXiv 1905.08094"
    line: ClassVar[str] = "heads after each hidden layer learn from the deepest, and all are exported"

    def pairs(self, student: Sequence[str], teacher: Sequence[str]) -> tuple[tuple[str, str], ...]:
        return tuple((layer, "logits") for layer in student[:-1])

    def begin(self, setting: Setting) -> Term:
        sized = widths_of(setting.family)
        if sized is None or sized[0] != "mlp" or len(sized[1]) < 2:
            raise DistillError(
                f"exits: {setting.family} has none; they need a family of two hidden layers or more, such as "
                "mlp-32-32"
            )
        return _Term(inner_layers(setting.student)[:-1], sized[1], setting.classes)


class _Term(Term):
    def __init__(self, layers: Sequence[str], widths: Sequence[int], classes: int) -> None:
        super().__init__()
        self.layers, self.widths = layers, widths
        self.heads = nn.ModuleList(nn.Linear(width, classes) for width in widths[:-1])

    def loss(self, step: Step) -> Tensor:
        deepest = step.logits.detach()
        losses = [
            kd_loss(logits, deepest, temperature=step.temperature, mask=step.weights)
            for logits in self._exits(step)
        ]
        if step.teacher_logits is not None:
            losses += [
                kd_loss(logits, step.teacher_logits, temperature=step.temperature, mask=step.weights)
                for logits in self._exits(step)
            ]
        return torch.stack(losses).sum()

    def hard_loss(self, step: Step) -> Tensor:
        losses = [cross_entropy(logits, step.labels, mask=step.labelled) for logits in self._exits(step)]
        return torch.stack(losses).sum()

    def _exits(self, step: Step) -> list[Tensor]:
        # The features of a layer come before its activation.
        return [
            head(torch.relu(step.features[layer]))
            for head, layer in zip(self.heads, self.layers, strict=True)
        ]

    def exits(self, student: nn.Module) -> dict[str, Parameters]:
        own = parameters_of(student)
        exits = {}
        for depth, head in enumerate(self.heads, start=1):
            family = "-".join(["mlp", *map(str, self.widths[:depth])])
            kept = {name: own[name] for name in own if name.startswith("hidden.") and _layer(name) < depth}
            exits[family] = kept | {f"output.{name}": value for name, value in parameters_of(head).items()}
        return exits


def _layer(name: str) -> int:
    return int(name.split(".")[1])

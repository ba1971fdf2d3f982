"""MiniLM (Wang et al. 2020, arXiv 2002.10957; 2021, arXiv 2012.15828): relations within a layer's attention.

The student's last layer learns how the queries, keys and values of a teacher's layer relate to each other
(losses/self_attention.py). It has any width and any number of layers; nothing else of it is told what to be,
so that embeddings or answers are learned beside it, or after.

`relations` are pairs of q, k and v: `qq,kk,vv` of the second version, or `qk,vv` of the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from fedstill_server.config.options import option
from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.plan import check
from fedstill_server.distill.technique import Setting, Step, Technique, Term
from fedstill_server.distill.techniques.hidden_states import by_place
from fedstill_server.losses import self_attention_relation_loss

_KINDS = "qkv"  # in the order in which a network's projections are named


class MiniLm(Technique):
    name: ClassVar[str] = "minilm"
    source: ClassVar[str] = "Wang et al. 2020, arXiv 2002.10957, and 2021, arXiv 2012.15828"
    line: ClassVar[str] = "how queries, keys and values of the last layer relate"
    compares: ClassVar[str] = "projections"

    relations: tuple[str, ...] = option(("qq", "kk", "vv"), "Pairs of q, k and v, such as qk.")
    heads: int = option(12, "Heads that the vectors of both are cut into; it divides both widths.", least=1)
    layer: int = option(0, "The teacher's layer, from 1; 0 is the last.", least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        fits = bool(self.relations) and all(
            len(pair) == 2 and set(pair) <= set(_KINDS) for pair in self.relations
        )
        check(fits, "relations", self.relations, "a list of pairs of q, k and v")

    def pairs(self, student: Sequence[str], teacher: Sequence[str]) -> tuple[tuple[str, str], ...]:
        for who, projections in (("student", student), ("teacher", teacher)):
            if not projections:
                raise DistillError(
                    f"minilm: the {who} shows no queries, keys and values; it takes two transformers, torch "
                    "modules both, whose projections are layers of their own"
                )
        layers = len(teacher) // len(_KINDS)
        if self.layer > layers:
            raise DistillError(f"minilm.layer: {self.layer}, and the teacher has {layers} layers")
        last = len(_KINDS) * (self.layer or layers)
        return tuple(zip(student[-len(_KINDS) :], teacher[last - len(_KINDS) : last], strict=True))

    def begin(self, setting: Setting) -> Term:
        for mine, theirs in setting.pairs:
            widths = setting.student_features[mine].shape[-1], setting.teacher_features[theirs].shape[-1]
            if any(width % self.heads for width in widths):
                raise DistillError(
                    f"minilm.heads: {self.heads} divide not both widths, {widths[0]} and {widths[1]}"
                )
        return _Term(self, setting)


class _Term(Term):
    def __init__(self, technique: MiniLm, setting: Setting) -> None:
        super().__init__()
        self.relations, self.heads, self.pairs = technique.relations, technique.heads, setting.pairs

    def loss(self, step: Step) -> Tensor:
        student = {kind: by_place(step.features[mine], step) for kind, (mine, _) in self._by_kind()}
        teacher = {
            kind: by_place(step.teacher_features[theirs], step) for kind, (_, theirs) in self._by_kind()
        }
        losses = [
            self_attention_relation_loss(
                (student[pair[0]], student[pair[1]]),
                (teacher[pair[0]], teacher[pair[1]]),
                heads=self.heads,
                mask=step.places,
            )
            for pair in self.relations
        ]
        return torch.stack(losses).mean()

    def _by_kind(self) -> zip[tuple[str, tuple[str, str]]]:
        return zip(_KINDS, self.pairs, strict=True)

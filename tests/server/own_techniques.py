"""Techniques and recipes of one's own, as a person may write them; named by tests as module:name."""

from __future__ import annotations

from dataclasses import replace

from fedstill_server.config.options import option
from fedstill_server.distill.job import DistillJob, Trained
from fedstill_server.distill.stage_runner import Recipe, StageRunner
from fedstill_server.distill.technique import Setting, Step, Technique, Term
from fedstill_server.distill.techniques.kd import KnowledgeDistillation
from torch import Tensor


class LogitDistance(Technique):
    """The mean squared distance of centred logits."""

    name = "logit-distance"
    source = "Ba and Caruana 2014, arXiv 1312.6184"
    line = "the teacher's logits, squared distance"

    margin: float = option(0.0, "Squared distances below it are none.", least=0)

    def begin(self, setting: Setting) -> Term:
        return _Distance(self.margin)


class _Distance(Term):
    def __init__(self, margin: float) -> None:
        super().__init__()
        self.margin = margin

    def loss(self, step: Step) -> Tensor:
        mine, theirs = (z - z.mean(-1, keepdim=True) for z in (step.logits, step.taught))
        return ((mine - theirs).square().mean() - self.margin).relu()


class ShortThenLong(Recipe):
    """An epoch alone, and then the whole plan from there."""

    name = "short-then-long"
    source = "a test"
    line = "trains twice"

    def run(self, base: DistillJob, runner: StageRunner) -> Trained:
        first = runner.train("short", replace(base, plan=replace(base.plan, epochs=1)))
        runner.notes.append("trained twice")
        return runner.train("student", replace(base, start=first.parameters))


class AlsoKd(KnowledgeDistillation):
    """Of the name of another."""


class AlsoKd2(KnowledgeDistillation):
    """And again."""


class Listed(KnowledgeDistillation):
    """With an option of a type that none has."""

    table: bytes = option(b"", "None.")


class Nameless(Technique):
    """It tells nothing."""


NUMBER = 7

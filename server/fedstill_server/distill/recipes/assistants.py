"""Progressive distillation through assistants (Mirzadeh et al. 2020, arXiv 1902.03393): where the step from
the teacher to the student is long, networks of sizes between go first, each taught by the one before.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from fedstill_server.config.options import option
from fedstill_server.distill.job import DistillJob, Trained
from fedstill_server.distill.plan import check
from fedstill_server.distill.stage_runner import Recipe, StageRunner, teacher_of
from fedstill_server.distill.techniques.kd import KnowledgeDistillation
from fedstill_server.families import FAMILIES


class Assistants(Recipe):
    name: ClassVar[str] = "assistants"
    source: ClassVar[str] = "Mirzadeh et al. 2020, arXiv 1902.03393"
    line: ClassVar[str] = "a chain of ever smaller networks between teacher and student"

    families: tuple[str, ...] = option(("mlp-64",), "Networks between, the largest first.")

    def __post_init__(self) -> None:
        super().__post_init__()
        check(bool(self.families), "families", self.families, "a list of at least one family")

    def run(self, base: DistillJob, runner: StageRunner) -> Trained:
        techniques = base.techniques or (KnowledgeDistillation(),)
        job = replace(base, techniques=techniques)
        for place, family in enumerate(FAMILIES.named(self.families, where="assistants.families")):
            assistant = replace(job, family=family, start=None)
            made = runner.train(f"assistant-{place}-{family}", assistant)
            job = replace(job, teacher=teacher_of(base, made), answers=None)
        return runner.train("student", job)

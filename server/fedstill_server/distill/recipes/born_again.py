"""Born-again networks (Furlanello et al. 2018, arXiv 1805.04770): a student teaches its own successor.

Generation 0 learns from the teacher (from the labels, if there is none), generation g from generation g - 1.
It ends when the accuracy on the validation examples falls, or after `generations`. With `ensemble`, a last
student learns from the mean of all generations. The one that validates best is kept.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from fedstill_server.config.options import option
from fedstill_server.distill.job import DistillJob, Trained
from fedstill_server.distill.stage_runner import Recipe, StageRunner, network_of, teacher_of
from fedstill_server.distill.teachers.ensemble import EnsembleTeacher
from fedstill_server.distill.techniques.kd import KnowledgeDistillation
from fedstill_server.randomness import derived_seed


class BornAgain(Recipe):
    name: ClassVar[str] = "born-again"
    source: ClassVar[str] = "Furlanello et al. 2018, arXiv 1805.04770"
    line: ClassVar[str] = "generations of the same student, each taught by the one before, and their ensemble"

    generations: int = option(3, "Students after the first, each taught by the one before.", least=1)
    ensemble: bool = option(True, "Whether all of them together teach the last.")

    def run(self, base: DistillJob, runner: StageRunner) -> Trained:
        made = [runner.train("generation-0", base)]
        scores = [runner.accuracy(network_of(base, made[0]))]
        for generation in range(1, self.generations + 1):
            plan = replace(base.plan, seed=derived_seed(base.plan.seed, generation, "born-again"))
            job = self._taught(base, plan=plan, teacher=teacher_of(base, made[-1]))
            made.append(runner.train(f"generation-{generation}", job))
            scores.append(runner.accuracy(network_of(base, made[-1])))
            if scores[-1] < scores[-2]:
                break
        if self.ensemble:
            everyone = EnsembleTeacher(
                [teacher_of(base, generation) for generation in made], temperature=base.plan.temperature
            )
            made.append(runner.train("from-all", self._taught(base, plan=base.plan, teacher=everyone)))
            scores.append(runner.accuracy(network_of(base, made[-1])))
        runner.notes.append("born-again: validation " + ", ".join(f"{score:.1%}" for score in scores))
        return made[max(range(len(made)), key=scores.__getitem__)]

    def _taught(self, base: DistillJob, **changes: object) -> DistillJob:
        techniques = base.techniques or (KnowledgeDistillation(),)
        return replace(base, techniques=techniques, answers=None, **changes)  # type: ignore[arg-type]

"""Word-level and sequence-level distillation of a small language model, on public plays; one seed.

    python benchmarks/text_distillation.py

1,500 speeches of the keyboard's public plays, of ten of which one is held out to test. The teacher is a
gru-64-128 that learned them for 8 epochs; each student, a gru-32-64, learns for 6. Accuracy and perplexity
are those of the held-out next words.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from fedstill_server.distill.engine import train
from fedstill_server.distill.job import DistillJob, Trained
from fedstill_server.distill.plan import DistillPlan
from fedstill_server.distill.recipes.sequence_level import SequenceLevel, SyntheticText
from fedstill_server.distill.registry import TECHNIQUES
from fedstill_server.distill.scoring import accuracy_on, perplexity_on
from fedstill_server.distill.stage_runner import Recipe, StageRunner, network_of
from fedstill_server.distill.tasks import DistillTask
from fedstill_server.distill.teachers import TorchTeacher
from fedstill_server.distill.text_task import TextDistillTask, open_text
from fedstill_sim.tasks.text.data import load_keyboard

TEACHER, STUDENT = "gru-64-128", "gru-32-64"
PLAN = DistillPlan(
    epochs=6,
    batch_size=32,
    learning_rate=5e-3,
    weight_decay=0.05,
    temperature=2.0,
    soft_weight=0.7,
    online=True,
)


def plays(speeches: int) -> DistillTask:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "plays.txt"
        file.write_text("\n".join(text.replace("\n", " ") for text in load_keyboard().public[:speeches]))
        return open_text(str(file), words=2000, places=16)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--speeches", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    task = plays(given.speeches)
    assert task.public.y is not None
    own = replace(TextDistillTask.teacher_plan, seed=given.seed)
    alone = DistillJob(family=TEACHER, classes=task.classes, x=task.public.x, labels=task.public.y, plan=own)
    taught = train(alone)
    base = replace(
        alone,
        family=STUDENT,
        plan=replace(PLAN, seed=given.seed),
        teacher=TorchTeacher(network_of(alone, taught)),
    )
    kd = (TECHNIQUES.load("kd")(),)
    sampled = SequenceLevel(warmth=1.0)
    recipes: Mapping[str, tuple[Recipe, DistillJob]] = {
        "sequence-level, greedy": (SequenceLevel(), base),
        "sequence-level, sampled": (sampled, base),
        "sequence-level, sampled, and kd": (sampled, replace(base, techniques=kd)),
        "the same beside the public rows": (replace(sampled, mixed=True), replace(base, techniques=kd)),
        "synthetic-text and kd": (SyntheticText(count=len(task.public)), replace(base, techniques=kd)),
    }
    show("teacher", task, alone, taught)
    labels = replace(base, teacher=None, plan=replace(base.plan, online=False))
    show("labels alone", task, base, train(labels))
    show("kd", task, base, train(replace(base, techniques=kd)))
    for name, (recipe, job) in recipes.items():
        show(name, task, job, recipe.run(job, StageRunner()))
    return 0


def show(name: str, task: DistillTask, job: DistillJob, made: Trained) -> None:
    network = network_of(job, made)
    accuracy, perplexity = accuracy_on(network, task.test), perplexity_on(network, task.test)
    print(f"{name:34s} accuracy {accuracy:6.1%}   perplexity {perplexity:9.1f}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())

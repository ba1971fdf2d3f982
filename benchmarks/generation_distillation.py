"""Students that write: on-policy, reverse and skewed distillation against kd, on public plays.

    python benchmarks/generation_distillation.py               all rows, 5 seeds: a quarter of an hour
    python benchmarks/generation_distillation.py --seeds 4 --speeches 300 --words 300

700 speeches of the keyboard's public plays, of ten of which one is held out to test; 600 words. The
teacher of a seed is a gru-64-128 that learned them for 8 epochs; each student, a gru-24-48, learns for 6, all
of them with the same first weights, steps and share of labels (3 in 10), both sides at a temperature of 1. On
the left, the perplexity and the accuracy of held-out next words. Then what a student writes: 32 words, drawn
from what it says, behind each of the beginnings (4 words) of held-out rows, twice: the teacher's perplexity
of them, of all pairs of words the share that are different ones, and the share that their own row has had
before. Differences from kd are paired by seed, with their 95 % interval (Student's t); those of perplexities
are in per cent.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from fedstill_server.distill.engine import train
from fedstill_server.distill.job import DistillJob, Trained
from fedstill_server.distill.on_policy.measures import distinct, perplexity_of, self_repetition
from fedstill_server.distill.plan import DistillPlan
from fedstill_server.distill.recipes.sequence_level import SequenceLevel, continued
from fedstill_server.distill.registry import TECHNIQUES
from fedstill_server.distill.scoring import accuracy_on, perplexity_on
from fedstill_server.distill.stage_runner import StageRunner, network_of
from fedstill_server.distill.tasks import DistillTask
from fedstill_server.distill.teachers import TorchTeacher
from fedstill_server.distill.text_task import TextDistillTask, open_text
from fedstill_sim.tasks.text.data import load_keyboard
from scipy import stats

TEACHER, STUDENT = "gru-64-128", "gru-24-48"
PLACES = 16
GIVEN, WRITTEN, TIMES = 4, 32, 2  # words, words, rows of each beginning
PLAN = DistillPlan(
    epochs=6,
    batch_size=16,
    learning_rate=5e-3,
    weight_decay=0.05,
    temperature=1.0,
    soft_weight=0.7,
    online=True,
)


@dataclass(frozen=True)
class Measured:
    """One row of one seed; what is written has no units but words."""

    perplexity: float
    accuracy: float
    read: float  # the teacher's perplexity of what was written
    distinct: float
    repeated: float
    seconds: float


class Seed:
    """The teacher of a seed, and the job that rows change."""

    def __init__(self, task: DistillTask, seed: int) -> None:
        assert task.public.y is not None
        self.task, self.seed = task, seed
        alone = DistillJob(
            family=TEACHER,
            classes=task.classes,
            x=task.public.x,
            labels=task.public.y,
            plan=replace(TextDistillTask.teacher_plan, batch_size=16, seed=seed),
            held_out=task.validation,
        )
        self.taught = train(alone)
        self.teacher = TorchTeacher(network_of(alone, self.taught))
        self.base = replace(alone, family=STUDENT, plan=replace(PLAN, seed=seed), teacher=self.teacher)

    def measured(self, made: Trained, seconds: float) -> Measured:
        network = network_of(self.base, made)
        given = np.repeat(self.task.test.x[:, :GIVEN], TIMES, axis=0)
        rows = continued(TorchTeacher(network), given, places=GIVEN + WRITTEN - 1, warmth=1.0, seed=self.seed)
        own = rows[:, GIVEN:]
        return Measured(
            perplexity=perplexity_on(network, self.task.test),
            accuracy=accuracy_on(network, self.task.test),
            read=perplexity_of(self.teacher, rows, beginning=GIVEN),
            distinct=distinct(own, length=2),
            repeated=self_repetition(own, length=2),
            seconds=seconds,
        )

    def taught_by(self, name: str, **options: object) -> Trained:
        return train(replace(self.base, techniques=(TECHNIQUES.load(name)(**options),)))

    def labels_alone(self) -> Trained:
        return train(replace(self.base, teacher=None, plan=replace(self.base.plan, online=False)))

    def sequences(self, **options: object) -> Trained:
        job = replace(self.base, techniques=(TECHNIQUES.load("kd")(),))
        runner = StageRunner()
        made = SequenceLevel(warmth=1.0, **options).run(job, runner)  # type: ignore[arg-type]
        if self.seed == 0:
            print(*runner.notes, sep="\n", flush=True)
        return made


ROWS: Mapping[str, Callable[[Seed], Trained]] = {
    "teacher": lambda seed: seed.taught,
    "labels alone": Seed.labels_alone,
    "kd": lambda seed: seed.taught_by("kd"),
    "sequence-level and kd": Seed.sequences,
    "the same, filtered": lambda seed: seed.sequences(most_perplexity=400.0, unique=True, agreement=0.3),
    "reverse-kl": lambda seed: seed.taught_by("reverse-kl"),
    "skewed-kl": lambda seed: seed.taught_by("skewed-kl"),
    "skewed-kl, adaptive": lambda seed: seed.taught_by("skewed-kl", adaptive=True, share=0.2),
    "gkd": lambda seed: seed.taught_by("gkd"),
    "gkd, all own, reverse": lambda seed: seed.taught_by("gkd", share=1.0, beta=1.0),
    "minillm": lambda seed: seed.taught_by("minillm"),
}


def plays(speeches: int, words: int) -> DistillTask:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "plays.txt"
        file.write_text("\n".join(text.replace("\n", " ") for text in load_keyboard().public[:speeches]))
        return open_text(str(file), words=words, places=PLACES)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--speeches", type=int, default=700)
    parser.add_argument("--words", type=int, default=600)
    parser.add_argument("--only", default="", help="rows that are measured beside kd, separated by commas")
    given = parser.parse_args()
    only = set(filter(None, given.only.split(",")))
    names = [name for name in ROWS if not only or name in only or name == "kd"]
    task = plays(given.speeches, given.words)
    print(f"{len(task.public):,d} rows to learn, {len(task.test)} to test", flush=True)
    found: dict[str, list[Measured]] = {name: [] for name in names}
    for number in range(given.seeds):
        seed = Seed(task, number)
        for name in names:
            started = time.process_time()
            made = ROWS[name](seed)
            found[name].append(seed.measured(made, time.process_time() - started))
        print(f"\n{number + 1} seeds", flush=True)
        show(found)
    return 0


def show(found: Mapping[str, Sequence[Measured]]) -> None:
    print(
        f"{'':22s} {'perplexity':>10s} {'over kd, %':>13s} {'accuracy':>9s} {'over kd':>13s}"
        f" {'read':>6s} {'over kd, %':>14s} {'distinct':>8s} {'repeated':>8s} {'s':>5s}"
    )
    kd = found["kd"]
    for name, rows in found.items():
        perplexity = difference([100 * math.log(a.perplexity / b.perplexity) for a, b in both(rows, kd)])
        accuracy = difference([100 * (a.accuracy - b.accuracy) for a, b in both(rows, kd)])
        read = difference([100 * math.log(a.read / b.read) for a, b in both(rows, kd)])
        mean = Measured(*np.mean([list(vars(row).values()) for row in rows], axis=0))
        print(
            f"{name:22s} {mean.perplexity:10.1f} {perplexity:>13s} {mean.accuracy:9.1%} {accuracy:>13s}"
            f" {mean.read:6.1f} {read:>14s} {mean.distinct:8.1%} {mean.repeated:8.2%} {mean.seconds:5.1f}",
            flush=True,
        )


def both(rows: Sequence[Measured], kd: Sequence[Measured]) -> list[tuple[Measured, Measured]]:
    return [] if rows is kd else list(zip(rows, kd, strict=True))


def difference(values: Sequence[float]) -> str:
    """The mean of paired differences with its 95 % interval; empty for none."""
    if not values:
        return ""
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values) if len(values) > 1 else math.nan
    return f"{np.mean(values):+.1f} ± {half:.1f}"


if __name__ == "__main__":
    raise SystemExit(main())

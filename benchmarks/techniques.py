"""Every technique of fedstill-server distill against plain training and plain distillation, on the same
seeds.

    python benchmarks/techniques.py                    all rows, 10 seeds
    python benchmarks/techniques.py --seeds 2 --only kd,rkd

Digits: a teacher of 26,122 parameters learns the labels of all 1,197 examples that are neither tested on nor
validated with; a student of 2,410 knows 100 labels and the other 1,097 examples without any. All rows of a
seed have the same split, teacher, first weights and number of steps; differences are paired by seed, with
their 95 % interval (Student's t). Plain training gets as many steps on its 100 labels.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from fedstill_proto.arrays import Parameters
from fedstill_server.calibration import calibration
from fedstill_server.data.examples import Examples
from fedstill_server.distill.engine import train
from fedstill_server.distill.job import DistillJob, Trained, gathered
from fedstill_server.distill.plan import DistillPlan
from fedstill_server.distill.registry import TECHNIQUES
from fedstill_server.distill.stage_runner import StageRunner
from fedstill_server.distill.tasks import DistillTask, open_task
from fedstill_server.distill.teachers import EnsembleTeacher, EstimatorTeacher, Teacher, TorchTeacher
from fedstill_server.distill.technique import Technique
from fedstill_server.distill.techniques.forgetting import expanded
from fedstill_server.families import build_student, initial_parameters
from fedstill_server.training.networks import load_parameters, logits_of
from scipy import stats
from sklearn.ensemble import RandomForestClassifier

TEACHER, STUDENT, TWO_LAYERS = "mlp-128-128", "mlp-32", "mlp-30-12"
PLAN = DistillPlan()
WITH_KD = (
    "fitnets", "rkd", "similarity", "pkt", "crd", "earlier-teacher", "ema-teacher", "mutual", "curriculum",
    "confidence",
)  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """One row of one seed: accuracy and ECE on the test examples, and what it took."""

    accuracy: float
    ece: float
    seconds: float


class Seed:
    """The split of a seed, its teachers, and the job that rows change."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.task: DistillTask = open_task("digits", seed=seed)
        self.plan = replace(PLAN, seed=seed)
        self.teacher = self.trained_on_labels(TEACHER)
        x, labels = gathered(self.task.public, self.task.private)
        self.job = DistillJob(
            family=STUDENT, classes=10, x=x, labels=labels, plan=self.plan, teacher=self.teacher
        )
        self.kd = (TECHNIQUES.load("kd")(),)

    def trained_on_labels(self, family: str, *, seed: int | None = None, shift: int = 0) -> TorchTeacher:
        """Train a teacher on all labels; `shift` corrupts them: every class gets another's label."""
        x, y = self.task.teaching.x, self.task.teaching.y
        assert y is not None
        plan = replace(DistillTask.teacher_plan, seed=self.seed if seed is None else seed)
        made = train(DistillJob(family=family, classes=10, x=x, labels=(y + shift) % 10, plan=plan))
        return TorchTeacher(self.network(made.family, made.parameters))

    def network(self, family: str, parameters: Parameters):  # type: ignore[no-untyped-def]
        return load_parameters(build_student(family, (8, 8), 10), parameters)

    def measured(self, family: str, parameters: Parameters, seconds: float) -> Measured:
        return self.of_logits(logits_of(self.network(family, parameters), self.task.test.x), seconds)

    def of_logits(self, logits: np.ndarray, seconds: float = 0.0) -> Measured:
        assert self.task.test.y is not None
        found = calibration(logits, self.task.test.y)
        return Measured(found.accuracy, found.ece, seconds)

    def distilled(
        self, *techniques: Technique, teacher: Teacher | None = None, **changes: object
    ) -> Measured:
        job = replace(self.job, techniques=techniques or self.kd, teacher=teacher or self.teacher, **changes)
        made = train(job)
        return self.measured(made.family, made.parameters, made.seconds)

    def plain(self, examples: Examples, *, family: str = STUDENT, noise: float = 0.0) -> Measured:
        """Train for the same number of steps on labels alone."""
        assert examples.y is not None
        steps = self.plan.epochs * -(-len(self.job.x) // self.plan.batch_size)
        epochs = round(steps / -(-len(examples) // self.plan.batch_size))
        plan = replace(self.plan, epochs=epochs, input_noise=noise)
        made = train(DistillJob(family=family, classes=10, x=examples.x, labels=examples.y, plan=plan))
        return self.measured(family, made.parameters, made.seconds)

    def recipe(self, name: str, **options: object) -> Measured:
        started = time.perf_counter()
        shop = StageRunner(validation=self.task.validation)
        made: Trained = TECHNIQUES.load(name)(**options).run(replace(self.job, techniques=self.kd), shop)  # type: ignore[call-arg]
        return self.measured(made.family, made.parameters, time.perf_counter() - started)


def single_rows(seed: Seed) -> Mapping[str, Callable[[], Measured]]:
    private, everything = seed.task.private, seed.task.teaching
    x, y = everything.x, everything.y
    assert y is not None
    all_labels = {"x": x, "labels": y}
    rows: dict[str, Callable[[], Measured]] = {
        "teacher": lambda: seed.of_logits(seed.teacher.answer(seed.task.test.x).logits),
        "plain": lambda: seed.plain(private),
        "plain, input noise": lambda: seed.plain(private, noise=0.1),
        "kd": lambda: seed.distilled(),
        **{
            name: (lambda name=name: seed.distilled(TECHNIQUES.load(name)()))
            for name in ("dkd", "dist", "standardized", "top-k")
        },
        **{
            f"kd + {name}": (lambda name=name: seed.distilled(*seed.kd, TECHNIQUES.load(name)()))
            for name in WITH_KD
        },
        "kd + fitnets, learned map": lambda: seed.distilled(
            *seed.kd, TECHNIQUES.load("fitnets")(layers="learned")
        ),  # type: ignore[call-arg]
        "ema-teacher alone": lambda: seed.distilled(TECHNIQUES.load("ema-teacher")()),
        "born-again": lambda: seed.recipe("born-again"),
        "assistants": lambda: seed.recipe("assistants"),
        "pruning": lambda: seed.recipe("pruning"),
        **{
            name: (lambda name=name: seed.recipe(name))
            for name in ("noise", "deep-inversion", "dafl", "dfad")
        },
        "noise of much contrast": lambda: seed.recipe("noise", contrast=4.0),
        "forest as teacher": lambda: seed.distilled(teacher=forest(seed)),
        "plain, all labels": lambda: seed.plain(everything),
        "kd, all labels": lambda: seed.distilled(**all_labels),
    }
    return rows


def forest(seed: Seed) -> EstimatorTeacher:
    x, y = seed.task.teaching.x, seed.task.teaching.y
    fitted = RandomForestClassifier(200, random_state=seed.seed).fit(x.reshape(len(x), -1), y)
    return EstimatorTeacher(fitted, classes=10)


def grouped_rows(seed: Seed, wanted: Callable[[str], bool]) -> dict[str, Measured]:
    """Measure rows that share what they train."""
    found: dict[str, Measured] = {}
    if wanted("exits"):
        deep = replace(seed.job, family=TWO_LAYERS, techniques=(*seed.kd, TECHNIQUES.load("exits")()))
        made = train(deep)
        found["kd, two layers"] = seed.distilled(family=TWO_LAYERS)
        found["kd + exits, deepest"] = seed.measured(TWO_LAYERS, made.parameters, made.seconds)
        for family, parameters in made.exits.items():
            found[f"kd + exits, exit {family}"] = seed.measured(family, parameters, made.seconds)
            found[f"kd, {family} alone"] = seed.distilled(family=family)
    if wanted("attention"):
        teacher = seed.trained_on_labels("cnn-16-32")
        maps = TECHNIQUES.load("attention")()
        found["kd, cnn-4-8"] = seed.distilled(family="cnn-4-8", teacher=teacher)
        found["kd + attention, cnn-4-8"] = seed.distilled(*seed.kd, maps, family="cnn-4-8", teacher=teacher)
    if wanted("teachers"):
        good = [seed.trained_on_labels(TEACHER, seed=1000 + 10 * seed.seed + k) for k in range(5)]
        spoilt = [*good[:4], seed.trained_on_labels(TEACHER, seed=1000 + 10 * seed.seed + 4, shift=1)]
        for name, group in (("5 teachers", good), ("1 of 5 corrupted", spoilt)):
            for how in ("probabilities", "logits", "agreement"):
                ensemble = EnsembleTeacher(group, combination=how, temperature=seed.plan.temperature)
                found[f"{name}, {how}"] = seed.distilled(teacher=ensemble)
    return found


def forgetting(seed: Seed) -> dict[str, tuple[float, float, float]]:
    """Train classes 0 to 4 first, then labels of 5 to 9 alone: accuracy on old, new and all classes."""
    x, y = seed.task.teaching.x, seed.task.teaching.y
    assert y is not None
    test_x, test_y = seed.task.test.x, seed.task.test.y
    assert test_y is not None
    old = train(DistillJob(family=STUDENT, classes=5, x=x[y < 5], labels=y[y < 5], plan=seed.plan))
    teacher = TorchTeacher(load_parameters(build_student(STUDENT, (8, 8), 5), old.parameters))
    start = expanded(old.parameters, initial_parameters(STUDENT, (8, 8), 10, seed.seed))
    plan = replace(seed.plan, soft_weight=0.5, epochs=30, temperature=2.0)
    new = DistillJob(family=STUDENT, classes=10, x=x[y >= 5], labels=y[y >= 5], plan=plan, start=start)
    lwf = replace(new, teacher=teacher, techniques=(TECHNIQUES.load("lwf")(),))
    both_x, both_labels = gathered(Examples(new.x, new.labels), Examples(seed.task.public.x))
    jobs = {
        "labels of new classes alone": new,
        "lwf": lwf,
        "lwf, and the unlabelled public set": replace(lwf, x=both_x, labels=both_labels),
    }
    found = {}
    for name, job in jobs.items():
        logits = logits_of(seed.network(STUDENT, train(job).parameters), test_x)
        old_rows = test_y < 5
        found[name] = (
            float((logits[old_rows, :5].argmax(-1) == test_y[old_rows]).mean()),
            float((5 + logits[~old_rows, 5:].argmax(-1) == test_y[~old_rows]).mean()),
            float((logits.argmax(-1) == test_y).mean()),
        )
    return found


def step_cost(seed: Seed, family: str, *, repeats: int = 5) -> float:
    """Compare the CPU time of a distillation step with cached answers with a plain step: medians of epochs.

    The two trainings take turns; their first epochs, which set things up, do not count.
    """
    x, y = seed.task.teaching.x, seed.task.teaching.y
    assert y is not None
    plan = replace(seed.plan, epochs=10)
    plain = DistillJob(family=family, classes=10, x=x, labels=y, plan=plan)
    distilled = replace(plain, techniques=seed.kd, teacher=seed.teacher, answers=seed.teacher.answer(x))
    seconds: dict[str, list[float]] = {"plain": [], "distilled": []}
    for _ in range(repeats):
        for name, job in (("plain", plain), ("distilled", distilled)):
            ends: list[float] = []
            train(job, watch=lambda _report, ends=ends: ends.append(time.process_time()))  # type: ignore[misc]
            seconds[name] += np.diff(ends).tolist()
    return float(np.median(seconds["distilled"]) / np.median(seconds["plain"]))


def interval(differences: np.ndarray) -> tuple[float, float]:
    """Compute the mean, and half of its 95 % interval."""
    if len(differences) < 2:
        return float(differences.mean()), float("nan")
    half = stats.t.ppf(0.975, len(differences) - 1) * differences.std(ddof=1) / np.sqrt(len(differences))
    return float(differences.mean()), float(half)


@dataclass(frozen=True)
class SeedFigures:
    rows: dict[str, Measured]
    memory: dict[str, tuple[float, float, float]]
    cost: dict[str, float]


def measure_seed(number: int, words: tuple[str, ...]) -> SeedFigures:
    """Measure the rows whose names hold one of the words (none: all), and those they are compared with."""

    def wanted(name: str) -> bool:
        return not words or name in ("teacher", "plain", "kd", "noise") or any(word in name for word in words)

    started = time.perf_counter()
    seed = Seed(number)
    rows = {name: measure() for name, measure in single_rows(seed).items() if wanted(name)}
    rows |= grouped_rows(seed, wanted)
    memory = forgetting(seed) if wanted("lwf") else {}
    costs = {family: step_cost(seed, family) for family in (STUDENT, "cnn")} if wanted("cost") else {}
    print(f"seed {number}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    return SeedFigures(rows, memory, costs)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--only", default="", help="words that a row's name must hold one of, as in kd,rkd")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the figures of every seed here")
    options = parser.parse_args()
    words = tuple(word for word in options.only.split(",") if word)
    with ProcessPoolExecutor(options.processes, mp_context=get_context("spawn")) as pool:
        seeds = list(pool.map(measure_seed, range(options.seeds), [words] * options.seeds))
    rows = {name: [seed.rows[name] for seed in seeds] for name in seeds[0].rows}
    print_table(rows)
    for name in seeds[0].memory:
        old, new, both = np.mean([seed.memory[name] for seed in seeds], axis=0)
        print(f"{name:36s} old among old {old:6.1%}   new among new {new:6.1%}   all among all {both:6.1%}")
    cost = {family: float(np.median([seed.cost[family] for seed in seeds])) for family in seeds[0].cost}
    for family, ratio in cost.items():
        print(
            f"a distillation step with kept answers costs {ratio:.2f}x a plain step ({family}, batch of 64)"
        )
    if options.json:
        figures = {name: [vars(one) for one in each] for name, each in rows.items()}
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    return print_verdicts(rows, cost)


def print_table(rows: Mapping[str, list[Measured]]) -> None:
    def accuracies(name: str) -> np.ndarray:
        return np.array([one.accuracy for one in rows[name]])

    print(f"{'technique':32s} accuracy   points over plain       over kd    ECE      s")
    for name, each in rows.items():
        shown = []
        for base in ("plain", "kd"):
            mean, half = interval(100 * (accuracies(name) - accuracies(base)))
            shown.append("" if name == base else f"{mean:+.1f} ± {half:.1f}")
        ece, seconds = (np.mean([getattr(one, field) for one in each]) for field in ("ece", "seconds"))
        figures = f"{shown[0]:>19s} {shown[1]:>13s} {ece:6.1%} {seconds:6.1f}"
        print(f"{name:32s} {accuracies(name).mean():8.1%} {figures}")


def print_verdicts(rows: Mapping[str, list[Measured]], cost: Mapping[str, float]) -> int:
    """Print the bars, each with its figure; returns 1 if one is missed."""
    mean = {name: 100 * float(np.mean([one.accuracy for one in each])) for name, each in rows.items()}
    checks: list[tuple[str, bool]] = []

    def check(text: str, figure: float, holds: bool) -> None:
        checks.append((f"{text}: {figure:.2f}", holds))

    plain = max(mean["plain"], mean.get("plain, input noise", 0))
    check(
        "kd over the better plain training, points (5 or more)", mean["kd"] - plain, mean["kd"] - plain >= 5
    )
    retained = 100 * mean["kd"] / mean["teacher"]
    check("kd retains of the teacher, % (97 or more)", retained, retained >= 97)
    if "kd, all labels" in mean:
        loss = mean["plain, all labels"] - mean["kd, all labels"]
        check("with all labels kd loses, points (0.5 at most)", loss, loss <= 0.5)
    if "1 of 5 corrupted, agreement" in mean:
        lost = {
            how: mean[f"5 teachers, {how}"] - mean[f"1 of 5 corrupted, {how}"]
            for how in ("probabilities", "agreement")
        }
        share = lost["agreement"] / lost["probabilities"] if lost["probabilities"] > 0 else float("nan")
        text = f"agreement loses of what the mean loses ({lost['probabilities']:.2f}), share (0.5 at most)"
        check(text, share, lost["agreement"] <= 0.5 * lost["probabilities"])
    for name in ("deep-inversion", "dafl", "dfad"):
        if name in mean:
            gain, gap = mean[name] - mean["noise"], mean["kd"] - mean[name]
            check(f"{name} over noise, points (2 or more)", gain, gain >= 2)
            check(f"{name} below kd with data, points (5 at most)", gap, gap <= 5)
    for family, ratio in cost.items():
        check(f"step with kept answers over a plain one, {family} (1.15 at most)", ratio, ratio <= 1.15)
    for text, holds in checks:
        print(f"{'holds ' if holds else 'MISSED'}  {text}")
    return 0 if all(holds for _, holds in checks) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Speculative decoding on public plays: whether its texts have the teacher's chances, and how much sooner
they come.

    python benchmarks/speculative.py            # about 8 minutes of one core, most of it training

A causal transformer learns the keyboard's public plays; a smaller one is distilled from it, and drafts. Both
are packages that ONNX Runtime runs with one thread, as a device would. Texts of two words behind real
beginnings are counted against the teacher's exact chances (chi-square; several beginnings by Fisher's
method), and so are texts that the draft writes alone, which must fail. Then both ways write the same number
of words, in turn; the speed-up is the ratio of their times, with the least and the largest of the rounds.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
from fedstill_client.generation.sampling import Sampling, chances_of
from fedstill_client.generation.speculation import SpeculativeWriter
from fedstill_client.generation.writing import TextWriter
from fedstill_client.model.answering_student import AnsweringStudent
from fedstill_proto.package.artifact import StudentPackage, load_student
from fedstill_server.distill.engine import train
from fedstill_server.distill.job import DistillJob
from fedstill_server.distill.packing import pack_student
from fedstill_server.distill.plan import DistillPlan
from fedstill_server.distill.registry import TECHNIQUES
from fedstill_server.distill.stage_runner import network_of
from fedstill_server.distill.teachers import TorchTeacher
from fedstill_server.distill.text_task import TextDistillTask, open_text
from fedstill_sim.tasks.text.data import load_keyboard
from scipy import stats

TEACHER, STUDENT = "transformer-256-4-6", "transformer-64-2-1"
PROMPTS = ("my lord , i", "what is the", "he is", "i will not", "come , sir ,")
PLAN = DistillPlan(batch_size=16, learning_rate=1e-3, weight_decay=0.05)
LEAST_PER_BIN = 5


def plays(speeches: int) -> TextDistillTask:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "plays.txt"
        file.write_text("\n".join(text.replace("\n", " ") for text in load_keyboard().public[:speeches]))
        return open_text(str(file), words=2000, places=48)


def packages(folder: Path, given: argparse.Namespace) -> tuple[StudentPackage, StudentPackage]:
    task = plays(given.speeches)
    assert task.public.y is not None
    alone = DistillJob(
        family=given.teacher,
        classes=task.classes,
        x=task.public.x,
        labels=task.public.y,
        plan=DistillPlan(
            epochs=given.epochs, batch_size=16, learning_rate=1e-3, weight_decay=0.05, seed=given.seed
        ),
    )
    taught = train(alone)
    teacher = network_of(alone, taught)
    drafting = replace(
        alone,
        family=given.student,
        teacher=TorchTeacher(teacher),
        techniques=(TECHNIQUES.load("kd")(),),
        plan=replace(
            alone.plan,
            epochs=2 * given.epochs,
            learning_rate=5e-3,
            temperature=1.0,
            soft_weight=0.9,
            online=True,
        ),
    )
    for name, job, made in (("large", alone, taught), ("small", drafting, train(drafting))):
        pack_student(folder / name, task, job.family, made.parameters, quality={})
    return load_student(folder / "large"), load_student(folder / "small")


def exact_chances(package: StudentPackage, prompt: str, sampling: Sampling) -> dict[tuple[int, ...], float]:
    """The teacher's chance of each text of up to two tokens."""
    student = AnsweringStudent(package)
    stream, writer = student.stream(), TextWriter.of(package, student)
    assert stream is not None
    state, logits = stream.start(), None
    for number in writer.texts.numbers(prompt):
        logits, state = stream.step(number, state)
    found: dict[tuple[int, ...], float] = {}
    assert logits is not None
    for first, chance in enumerate(chances_of(writer.allowed(logits), sampling)):
        if chance == 0:
            continue
        if first in writer.texts.ends:
            found[first,] = float(chance)
            continue
        behind, _ = stream.step(first, state)
        for second, each in enumerate(chances_of(writer.allowed(behind), sampling)):
            if each > 0:
                found[first, second] = float(chance * each)
    return found


def p_value(counts: Counter[tuple[int, ...]], exact: dict[tuple[int, ...], float]) -> float:
    """Of a chi-square test; texts that are expected seldom are one bin together."""
    draws = counts.total()
    common = [text for text, chance in exact.items() if chance * draws >= LEAST_PER_BIN]
    observed = [counts[text] for text in common]
    expected = [exact[text] * draws for text in common]
    rest = draws - sum(expected)
    if rest > 1e-6 or sum(observed) < draws:
        observed, expected = [*observed, draws - sum(observed)], [*expected, max(rest, 1e-9)]
    total = sum(expected)
    return float(stats.chisquare(observed, [each * draws / total for each in expected]).pvalue)


def equality(large: StudentPackage, small: StudentPackage, *, draws: int) -> dict[str, float]:
    sampling = Sampling(temperature=0.9, top_k=12)
    writers = {"speculative": SpeculativeWriter.of(large, small), "draft alone": TextWriter.of(small)}
    values: dict[str, list[float]] = {name: [] for name in writers}
    for place, prompt in enumerate(PROMPTS):
        exact = exact_chances(large, prompt, sampling)
        for name, writer in writers.items():
            counts = Counter(
                tuple(writer.drawn(prompt, tokens=2, sampling=replace(sampling, seed=place * draws + each)))
                for each in range(draws)
            )
            values[name].append(p_value(counts, exact))
    return {
        name: float(stats.combine_pvalues(np.clip(each, 1e-300, 1), method="fisher").pvalue)
        for name, each in values.items()
    }


def speed(large: StudentPackage, small: StudentPackage, *, rounds: int, tokens: int) -> dict[str, float]:
    alone, speculative = TextWriter.of(large), SpeculativeWriter.of(large, small)
    ratios = []
    for each in range(-1, rounds):  # the first warms both up
        seconds = []
        for writer in (alone, speculative) if each % 2 else (speculative, alone):
            started, written, seed = time.perf_counter(), 0, 0
            while written < tokens:
                sampling = Sampling(temperature=0.9, seed=1000 * (each + 1) + seed)
                written += sum(
                    1 for _ in writer.drawn(PROMPTS[seed % len(PROMPTS)], tokens=40, sampling=sampling)
                )
                seed += 1
            seconds.append((writer is speculative, (time.perf_counter() - started) / written))
        by_kind = dict(seconds)
        if each >= 0:
            ratios.append(by_kind[False] / by_kind[True])
    count = speculative.count
    return {
        "speed_up": float(np.median(ratios)),
        "least": min(ratios),
        "largest": max(ratios),
        "kept_share": count.kept / count.drafted,
        "tokens_a_run": (count.kept + count.runs) / count.runs,
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--teacher", default=TEACHER)
    parser.add_argument("--student", default=STUDENT)
    parser.add_argument("--speeches", type=int, default=1500)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--draws", type=int, default=2000, help="Texts behind each beginning.")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--tokens", type=int, default=400, help="Words that each way writes in a round.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--packages", type=Path, help="A folder with large/ and small/, made before.")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if given.packages is not None and (given.packages / "small").is_dir():
            large, small = load_student(given.packages / "large"), load_student(given.packages / "small")
        else:
            large, small = packages(given.packages or Path(folder), given)
        for name, package in {"teacher": large, "draft": small}.items():
            print(f"{name:12s}{package.manifest.family}, {package.manifest.parameter_count:,d} parameters")
        same = equality(large, small, draws=given.draws)
        for name, p in same.items():
            print(f"{name:12s}chi-square against the teacher's chances: p = {p:.3g}")
        times = speed(large, small, rounds=given.rounds, tokens=given.tokens)
    print(
        f"speed-up    {times['speed_up']:.2f} ({times['least']:.2f} to {times['largest']:.2f}); "
        f"{times['kept_share']:.0%} of the drafts kept, "
        f"{times['tokens_a_run']:.2f} words a run of the teacher"
    )
    is_met = same["speculative"] > 0.001 and same["draft alone"] < 0.001
    print("MET: distributed as the teacher's" if is_met else "MISSED: not distributed as the teacher's")
    if given.json:
        given.json.write_text(json.dumps({"p_values": same, **times}, indent=1))
    return 0 if is_met else 1


if __name__ == "__main__":
    raise SystemExit(main())

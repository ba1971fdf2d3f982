"""What k + m numbers of a teacher's next words are worth, against all of them: bytes, and students.

    python benchmarks/drawn_tails.py                   # a few minutes of one core
    python benchmarks/drawn_tails.py --bytes           # the bytes alone

The teacher is a gru-64-128 that learned 400 speeches of the keyboard's public plays over a list of 2,000
words; students, gru-32-64, learn from what it says of the same rows alone, no label beside it. Each form
names as many words of each place:

    whole            all words (dense, float16 on the wire)
    renormalized     the likeliest, scaled to add up to 1
    rest bucket      the likeliest, and one sum for all others (technique top-k)
    drawn tail       half of them the likeliest, half draws of the others (technique drawn-tails)

Perplexity is that of held-out next words; `from the teacher` is the mean KL(teacher || student) there, in
nats a word. Behind each stands its difference from `whole`, with the 95 % interval of paired seeds.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from fedstill_proto.arrays import Parameters
from fedstill_proto.soft_labels.codec_spec import parse_codec
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels
from fedstill_server.distill.engine import train
from fedstill_server.distill.job import DistillJob
from fedstill_server.distill.plan import DistillPlan
from fedstill_server.distill.registry import TECHNIQUES
from fedstill_server.distill.scoring import perplexity_on
from fedstill_server.distill.stage_runner import network_of
from fedstill_server.distill.tasks import DistillTask
from fedstill_server.distill.teachers import TorchTeacher
from fedstill_server.distill.technique import Setting, Step, Technique, Term
from fedstill_server.distill.techniques.drawn_tails import DrawnTailDistillation
from fedstill_server.distill.techniques.top_k import TopKDistillation
from fedstill_server.distill.text_task import TextDistillTask
from fedstill_server.families import build_student
from fedstill_server.losses import top_k_renormalized_loss
from fedstill_server.training.networks import load_parameters
from scipy import stats
from torch import Tensor, nn

from benchmarks.text_distillation import STUDENT, TEACHER, plays

PLAN = DistillPlan(
    epochs=6,
    batch_size=32,
    learning_rate=5e-3,
    weight_decay=0.05,
    temperature=1.0,
    soft_weight=1.0,
    online=True,
)
CODECS = ("float16", "topk16", "topk32", "topk32,8bit,log,entropy", "topk8,drawn8", "topk16,drawn16")


class Renormalized(Technique):
    """The likeliest words, scaled to add up to 1."""

    name: ClassVar[str] = "renormalized"
    line: ClassVar[str] = "the k largest soft labels, scaled to add up to 1"
    k: int = 16

    def begin(self, setting: Setting) -> Term:
        return _Renormalized(self.k)


class _Renormalized(Term):
    def __init__(self, k: int) -> None:
        super().__init__()
        self.k = k

    def loss(self, step: Step) -> Tensor:
        kept, indices = torch.softmax(step.taught / step.temperature, dim=-1).topk(self.k, dim=-1)
        return top_k_renormalized_loss(
            step.logits, indices, kept, temperature=step.temperature, mask=step.weights
        )


def bytes_of_codecs(rows: np.ndarray, *, classes: int) -> dict[str, float]:
    """Bytes of a row in each codec, of probabilities [n, V] spread over so many classes."""
    labels = np.zeros((len(rows), classes), np.float32)
    step = classes // rows.shape[1]
    labels[:, : rows.shape[1] * step : step] = rows
    return {
        words: parse_codec(words).encode(DenseSoftLabels(labels)).ByteSize() / len(rows) for words in CODECS
    }


def far_from(teacher: nn.Module, student: nn.Module, x: np.ndarray) -> float:
    """The mean KL(teacher || student) of the places of x, in nats."""
    with torch.no_grad():
        said, learned = (
            torch.log_softmax(network(torch.from_numpy(x)), dim=-1) for network in (teacher, student)
        )
        return float((said.exp() * (said - learned)).sum(-1).mean())


def interval(differences: np.ndarray) -> tuple[float, float]:
    """Compute the mean, and half of its 95 % interval (Student's t)."""
    count = len(differences)
    half = (
        stats.t.ppf(0.975, count - 1) * differences.std(ddof=1) / np.sqrt(count)
        if count > 1
        else float("nan")
    )
    return float(differences.mean()), float(half)


def figures(
    task: DistillTask, base: DistillJob, teacher: nn.Module, techniques: tuple[Technique, ...], seed: int
) -> tuple[float, float]:
    """Perplexity, and the distance from the teacher, of a student on held-out rows."""
    job = replace(base, techniques=techniques, plan=replace(base.plan, seed=seed))
    made: Parameters = train(job).parameters
    student = load_parameters(build_student(STUDENT, job.x.shape[1:], task.classes), made)
    return perplexity_on(student, task.test), far_from(teacher, student, task.test.x[:200])


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--speeches", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--named", default="4,16", help="words that each form names, with commas between")
    parser.add_argument("--bytes", action="store_true", help="the bytes alone")
    given = parser.parse_args()
    task = plays(given.speeches)
    assert task.public.y is not None
    alone = DistillJob(
        family=TEACHER,
        classes=task.classes,
        x=task.public.x,
        labels=task.public.y,
        plan=TextDistillTask.teacher_plan,
    )
    teacher = network_of(alone, train(alone))
    print(f"teacher: perplexity {perplexity_on(teacher, task.test):.1f} of {task.classes} words")
    show_bytes(teacher, task)
    if given.bytes:
        return 0
    base = replace(alone, family=STUDENT, plan=PLAN, teacher=TorchTeacher(teacher))
    seeds = range(given.seeds)
    kd = TECHNIQUES.load("kd")()
    whole = np.array([figures(task, base, teacher, (kd,), seed) for seed in seeds])
    show("whole", whole, whole)
    for named in map(int, given.named.split(",")):
        forms: dict[str, Technique] = {
            "renormalized": Renormalized(k=named),
            "rest bucket": TopKDistillation(k=named),
            "drawn tail": DrawnTailDistillation(k=named // 2, drawn=named // 2),
        }
        for name, technique in forms.items():
            found = np.array([figures(task, base, teacher, (technique,), seed) for seed in seeds])
            show(f"{name}, {named}", found, whole)
    return 0


def show_bytes(teacher: nn.Module, task: DistillTask) -> None:
    """Print the bytes of a place in each codec, of the task's words and of 250,000 sub-words."""
    with torch.no_grad():
        said = torch.softmax(teacher(torch.from_numpy(task.test.x[:2])), dim=-1).numpy()
    rows = said.reshape(-1, said.shape[-1])
    few, many = (bytes_of_codecs(rows, classes=classes) for classes in (rows.shape[1], 250_000))
    print(f"bytes of a place{'':14s} {rows.shape[1]:>9,d} {250_000:>9,d} words")
    for words in CODECS:
        print(f"  {words:28s} {few[words]:9.1f} {many[words]:9.1f}")


def show(name: str, found: np.ndarray, whole: np.ndarray) -> None:
    """Print perplexity and distance of a form's students, and their differences from `whole` [seeds, 2]."""
    (less, of_less), (far, of_far) = (interval(found[:, column] - whole[:, column]) for column in (0, 1))
    print(
        f"{name:18s} perplexity {found[:, 0].mean():7.1f} ({less:+7.1f} ± {of_less:5.1f})"
        f"   from the teacher {found[:, 1].mean():6.3f} ({far:+6.3f} ± {of_far:5.3f})",
        flush=True,
    )


if __name__ == "__main__":
    raise SystemExit(main())

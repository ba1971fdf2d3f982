"""A sentence model of 6 layers becomes one of 3: what is kept, what it costs, and what it is worth.

    python benchmarks/sentence_students.py --folder students
    python benchmarks/sentence_students.py --folder students --texts 4000        # less, in a few minutes

The teacher is MiniLM (22.7 million parameters; the extra `assistant`), the student has every layer but the
second, the third and the fifth of it (weights=ends), and learns the teacher's vectors of texts that are
gathered on the spot (benchmarks/sentences/gathered.py) with the technique `embedding`, in four passes. It is
compared with the same 3 layers as they were taken (truncated), and with the same student trained on labels
alone: those of 400 utterances of Home Assistant's sentences, from the truncated weights and from nothing.
Teacher and distilled student learn these labels, too, in further rows.

Judged by pairs of sentences (benchmarks/sentences/held_out.py) and by the accuracy of intents of utterances
that are nowhere else: a logistic regression on frozen vectors, or, where a network learned the labels with
all of its layers, its own head. Intervals of 95 % by drawing groups of pairs, or utterances,
again; teacher and student have the same draws. How the settings were chosen is said in docs/distillation.md.

What was made is kept in the folder and is not made again: texts, the teacher's vectors, students. Ends with 1
where a bar is missed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
import safetensors.numpy
import torch
from fedstill_proto.arrays import Parameters
from fedstill_server.distill.engine import train
from fedstill_server.distill.job import UNKNOWN, DistillJob
from fedstill_server.distill.plan import DistillPlan
from fedstill_server.distill.sub_words import cut
from fedstill_server.distill.teachers import TeacherAnswers
from fedstill_server.distill.techniques.embedding import EmbeddingDistillation
from fedstill_server.export.student import export_student
from fedstill_server.families import FAMILIES, build_student
from fedstill_server.hugging_face.errors import HubModelError
from fedstill_server.hugging_face.opening import open_model
from fedstill_server.hugging_face.tokenizer import SubwordTokenizer
from fedstill_server.training.networks import load_parameters, parameters_of
from fedstill_sim.tasks.utterances.data import Amounts, AssistantData, load_assistant
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import nn

from benchmarks.sentences.gathered import Mixture, gathered
from benchmarks.sentences.held_out import documentation_pairs, graded_pairs, home_pairs

TEACHER, WIDTH, PLACES = "hf:minilm?answer=embedding", 384, 32
SMALL = "hf:minilm?num_hidden_layers=3&weights=ends"
STUDENT = "small=hf:minilm?num_hidden_layers=3&weights=ends&answer=embedding+model.encoder.*"
TUNED = {
    "labels alone": f"labels={SMALL}",
    "labels alone, from nothing": "anew=hf:minilm?num_hidden_layers=3&weights=none",
    "distilled, then labels": f"tuned={SMALL}",
    "teacher, then labels": "large=hf:minilm",
}
PLAN = DistillPlan(
    epochs=4, batch_size=32, learning_rate=5e-4, weight_decay=0.01, soft_weight=1.0, by_length=True
)
LABELS_PLAN = DistillPlan(epochs=8, batch_size=16, learning_rate=2e-4, weight_decay=0.01, by_length=True)
DRAWS, ROWS = 1000, 32
KEPT, FEWER, FASTER = 0.97, 0.40, 1.6
Vectors = Callable[[list[str]], NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Judged:
    """What one network is worth: its cosines of each set's pairs, and which intents it had right [test]."""

    cosines: Mapping[str, NDArray[np.float64]]
    right: NDArray[np.bool_]


class Study:
    """The teacher, the texts, and where what was made is kept."""

    def __init__(self, folder: Path, *, texts: int, seed: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.texts, self.seed = folder, texts, seed
        self.opened = open_model(TEACHER)
        assert self.opened.tokenizer is not None
        self.tokenizer: SubwordTokenizer = self.opened.tokenizer
        amounts = Amounts(labelled=400, calibration=1, test=500, public=1)
        self.homes: AssistantData = load_assistant(
            devices=1, seed=100 + seed, speaking=("en",), amounts=amounts
        )
        self.sets = [
            graded_pairs(),
            documentation_pairs(180, seed=100 + seed),
            home_pairs(180, seed=100 + seed),
        ]

    def rows(self, texts: list[str]) -> NDArray[np.float32]:
        return self.tokenizer.rows(texts, places=PLACES)

    def distilled(self) -> Parameters:
        """The student's weights."""

        def made() -> Parameters:
            texts = self._texts()
            x = self.rows(texts)
            answers = self._kept("answers", lambda: {"logits": vectors(self.opened.network, x)})
            family = FAMILIES.named_one(STUDENT)
            unknown = np.full(len(x), UNKNOWN, np.int64)
            job = DistillJob(
                family=family,
                classes=WIDTH,
                x=x,
                labels=unknown,
                plan=replace(PLAN, seed=self.seed),
                techniques=(EmbeddingDistillation(relation=4.0),),
                answers=TeacherAnswers(answers["logits"]),
            )
            trained = train(job)
            print(f"distilled in {trained.seconds:.0f} s, loss {trained.loss:.3f}", file=sys.stderr)
            return trained.parameters

        return self._kept("student", made)

    def of_labels(self, name: str, start: Parameters | None = None) -> nn.Module:
        """A network that learned the labelled utterances, head and all layers.

        Args:
            name: One of TUNED.
            start: What its layers begin as, where not as its family says.
        """
        family, classes = FAMILIES.named_one(TUNED[name]), len(self.homes.intents)
        network = build_student(family, (PLACES,), classes, seed=self.seed)

        def made() -> Parameters:
            labelled = self.homes.labelled
            job = DistillJob(
                family=family,
                classes=classes,
                x=self.rows([one.text for one in labelled]),
                labels=np.array([one.intent for one in labelled]),
                plan=replace(LABELS_PLAN, seed=self.seed),
                start=None if start is None else {**parameters_of(network), **start},
            )
            return train(job).parameters

        return load_parameters(network, self._kept(_file_name(name), made))

    def _texts(self) -> list[str]:
        path = self.folder / "texts.json"
        if not path.is_file():
            judged = {text for one in self.sets for text in (*one.first, *one.second)}
            judged |= {one.text for one in (*self.homes.test, *self.homes.labelled)}
            found = gathered(Mixture().of(self.texts), seed=self.seed)
            path.write_text(json.dumps([text for text in found if text not in judged]))
        texts: list[str] = json.loads(path.read_text())
        return texts

    def _kept(self, name: str, make: Callable[[], Parameters]) -> Parameters:
        path = self.folder / f"{name}-{self.seed}.safetensors"
        if not path.is_file():
            safetensors.numpy.save_file(make(), path)
        return safetensors.numpy.load_file(path)

    def judged(self, name: str, network: nn.Module, *, head: bool = False) -> Judged:
        """What a network of vectors is worth, or one with a head of intents."""
        judged_by = [[*pairs.first, *pairs.second] for pairs in self.sets]
        digest = hashlib.sha256(json.dumps(judged_by).encode()).hexdigest()[:8]
        kept = self._kept(f"judged-{digest}-{_file_name(name)}", lambda: self._measured(network, head=head))
        return Judged({pairs.name: kept[pairs.name] for pairs in self.sets}, kept["right"] > 0)

    def _measured(self, network: nn.Module, *, head: bool) -> Parameters:
        test = self.homes.test
        x, meant = self.rows([one.text for one in test]), np.array([one.intent for one in test])
        if head:
            answered = vectors(network, x).argmax(1)
        else:
            said = self.homes.labelled
            learned = unit(vectors(network, self.rows([one.text for one in said])))
            logistic = LogisticRegression(C=30.0, max_iter=1000).fit(learned, [one.intent for one in said])
            answered = logistic.predict(unit(vectors(network, x)))
        measured: Parameters = {"right": (answered == meant).astype(np.float64)}
        encoder = network.vector if head else None  # type: ignore[union-attr]
        for pairs in self.sets:
            texts = sorted({*pairs.first, *pairs.second})
            place = {text: at for at, text in enumerate(texts)}
            each = unit(vectors(network, self.rows(texts), through=encoder))
            first, second = ([place[text] for text in side] for side in (pairs.first, pairs.second))
            measured[pairs.name] = (each[first] * each[second]).sum(1).astype(np.float64)
        return measured


def _file_name(name: str) -> str:
    return name.replace(", ", "-").replace(" ", "-")


def vectors(
    network: nn.Module, x: NDArray[np.float32], *, through: Callable[..., torch.Tensor] | None = None
) -> NDArray[np.float32]:
    """What a network answers to rows, those of like length together, cut to the longest."""
    rows = torch.from_numpy(x)
    heard = rows != network.pad
    order = heard.sum(1).argsort()
    ask, parts = through or network.eval(), []
    network.eval()
    with torch.inference_mode():
        for some in order.split(ROWS):  # type: ignore[no-untyped-call]
            parts.append(ask(cut(rows[some], heard[some])))
    answers = torch.empty(len(rows), parts[0].shape[1])
    answers[order] = torch.cat(parts)
    return answers.numpy()


def unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values / np.linalg.norm(values, axis=1, keepdims=True)


def interval(values: NDArray[np.float64]) -> str:
    low, high = np.percentile(values, [2.5, 97.5])
    return f"[{low:.1f}, {high:.1f}]"


def outside_embedding(network: nn.Module) -> int:
    return sum(value.numel() for name, value in network.named_parameters() if ".embeddings." not in name)


def seconds_each(
    study: Study, families: Mapping[str, tuple[str, Parameters]], texts: list[str]
) -> dict[str, float]:
    """The median time of an answer to one text, one thread, the networks in turn."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    sessions = {}
    for name, (family, parameters) in families.items():
        _, graph = export_student(family=family, input_shape=(PLACES,), classes=WIDTH, parameters=parameters)
        sessions[name] = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    taken: dict[str, list[float]] = {name: [] for name in sessions}
    for row in study.rows(texts):
        for name, session in sessions.items():
            started = time.perf_counter()
            session.run(["logits"], {"x": row[None]})
            taken[name].append(time.perf_counter() - started)
    return {name: float(np.median(each[len(each) // 10 :])) for name, each in taken.items()}


def report(study: Study, judged: Mapping[str, Judged]) -> dict[str, float]:
    """Print a table for each set; returns the share of the teacher's score that the student keeps."""
    kept = {}
    random = np.random.default_rng(study.seed)
    for pairs in study.sets:
        draws = [pairs.drawn(random) for _ in range(DRAWS)]
        again = {
            name: np.array([pairs.score(one.cosines[pairs.name], rows) for rows in draws])
            for name, one in judged.items()
        }
        scores = {name: pairs.score(one.cosines[pairs.name]) for name, one in judged.items()}
        kept[pairs.name] = _table(f"{pairs.name}: {len(pairs.first)} pairs, {pairs.measure}", scores, again)
    rows = random.integers(len(study.homes.test), size=(DRAWS, len(study.homes.test)))
    again = {name: one.right[rows].mean(1) for name, one in judged.items()}
    scores = {name: float(one.right.mean()) for name, one in judged.items()}
    title = f"intents: {len(study.homes.test)} utterances, {len(study.homes.intents)} intents, accuracy"
    _table(title, scores, again)
    kept["intents, all layers tuned"] = scores["distilled, then labels"] / scores["teacher, then labels"]
    kept["intents, frozen vectors"] = scores["distilled"] / scores["teacher"]
    return kept


def _table(title: str, scores: Mapping[str, float], again: Mapping[str, NDArray[np.float64]]) -> float:
    print(f"\n{title}\n{'':28s}  score   of the teacher, %        distilled above it, points")
    for name, score in scores.items():
        share = 100 * score / scores["teacher"]
        above = 100 * (scores["distilled"] - score)
        shares = interval(100 * again[name] / again["teacher"])
        points = interval(100 * (again["distilled"] - again[name]))
        print(f"{name:28s} {score:6.3f}   {share:6.1f} {shares:16s}  {above:+6.1f} {points}", flush=True)
    return scores["distilled"] / scores["teacher"]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True, help="keeps texts, answers and students")
    parser.add_argument("--texts", type=int, default=16_000, help="to distil from")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--distil-only", action="store_true", help="make the student, and judge nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    try:
        study = Study(options.folder, texts=options.texts, seed=options.seed)
    except HubModelError as error:
        print(f"skipped: {error}")
        return 0
    distilled = study.distilled()
    if options.distil_only:
        return 0
    family = FAMILIES.named_one(STUDENT)
    truncated = build_student(family, (PLACES,), WIDTH)
    teacher = study.opened.network
    networks = {
        "teacher": teacher,
        "distilled": load_parameters(build_student(family, (PLACES,), WIDTH), distilled),
        "truncated": truncated,
    }
    judged = {name: study.judged(name, network) for name, network in networks.items()}
    for name in TUNED:
        start = distilled if name.startswith("distilled") else None
        judged[name] = study.judged(name, study.of_labels(name, start), head=True)
    kept = report(study, judged)
    large, small = outside_embedding(teacher), outside_embedding(truncated)
    named = FAMILIES.named_one(f"whole={TEACHER}")
    taken = seconds_each(
        study,
        {"teacher": (named, parameters_of(teacher)), "student": (family, distilled)},
        list(study.sets[0].first),
    )
    faster = taken["teacher"] / taken["student"]
    print(f"\nparameters outside the embedding: {large:,d} and {small:,d}, {1 - small / large:.1%} fewer")
    print(
        f"ONNX Runtime, one thread, one text of {PLACES} places: {1e3 * taken['teacher']:.2f} and "
        f"{1e3 * taken['student']:.2f} ms, {faster:.2f} times as fast"
    )
    bars = {
        **{
            f"{name}: at least {KEPT:.0%} of the teacher's score": share >= KEPT
            for name, share in kept.items()
        },
        f"at least {FEWER:.0%} fewer parameters": 1 - small / large >= FEWER,
        f"at least {FASTER} times as fast": faster >= FASTER,
    }
    print()
    for text, holds in bars.items():
        print(f"{'holds ' if holds else 'MISSED'}  {text}")
    return 0 if all(bars.values()) else 1


if __name__ == "__main__":
    sys.exit(main())

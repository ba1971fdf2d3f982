"""What k words of a teacher's soft labels lose against all words: a part of benchmarks/keyboard.py.

Three settings, each with the same seeds, in turn, for every kind of label:

    making     a student's first training, on next words and labels, as a package is made (KeyboardPlan), of
               one public text in four
    going on   what came of it learns other public texts and their labels, as in rounds
    scratch    new students learn 300 texts in a few epochs: the extreme

The kinds: `likeliest`, the k likeliest words and a rest bucket, as rounds send (16 of them); `sampled`, k
words drawn so that their mean is the whole (fedstill_server.tasks.text.sampled_words); `and pairs`, where
counts of pairs of words share the rest, as packages are made. All are taught as decoded. `dense`: all.

Perplexity is that of what devices hold out: neither teacher nor student nor any count has seen it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from fedstill_proto.arrays import FloatArray, IntArray, Parameters
from fedstill_proto.codec.summary_codec import summary_and_table
from fedstill_proto.messages import PrivateStatistics, SoftLabelSummary, SummaryKind
from fedstill_proto.soft_labels.codec_spec import parse_codec
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels, SoftLabels, TopKSoftLabels
from fedstill_server.families import build_student
from fedstill_server.families.language import GatedRecurrentNetwork
from fedstill_server.tasks.text.keyboard import Keyboard, KeyboardPlan
from fedstill_server.tasks.text.sampled_words import sampled_words
from fedstill_server.tasks.text.teacher import next_words_of, shared_by_pairs
from fedstill_server.tasks.text.training import RestShares, SoftWords, TextPlan, train_text
from fedstill_server.training.networks import load_parameters, parameters_of

from benchmarks.bars import Bar

Texts = Sequence[Sequence[int]]

K, KEPT = 32, (8, 16, 32)
DENSE, LIKELIEST, SAMPLED, PAIRS = "dense", "likeliest {}", "sampled {}", "sampled {} and pairs"
TOP_K, FLOAT32 = "topk{},8bit,log,entropy", "float32"
SIZED_ROWS = 1024  # places of a message whose bytes are counted


@dataclass(frozen=True, kw_only=True)
class LabelPlan:
    """How the settings train; every: one public text in so many."""

    family: str = "gru-80-224"
    every: int = 4
    seeds: int = 2
    making: TextPlan = field(default_factory=lambda: KeyboardPlan().distilling)
    going_on: TextPlan = field(
        default_factory=lambda: replace(KeyboardPlan().distilling, epochs=4, learning_rate=1e-3)
    )
    going_on_every: int = 8
    scratch: TextPlan = field(default_factory=lambda: TextPlan(epochs=8, soft_weight=0.7, batch_size=8))
    scratch_texts: int = 300


@dataclass(frozen=True)
class _Taught:
    """Texts, and the teacher's probabilities at each place of them: whole [places, V]."""

    texts: Texts
    whole: FloatArray
    pairs: RestShares

    @classmethod
    def of(cls, keyboard: Keyboard, numbers: Sequence[int]) -> _Taught:
        texts = [keyboard.texts[number] for number in numbers]
        begins = np.cumsum([0, *(len(text) + 1 for text in texts)])
        at = dict(zip(numbers, begins[:-1], strict=True))
        whole = np.empty((int(begins[-1]), len(keyboard.words)), np.float32)
        for number, said in keyboard.teacher.taught(keyboard.texts, only=set(numbers)):
            whole[at[number] : at[number] + len(said)] = said
        return cls(texts, whole, shared_by_pairs(keyboard.teacher.trigrams, texts))

    def labels(self, kind: str) -> SoftWords:
        """Return the labels as their receiver decodes them."""
        if kind == DENSE:
            nothing = np.zeros((len(self.whole), 1))
            everything = RestShares(self.whole, np.arange(len(self.whole)))
            return SoftWords(nothing.astype(np.int64), nothing.astype(np.float32), everything)
        name, k = kind.split()[0], int(kind.split()[1])
        random, rest = np.random.default_rng(0), self.pairs if kind == PAIRS.format(k) else None
        if name == LIKELIEST.split()[0]:
            named = np.sort(torch.from_numpy(self.whole).topk(k).indices.numpy(), axis=1)
            chances = np.take_along_axis(self.whole, named, axis=1)
        elif rest is None:
            named, chances = sampled_words(self.whole, k=k, random=random)
        else:
            named, chances = sampled_words(
                self.whole, k=k, random=random, shared=rest.table, shared_row=rest.row
            )
        return SoftWords(*_as_decoded(named, chances, self.whole.shape[1]), rest)


def _as_decoded(named: IntArray, chances: FloatArray, words: int) -> tuple[IntArray, FloatArray]:
    codec = parse_codec(TOP_K.format(named.shape[1]))
    decoded = codec.rounded(TopKSoftLabels(named, chances, words))
    assert isinstance(decoded, TopKSoftLabels)
    return decoded.indices, decoded.probabilities


@dataclass(frozen=True)
class Setting:
    """Perplexities of a setting, by kind of label and seed."""

    name: str
    places: int
    perplexity: dict[str, list[float]]
    start: list[float] | None = None  # of the students that it begins with

    def more(self, kind: str) -> list[float]:
        """Compute how much worse a kind is than dense of the same seed, as a share of that."""
        of_seeds = zip(self.perplexity[kind], self.perplexity[DENSE], strict=False)
        return [one / dense - 1 for one, dense in of_seeds]

    def lines(self) -> list[str]:
        start = "" if self.start is None else f"; {np.mean(self.start):.2f} before"
        lines = [f"{self.name}: labels of {self.places} places, {len(self.perplexity[DENSE])} seeds{start}"]
        for kind, found in self.perplexity.items():
            more = self.more(kind)
            each = f" ({', '.join(f'{100 * one:+.2f}' for one in more)})" if len(more) > 1 else ""
            lines.append(f"  {kind:24}{np.mean(found):9.2f} {100 * np.mean(more):+8.2f} %{each}")
        return lines


def labels(
    keyboard: Keyboard, held_out: Texts, plan: LabelPlan, told: Callable[[str], None]
) -> tuple[dict[str, Any], list[Bar]]:
    """Train all settings, and judge those that the product uses."""

    def perplexity(student: GatedRecurrentNetwork) -> float:
        return float(np.exp(-np.log(next_words_of(student, held_out)).mean()))

    def compared(
        name: str,
        taught: _Taught,
        kinds: Sequence[str],
        plan: TextPlan,
        starts: Sequence[Parameters],
        *,
        once: str = "",
    ) -> tuple[Setting, dict[str, list[Parameters]]]:
        """once: a kind that is too far away to need more than the first seed."""
        soft = {kind: taught.labels(kind) for kind in kinds}
        learned: dict[str, list[Parameters]] = {kind: [] for kind in kinds}
        found: dict[str, list[float]] = {kind: [] for kind in kinds}
        for seed, start in enumerate(starts):
            for kind in kinds:
                if kind == once and seed:
                    continue
                student = load_parameters(_new_student(keyboard, family, seed), start)
                assert isinstance(student, GatedRecurrentNetwork)
                train_text(student, taught.texts, plan, seed=seed, soft=soft[kind])
                learned[kind].append(parameters_of(student))
                found[kind].append(perplexity(student))
                told(f"{name}, seed {seed}, {kind}: {found[kind][-1]:.2f}")
        return Setting(name, len(taught.whole), found), learned

    family, numbers = plan.family, range(len(keyboard.texts))
    new = [parameters_of(_new_student(keyboard, family, seed)) for seed in range(plan.seeds)]
    product, sampled = PAIRS.format(K), SAMPLED.format(K)
    making, made = compared(
        "making",
        _Taught.of(keyboard, numbers[:: plan.every]),
        (DENSE, product, LIKELIEST.format(K)),
        plan.making,
        new,
        once=LIKELIEST.format(K),
    )
    taught = _Taught.of(keyboard, numbers[1 :: plan.going_on_every])
    kinds = (DENSE, *(kind.format(k) for kind in (SAMPLED, LIKELIEST) for k in (16, K)))
    going_on, _ = compared("going on", taught, kinds, plan.going_on, made[product])
    going_on = replace(going_on, start=making.perplexity[product])
    taught = _Taught.of(keyboard, numbers[2 :: plan.every][: plan.scratch_texts])
    kinds = (DENSE, product, *(kind.format(k) for kind in (SAMPLED, LIKELIEST) for k in KEPT))
    scratch, _ = compared("scratch", taught, kinds, plan.scratch, new)

    bytes_a_place = _bytes(taught)
    settings = (making, going_on, scratch)
    fewer = bytes_a_place[FLOAT32] / bytes_a_place[product]
    lines = [line for setting in settings for line in setting.lines()]
    lines.append("bytes a place, as sent: " + ", ".join(f"{k} {v:.1f}" for k, v in bytes_a_place.items()))
    bars = [
        Bar.most("labels, making: perplexity more than dense", float(np.mean(making.more(product))), 0.01),
        Bar.most("labels, going on, sampled: ...", float(np.mean(going_on.more(sampled))), 0.01),
        Bar.most(
            "labels, going on, the 16 likeliest, as rounds send: ...",
            float(np.mean(going_on.more(LIKELIEST.format(16)))),
            0.01,
        ),
        Bar.least("labels: times fewer bytes than dense", fewer, 20.0),
    ]
    found = {setting.name: {"places": setting.places, **setting.perplexity} for setting in settings}
    return {"lines": lines, "perplexity": found, "bytes_a_place": bytes_a_place}, bars


def _new_student(keyboard: Keyboard, family: str, seed: int) -> GatedRecurrentNetwork:
    student = build_student(family, (1,), len(keyboard.words), seed=seed)
    assert isinstance(student, GatedRecurrentNetwork)
    return student


def _bytes(taught: _Taught) -> dict[str, float]:
    """Measure the bytes of a place in an answer as a device sends it."""
    rows, words = taught.whole[:SIZED_ROWS], taught.whole.shape[1]
    sizes = {FLOAT32: _sent(DenseSoftLabels(rows), FLOAT32) / len(rows)}
    for kind in (PAIRS.format(K), SAMPLED.format(K), LIKELIEST.format(K)):
        soft = taught.labels(kind)
        part = TopKSoftLabels(soft.named[:SIZED_ROWS], soft.chances[:SIZED_ROWS], words)
        sizes[kind] = _sent(part, TOP_K.format(K)) / len(rows)
    return sizes


def _sent(soft: SoftLabels, codec: str) -> int:
    statistics = PrivateStatistics(soft_labels=soft)
    summary = SoftLabelSummary("0" * 8, 1, "gru", SummaryKind.PUBLIC_SET, statistics)
    return len(summary_and_table(summary, codec=parse_codec(codec), delta_base=None)[0])

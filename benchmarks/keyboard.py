"""How good a keyboard is: teacher, student, what personal learning changes, and what soft labels cost.

python benchmarks/keyboard.py                             # everything, 100 devices, against the bars
python benchmarks/keyboard.py --only suggestions          # or labels, or speed
python benchmarks/keyboard.py --folder texts/             # <user>.txt and public.txt
python benchmarks/keyboard.py --baseline                  # word trigrams of the public text, alone and
                                                          # with each device's own words

Teacher and student are made of the public texts once and kept ($FEDSTILL_CACHE); that takes a quarter of an
hour. "Own words" are those of a device's training texts; "as typed", each held-out text is counted, too, once
it is typed, as an agent does. "Personal" is the student after the device's own learning, with own words.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from fedstill_client.learning.settings import LearningSettings
from fedstill_proto.codec_words import codec_of_words
from fedstill_proto.messages import PrivateStatistics, SoftLabelSummary, SummaryKind
from fedstill_proto.soft_labels import DenseSoftLabels, FloatArray, SoftLabels, TopKSoftLabels
from fedstill_proto.summary_codec import summary_and_table
from fedstill_proto.word_list import START, build_word_list
from fedstill_server.export.student import export_student
from fedstill_server.families import build_student
from fedstill_server.families.language import GatedRecurrentNetwork
from fedstill_server.language.keyboard import Keyboard
from fedstill_server.language.teacher import next_words, next_words_of
from fedstill_server.language.training import RestShares, SoftWords, TextPlan, train_text
from fedstill_server.networks import load_parameters, one_deterministic_thread, parameters_of
from fedstill_sim.data.keyboard import KeyboardData, load_keyboard
from fedstill_sim.data.keyboard_fleet import PLACES
from fedstill_sim.keyboard.evaluation import (
    FIGURES,
    Models,
    changes_of,
    evaluate_suggestions,
    figures_of,
    lines_of,
)
from fedstill_sim.keyboard.learned import keyboard_package, learned_student
from fedstill_sim.keyboard.measures import measure
from fedstill_sim.keyboard.models import RecurrentWords, TeacherWords
from fedstill_sim.keyboard.personal import impersonal, personal
from fedstill_sim.keyboard.start import start_keyboard
from fedstill_sim.keyboard.trigrams import WordTrigrams

FAMILY = "gru-80-224"
LEARNING = LearningSettings(learning_rate=3e-4, batch_size=4, check_every=10, soft_weight=0.3)
K, PARTS = 32, ("suggestions", "labels", "speed")
KEPT = (8, 16, K)  # of soft labels; K is held against the bar
TOP_K, DENSE = "topk{},8bit,log,entropy", "float32"
LABEL_PLAN = TextPlan(epochs=8, soft_weight=0.7, batch_size=8)
LABEL_TEXTS = 300
WARM_RUNS, TIMED_RUNS = 50, 400


@dataclass(frozen=True)
class Bar:
    """What is promised, what was measured, and whether that is enough."""

    name: str
    measured: float
    promised: float
    met: bool

    @classmethod
    def least(cls, name: str, measured: float, promised: float) -> Bar:
        return cls(f"{name}, at least", measured, promised, measured >= promised)

    @classmethod
    def most(cls, name: str, measured: float, promised: float) -> Bar:
        return cls(f"{name}, at most", measured, promised, measured <= promised)


def suggestions(
    data: KeyboardData, keyboard: Keyboard, family: str, told: Callable[[str], None]
) -> tuple[dict[str, Any], list[Bar]]:
    """Every device's held-out texts, typed with trigrams, teacher, student, and the personal student."""
    package, words = keyboard_package(keyboard, family), len(keyboard.words)
    start = RecurrentWords(family, keyboard.students[family], words=words)

    def models(device: int) -> Models:
        own = learned_student(package, data.typists[device], settings=LEARNING)
        return Models(start, RecurrentWords(family, own, words=words))

    found = evaluate_suggestions(
        data,
        keyboard.words,
        models,
        teacher=TeacherWords(keyboard.teacher),
        on_device=lambda done, devices: told(f"device {done} of {devices}"),
    )
    student = sum(array.size for array in keyboard.students[family].values())
    figures, changes = found.figures, found.changes
    before, after = changes["trigrams to student"]["token_top3"], changes["student to as_typed"]["token_top3"]
    kept = figures["student"]["token_top3"] / figures["teacher"]["token_top3"]
    bars = [
        Bar.most("student: million parameters", student / 1e6, 1.4),
        Bar.least("student against trigrams: points of top-3", 100 * before.mean, 3.0),
        Bar.least("personal against student: points of top-3", 100 * after.mean, 2.0),
        Bar.least("... the lower end of its 95 % interval", 100 * after.low, 0.0),
        Bar.most("... share of devices worse by over a point", after.worse, 0.05),
        Bar.least("student against teacher: share of top-3 kept", kept, 0.97),
        Bar.least("... with so many times fewer parameters", keyboard.teacher.parameters / student, 4.0),
    ]
    lines = [
        f"teacher: {len(keyboard.teacher.networks)} networks and {keyboard.teacher.trigrams.counts} counts, "
        f"{keyboard.teacher.parameters} numbers; student {family}: {student}",
        *lines_of(found),
    ]
    return {"lines": lines, **found.to_json()}, bars


def labels(keyboard: Keyboard, family: str) -> tuple[dict[str, Any], list[Bar]]:
    """Students of the same seed that learn all that the teacher says of texts, or the k likeliest words.

    Top-k labels are taught as they are decoded. The others share the rest as public texts have them,
    alone or behind the word before; or as these pairs and the student of the package say, which was distilled
    from the same teacher of more texts. In a bucket, the rest stays spread as the new student spreads it.
    Dense, it is spread as the teacher says; the likeliest K are rounded as top-K, so the rest alone differs.
    """
    told = [text for text in keyboard.texts if len(text) >= PLACES][:LABEL_TEXTS]
    held_out = [text for text in keyboard.texts if len(text) >= PLACES][-LABEL_TEXTS:]
    words, trigrams = len(keyboard.words), keyboard.teacher.trigrams
    whole = np.concatenate(list(keyboard.teacher.along(told)))  # [places, V]
    before, word_before = np.unique([word for text in told for word in (START, *text)], return_inverse=True)
    single = RestShares(trigrams.after(None)[None], np.zeros(len(whole), np.int64))
    pairs = RestShares(np.stack([trigrams.after(int(word)) for word in before]), word_before)
    published = _published_shares(keyboard, family, told, pairs)
    sent = {k: _as_decoded(whole, k) for k in KEPT}

    def perplexity(k: int, rest: RestShares | None) -> float:
        student = build_student(family, (1,), words, seed=0)
        assert isinstance(student, GatedRecurrentNetwork)
        soft = SoftWords(sent[k].indices, sent[k].probabilities, rest)
        train_text(student, told, LABEL_PLAN, seed=0, soft=soft)
        return float(np.exp(-np.log(next_words_of(student, held_out)).mean()))

    everything_said = RestShares(np.maximum(whole, np.finfo(np.float32).tiny), np.arange(len(whole)))
    found = {"dense": perplexity(K, everything_said), f"top-{K}, rest bucket": perplexity(K, None)}
    found[f"top-{K}, rest by words"] = perplexity(K, single)
    for k in KEPT:
        found[f"top-{k}, rest by pairs"] = perplexity(k, pairs)
    found[f"top-{K}, by pairs, student"] = perplexity(K, published)
    rows = 64 * PLACES
    sizes = {DENSE: _bytes(DenseSoftLabels(whole[:rows]), DENSE)}
    for k, labels_of in sent.items():
        part = TopKSoftLabels(labels_of.indices[:rows], labels_of.probabilities[:rows], words)
        sizes[TOP_K.format(k)] = _bytes(part, TOP_K.format(k))
    by_counts, by_student = (
        found[f"top-{K}, {known}"] / found["dense"] - 1 for known in ("rest by pairs", "by pairs, student")
    )
    lines = [
        f"soft labels of {len(whole)} places: perplexity of {family} on other texts",
        *(f"  {name:28}{value:8.2f} {value / found['dense'] - 1:+8.1%}" for name, value in found.items()),
        "bytes a place, as sent: " + ", ".join(f"{name} {size / rows:.1f}" for name, size in sizes.items()),
    ]
    return {
        "lines": lines,
        "places": len(whole),
        "perplexity": found,
        "bytes_a_place": {name: size / rows for name, size in sizes.items()},
    }, [
        Bar.most(f"top-{K} against dense: perplexity more, share", by_counts, 0.01),
        Bar.most("... where both sides know the package's student", by_student, 0.01),
        Bar.least("... times fewer bytes", sizes[DENSE] / sizes[TOP_K.format(K)], 20.0),
    ]


def _published_shares(
    keyboard: Keyboard, family: str, told: Sequence[Sequence[int]], pairs: RestShares
) -> RestShares:
    """Three parts of what the package's student says of each place, and one of what pairs say."""
    student = build_student(family, (1,), len(keyboard.words), seed=0)
    assert isinstance(student, GatedRecurrentNetwork)
    load_parameters(student, keyboard.students[family])
    rows = [next_words(student.eval(), torch.tensor([[START, *text]]))[0].numpy() for text in told]
    return RestShares(0.75 * np.concatenate(rows) + 0.25 * pairs.table[pairs.row], np.arange(len(pairs.row)))


def _as_decoded(whole: FloatArray, k: int) -> TopKSoftLabels:
    """The k likeliest of each row, as who is sent them reads them."""
    indices = np.sort(np.argpartition(-whole, k, axis=1)[:, :k], axis=1)
    labels = TopKSoftLabels(indices, np.take_along_axis(whole, indices, axis=1), whole.shape[1])
    decoded = codec_of_words(TOP_K.format(k)).rounded(labels)
    assert isinstance(decoded, TopKSoftLabels)
    return decoded


def _bytes(soft: SoftLabels, codec: str) -> int:
    """Of an answer as a device sends it."""
    statistics = PrivateStatistics(soft_labels=soft)
    summary = SoftLabelSummary("0" * 8, 1, FAMILY, SummaryKind.PUBLIC_SET, statistics)
    return len(summary_and_table(summary, codec=codec_of_words(codec), bases=None)[0])


def speed(keyboard: Keyboard, family: str, kept: float) -> tuple[dict[str, Any], list[Bar]]:
    """DistilBERT's headline (Sanh et al. 2019, arXiv 1910.01108): quality, parameters and throughput."""
    words = len(keyboard.words)
    networks = [parameters_of(network) for network in keyboard.teacher.networks]
    of_teacher = f"gru-{networks[0]['embedding.weight'].shape[1]}-{networks[0]['of_state.weight'].shape[1]}"
    one_network = _row_seconds(of_teacher, networks[0], words)
    student = _row_seconds(family, keyboard.students[family], words)
    size = sum(array.size for array in keyboard.students[family].values())
    fewer = 1 - size / keyboard.teacher.parameters
    found = {
        "student_ms": 1e3 * student,
        "teacher_network_ms": 1e3 * one_network,
        "teacher_ms": 1e3 * one_network * len(networks),
    }
    lines = [
        f"a row of {PLACES} words in ONNX Runtime, one thread: student {found['student_ms']:.2f} ms, "
        f"one of the teacher's {len(networks)} networks {found['teacher_network_ms']:.2f} ms"
    ]
    return {"lines": lines, **found}, [
        Bar.least("DistilBERT's headline: share of the teacher's top-3", kept, 0.97),
        Bar.least("... share of parameters saved", fewer, 0.4),
        Bar.least("... times the throughput of one of its networks", one_network / student, 1.6),
    ]


def _row_seconds(family: str, parameters: dict[str, np.ndarray], words: int) -> float:
    """The median of a run at batch 1."""
    _, graph = export_student(family=family, input_shape=(PLACES,), classes=words, parameters=parameters)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    draw, seconds = np.random.default_rng(0), []
    for run in range(WARM_RUNS + TIMED_RUNS):
        x = draw.integers(2, words, (1, PLACES))
        started = time.process_time()
        session.run(["logits"], {"x": x})
        if run >= WARM_RUNS:
            seconds.append(time.process_time() - started)
    return float(np.median(seconds))


def baseline(data: KeyboardData, *, words: int) -> dict[str, Any]:
    """Word trigrams on every device's held-out texts, and what its own words change."""
    started = time.perf_counter()
    word_list = build_word_list(data.public, size=words)
    trigrams = WordTrigrams(map(word_list.encode, data.public), words=len(word_list), start=START)
    plain = [measure(impersonal(word_list, trigrams), typist.test) for typist in data.typists]
    own, as_typed = (
        [
            measure(personal(word_list, trigrams, typist), typist.test, observes=observes)
            for typist in data.typists
        ]
        for observes in (False, True)
    )
    return {
        "data": data.name,
        "devices": len(data.typists),
        "entries": len(word_list),
        "words_measured": sum(tally.words for tally in plain),
        "new_words": sum(tally.new for tally in plain),
        "trigrams": figures_of(plain),
        "own_words": {**figures_of(own), "change_by_device": _changes(plain, own)},
        "as_typed": {**figures_of(as_typed), "change_by_device": _changes(plain, as_typed)},
        "seconds": time.perf_counter() - started,
    }


def _changes(before: Any, after: Any) -> dict[str, Any]:
    return {name: asdict(change) for name, change in changes_of(before, after).items()}


def show_baseline(found: dict[str, Any]) -> None:
    print(
        f"{found['data']}: {found['devices']} devices, {found['words_measured']} held-out words, "
        f"{found['new_words']} of them not among the {found['entries']} entries of the word list"
    )
    columns = {"trigrams": "trigrams", "own_words": "and own words", "as_typed": "... as typed"}
    print(f"{'':18}" + "".join(f"{title:>16}" for title in columns.values()))
    for name in FIGURES:
        print(f"{name:18}" + "".join(f"{found[column][name]:16.4f}" for column in columns))
    for column in ("own_words", "as_typed"):
        print(f"trigrams {columns[column]}, by device:")
        for name, change in found[column]["change_by_device"].items():
            print(
                f"  {name}: {100 * change['mean']:+.2f} points ({100 * change['low']:+.2f} to "
                f"{100 * change['high']:+.2f}), {100 * change['better']:.0f} % of devices gain over a point, "
                f"{100 * change['worse']:.0f} % lose over a point"
            )
    print(f"{found['seconds']:.1f} s")


def everything(
    data: KeyboardData,
    family: str,
    parts: tuple[str, ...],
    *,
    public: KeyboardData,
    told: Callable[[str], None],
) -> tuple[dict[str, Any], list[Bar]]:
    """The parts asked for, and the bars that they are held against."""
    keyboard = start_keyboard(
        public, (family,), on_progress=lambda what, done, total: told(f"{what}: {done} of {total}")
    )
    found: dict[str, Any] = {"family": family}
    bars: list[Bar] = []
    with one_deterministic_thread():
        if "suggestions" in parts:
            found["suggestions"], new = suggestions(data, keyboard, family, told)
            bars += new
        if "labels" in parts:
            found["labels"], new = labels(keyboard, family)
            bars += new
        if "speed" in parts and "suggestions" in found:
            of = found["suggestions"]["figures"]
            kept = of["student"]["token_top3"] / of["teacher"]["token_top3"]
            found["speed"], new = speed(keyboard, family, kept)
            bars += new
    return {**found, "bars": [asdict(bar) for bar in bars]}, bars


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--baseline", action="store_true")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS)
    parser.add_argument("--family", default=FAMILY)
    parser.add_argument("--devices", type=int, help="100, of the baseline 40")
    parser.add_argument(
        "--words", type=int, default=10_000, help="of the baseline: entries of the list, at most"
    )
    parser.add_argument("--folder", type=Path, help="a folder of <user>.txt and public.txt")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    public = load_keyboard(asked.folder)
    devices = asked.devices or (40 if asked.baseline else 100)
    data = public.of(min(devices, len(public.typists)))
    if asked.baseline:
        of_trigrams = baseline(data, words=asked.words)
        print(json.dumps(of_trigrams, indent=2)) if asked.json else show_baseline(of_trigrams)
        return 0

    def told(words: str) -> None:
        print(words, file=sys.stderr)

    found, bars = everything(data, asked.family, tuple(asked.only), public=public, told=told)
    if asked.json:
        print(json.dumps(found, indent=2))
    else:
        for part in PARTS:
            print("\n".join(found[part]["lines"])) if part in found else None
        for bar in bars:
            verdict = "MET" if bar.met else "MISSED"
            print(f"{verdict:6} {bar.name} {bar.promised:g}: {bar.measured:.4g}")
    return 0 if all(bar.met for bar in bars) else 1


if __name__ == "__main__":
    sys.exit(main())

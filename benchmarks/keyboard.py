"""How good a keyboard is: teacher, student, what personal learning changes, and what soft labels cost.

python benchmarks/keyboard.py                             # everything, 100 devices, against the bars
python benchmarks/keyboard.py --only suggestions          # or labels, speed, ceiling
python benchmarks/keyboard.py --authors FILE.json[.gz] --public FILE[.gz] [FILE[.gz] ...] --language en
                                                          # {author: [text, ...]}: see keyboard_authors.py
python benchmarks/keyboard.py --folder texts/             # the same of <user>.txt and public.txt
python benchmarks/keyboard.py --baseline                  # word trigrams of the public text, alone and
                                                          # with each device's own words

Teacher and student are made of the public texts once and kept ($FEDSTILL_CACHE); that takes a quarter of an
hour. "Own words" are those of a device's training texts; "as typed", each held-out text is counted, too, once
it is typed, as an agent does. "Personal" is the same of the student after the device's own learning.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))  # it is started by its file's name

import numpy as np
import onnxruntime as ort
from fedstill_client.learning.settings import LearningSettings
from fedstill_proto.text.vocabulary import START, build_word_list
from fedstill_server.export.student import export_student
from fedstill_server.tasks.text.keyboard import Keyboard
from fedstill_server.training.networks import one_deterministic_thread, parameters_of
from fedstill_sim.tasks.text.data import KeyboardData, load_keyboard
from fedstill_sim.tasks.text.evaluation import (
    FIGURES,
    Models,
    changes_of,
    evaluate_suggestions,
    figures_of,
    lines_of,
)
from fedstill_sim.tasks.text.fleet import PLACES
from fedstill_sim.tasks.text.learned import keyboard_package, learned_student
from fedstill_sim.tasks.text.measures import Change, measure
from fedstill_sim.tasks.text.models import RecurrentWords, TeacherWords
from fedstill_sim.tasks.text.personal import impersonal, personal
from fedstill_sim.tasks.text.start import start_keyboard
from fedstill_sim.tasks.text.trigrams import WordTrigrams

from benchmarks import keyboard_authors
from benchmarks.bars import Bar
from benchmarks.keyboard_ceiling import ceiling
from benchmarks.keyboard_labels import LabelPlan, labels

FAMILY = "gru-80-224"
LEARNING = LearningSettings(batch_size=4, check_every=10, epochs=50, soft_weight=0.3, temperature=2.0)
PARTS = ("suggestions", "labels", "speed", "ceiling")
WARM_RUNS, TIMED_RUNS = 50, 400


def suggestions(
    data: KeyboardData, keyboard: Keyboard, family: str, told: Callable[[str], None]
) -> tuple[dict[str, Any], list[Bar]]:
    """Type every device's held-out texts with trigrams, teacher, student and personal student."""
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
    before, own, after = (
        changes[pair]["token_top3"]
        for pair in ("trigrams to student", "student to as_typed", "student to personal")
    )
    kept = figures["student"]["token_top3"] / figures["teacher"]["token_top3"]
    bars = [
        Bar.most("student: million parameters", student / 1e6, 1.4),
        Bar.least("student against trigrams: points of top-3", 100 * before.mean, 3.0),
        *_bars_of("own words against student", own),
        *_bars_of("own words and own training against student", after),
        Bar.least("student against teacher: share of top-3 kept", kept, 0.97),
        Bar.least("... with so many times fewer parameters", keyboard.teacher.parameters / student, 4.0),
    ]
    lines = [
        f"teacher: {len(keyboard.teacher.networks)} networks and {keyboard.teacher.trigrams.counts} counts, "
        f"{keyboard.teacher.parameters} numbers; student {family}: {student}",
        *lines_of(found),
    ]
    return {"lines": lines, **found.to_json()}, bars


def _bars_of(what: str, change: Change) -> list[Bar]:
    return [
        Bar.least(f"{what}: points of top-3", 100 * change.mean, 2.0),
        Bar.least("... the lower end of its 95 % interval", 100 * change.low, 0.0),
        Bar.most("... share of devices worse by over a point", change.worse, 0.05),
    ]


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
    """Measure the median seconds of a run at batch 1."""
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
    """Measure word trigrams on every device's held-out texts, and what its own words change."""
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


def measure_parts(
    data: KeyboardData,
    family: str,
    parts: tuple[str, ...],
    *,
    public: KeyboardData,
    told: Callable[[str], None],
) -> tuple[dict[str, Any], list[Bar]]:
    """Measure the parts that are asked for, and compare them with their bars."""
    families = () if set(parts) == {"labels"} else (family,)  # which trains students of its own
    keyboard = start_keyboard(
        public, families, on_progress=lambda what, done, total: told(f"{what}: {done} of {total}")
    )
    found: dict[str, Any] = {"family": family}
    bars: list[Bar] = []
    with one_deterministic_thread():
        if "suggestions" in parts:
            found["suggestions"], new = suggestions(data, keyboard, family, told)
            bars += new
        if "labels" in parts:
            held_out = [keyboard.words.encode(text) for typist in data.typists for text in typist.test]
            found["labels"], new = labels(keyboard, held_out, LabelPlan(family=family), told)
            bars += new
        if "speed" in parts and "suggestions" in found:
            of = found["suggestions"]["figures"]
            kept = of["student"]["token_top3"] / of["teacher"]["token_top3"]
            found["speed"], new = speed(keyboard, family, kept)
            bars += new
        if "ceiling" in parts:
            found["ceiling"] = ceiling(data, keyboard, family, told)
    return {**found, "bars": [asdict(bar) for bar in bars]}, bars


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--baseline", action="store_true")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS)
    parser.add_argument("--family", help=f"{FAMILY}; of authors and folders {keyboard_authors.FAMILY}")
    parser.add_argument("--devices", type=int, help="100, of the baseline 40")
    parser.add_argument(
        "--words", type=int, default=10_000, help="of the baseline: entries of the list, at most"
    )
    parser.add_argument("--folder", type=Path, help="a folder of <user>.txt and public.txt")
    parser.add_argument("--authors", type=Path, help="{author: [text, ...]}, .json or .json.gz")
    parser.add_argument("--public", type=Path, nargs="+", default=(), help="beside --authors: a text a line")
    parser.add_argument("--language", nargs="+", default=(), help="of wordfreq, such as en")
    parser.add_argument("--skip", type=int, default=0, help="authors that settings were chosen on")
    parser.add_argument("--epochs", type=int, default=keyboard_authors.EPOCHS)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()

    def told(words: str) -> None:
        print(words, file=sys.stderr)

    if asked.authors is not None or (asked.folder is not None and not asked.baseline):
        if asked.authors is None:
            texts = load_keyboard(asked.folder)
        else:
            texts = keyboard_authors.load_authors(
                asked.authors, asked.public, skip=asked.skip, most=asked.devices
            )
        found, bars = keyboard_authors.measured(
            texts,
            tuple(asked.language),
            family=asked.family or keyboard_authors.FAMILY,
            epochs=asked.epochs,
            told=told,
        )
        return _shown(found, bars, found["lines"], as_json=asked.json)
    family = asked.family or FAMILY
    public = load_keyboard(asked.folder)
    devices = asked.devices or (40 if asked.baseline else 100)
    data = public.of(min(devices, len(public.typists)))
    if asked.baseline:
        of_trigrams = baseline(data, words=asked.words)
        print(json.dumps(of_trigrams, indent=2)) if asked.json else show_baseline(of_trigrams)
        return 0

    found, bars = measure_parts(data, family, tuple(asked.only), public=public, told=told)
    lines = [line for part in PARTS if part in found for line in found[part]["lines"]]
    return _shown(found, bars, lines, as_json=asked.json)


def _shown(found: dict[str, Any], bars: list[Bar], lines: list[str], *, as_json: bool) -> int:
    """Print what was found, and give 1 where a bar was missed."""
    if as_json:
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(lines))
        for bar in bars:
            verdict = "MET" if bar.met else "MISSED"
            print(f"{verdict:6} {bar.name} {bar.promised:g}: {bar.measured:.4g}")
    return 0 if all(bar.met for bar in bars) else 1


if __name__ == "__main__":
    sys.exit(main())

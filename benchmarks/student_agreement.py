"""Trained students of every family: ONNX Runtime against torch, and 8 bits against float32.

Families that classify are trained on the digits of scikit-learn and judged on other writers'. Families
of text are trained on a file's, or on a generated text, in which the kind of the next word hangs on those of
the two words before it, and few words of a kind are common; they are judged on its last tenth. Then, on the
judged part, as a device answers:

  difference  the largest between a logit of torch and of ONNX Runtime, float32
  same top-1  answers of the 8-bit student that are those of the float32 one
  lost        accuracy that 8 bits cost, in points
  KL          mean divergence of the 8-bit answers from the float32 ones, in nats
  size        bytes of the 8-bit graph and the float32 one
  one row     microseconds that one example takes on one thread, 8-bit and float32; of text, all places of it
  swap        milliseconds until other weights answer, 8-bit and float32, as after a personalization

The verdict: the difference is at most 1e-4, at least 98 % are the same, at most 1 point is lost.

    python benchmarks/student_agreement.py --json student_agreement.json
    python benchmarks/student_agreement.py --families gru transformer --text book.txt --words 5000
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fedstill_client.model.predictor import Predictor
from fedstill_proto.package.artifact import StudentPackage
from fedstill_server.data.digits import CLASSES, digits_examples
from fedstill_server.export.int8 import quantize_student
from fedstill_server.export.student import export_student
from fedstill_server.families import ARRAYS, FAMILIES, TEXT, build_student
from fedstill_server.training.fitting import FitPlan, fit
from fedstill_server.training.networks import logits_of, one_deterministic_thread, parameters_of
from rich.console import Console
from rich.table import Table

LARGEST_DIFFERENCE, LEAST_SAME, MOST_LOST_POINTS = 1e-4, 0.98, 1.0
ALL_FAMILIES = (*FAMILIES.of_task(ARRAYS), *FAMILIES.of_task(TEXT))
PLACES = 10
_ROWS_AT_ONCE = 64
_TIMED, _SWAPS = 300, 5


@dataclass(frozen=True, eq=False)
class Material:
    """Examples to train on, and others to judge on."""

    x: np.ndarray  # [n, *input_shape]
    labels: np.ndarray  # [n, *label_shape]
    judged_x: np.ndarray
    judged_labels: np.ndarray
    classes: int


def digits() -> Material:
    """Load the digits; the last 531 scans are of writers that no student is trained on."""
    x, labels = digits_examples()
    return Material(x[:1266], labels[:1266], x[1266:], labels[1266:], CLASSES)


def text(numbers: np.ndarray, words: int) -> Material:
    """Make rows of a text of word numbers; the last tenth is for judging."""
    rows = numbers[: len(numbers) // (PLACES + 1) * (PLACES + 1)].reshape(-1, PLACES + 1)
    x, labels, cut = rows[:, :-1].copy(), rows[:, 1:].copy(), len(rows) * 9 // 10
    return Material(x[:cut], labels[:cut], x[cut:], labels[cut:], words)


def generated_words(words: int, length: int, *, seed: int, kinds: int = 12) -> np.ndarray:
    """Generate a text of word numbers; word w is of kind w % kinds, and the larger w, the rarer it is."""
    random = np.random.default_rng(seed)
    follows = random.integers(0, kinds, (kinds, kinds, 3))
    chosen = random.choice(3, length, p=(0.8, 0.15, 0.05))
    ranks = np.arange(words // kinds)
    common = (ranks + 1.0) ** -1.7
    drawn = random.choice(ranks, length, p=common / common.sum())
    kind = np.zeros(length, np.int64)
    for place in range(2, length):
        kind[place] = follows[kind[place - 2], kind[place - 1], chosen[place]]
    return np.asarray(drawn * kinds + kind)


def read_words(file: Path, words: int) -> np.ndarray:
    """Read the words of a file as numbers by frequency; 0 stands for all rarer ones."""
    found = re.findall(r"[\w']+|[.,;:!?]", file.read_text("utf-8").lower())
    known = {word: 1 + place for place, (word, _) in enumerate(Counter(found).most_common(words - 1))}
    return np.array([known.get(word, 0) for word in found], np.int64)


def trained_package(family: str, material: Material, *, epochs: int, seed: int) -> tuple[Any, StudentPackage]:
    """Train a student in torch, and build its package with both graphs."""
    shape = material.x.shape[1:]
    plan = FitPlan(epochs=epochs, batch_size=64, learning_rate=3e-3, weight_decay=0.0, hard_weight=1.0)
    network = build_student(family, shape, material.classes, seed=seed)
    fit(network, material.x, None, plan=plan, seed=seed, labels=material.labels)
    parameters = parameters_of(network)
    manifest, graph = export_student(
        family=family, input_shape=shape, classes=material.classes, parameters=parameters
    )
    eight_bit = quantize_student(graph, parameters)
    assert eight_bit is not None
    manifest = dataclasses.replace(manifest, quantized=eight_bit.quantized)
    return network, StudentPackage(manifest, graph, parameters, int8_graph=eight_bit.graph)


def examine(family: str, material: Material, *, epochs: int, seed: int) -> dict[str, Any]:
    started = time.perf_counter()
    network, package = trained_package(family, material, epochs=epochs, seed=seed)
    trained_s = time.perf_counter() - started
    float32, int8 = Predictor(package), Predictor(package, precision="int8")
    difference, same, right, right_8, divergence, answers = 0.0, 0, 0, 0, 0.0, 0
    for start in range(0, len(material.judged_x), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        x, labels = material.judged_x[part], material.judged_labels[part]
        logits, logits_8 = float32.logits(x), int8.logits(x)
        difference = max(difference, float(np.abs(logits - logits_of(network, x)).max()))
        same += int((logits.argmax(-1) == logits_8.argmax(-1)).sum())
        right += int((logits.argmax(-1) == labels).sum())
        right_8 += int((logits_8.argmax(-1) == labels).sum())
        divergence += _divergence(logits, logits_8)
        answers += labels.size
    assert package.int8_graph is not None
    row = {
        "family": family,
        "parameters": package.manifest.parameter_count,
        "answers": answers,
        "trained_s": trained_s,
        "accuracy": right / answers,
        "difference": difference,
        "same_top1": same / answers,
        "lost_points": 100 * (right - right_8) / answers,
        "divergence": divergence / answers,
        "bytes": {"int8": len(package.int8_graph), "float32": len(package.inference_graph)},
        "one_row_us": dict(
            zip(("int8", "float32"), _row_us((int8, float32), material.judged_x), strict=True)
        ),
        "swap_ms": {"int8": _swap_ms(int8, package), "float32": _swap_ms(float32, package)},
    }
    holds = (
        row["difference"] <= LARGEST_DIFFERENCE
        and row["same_top1"] >= LEAST_SAME
        and row["lost_points"] <= MOST_LOST_POINTS
    )
    return {**row, "holds": holds}


def _divergence(logits: np.ndarray, others: np.ndarray) -> float:
    """Sum KL(softmax(logits) || softmax(others)), in nats."""
    p, q = (_log_softmax(each.astype(np.float64)) for each in (logits, others))
    return float((np.exp(p) * (p - q)).sum())


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(-1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(-1, keepdims=True)))


def _row_us(predictors: Sequence[Predictor], x: np.ndarray) -> list[float]:
    """Measure the median microseconds of one example, the predictors in turn."""
    taken: list[list[float]] = [[] for _ in predictors]
    for call in range(_TIMED):
        row = x[call % len(x)][None]
        for place, predictor in enumerate(predictors):
            started = time.perf_counter_ns()
            predictor.logits(row)
            taken[place].append((time.perf_counter_ns() - started) / 1e3)
    return [float(np.median(each)) for each in taken]


def _swap_ms(predictor: Predictor, package: StudentPackage) -> float:
    taken = []
    for _ in range(_SWAPS):
        started = time.perf_counter_ns()
        predictor.swap(package.parameters)
        taken.append((time.perf_counter_ns() - started) / 1e6)
    return float(np.median(taken))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--families", nargs="+", default=ALL_FAMILIES, choices=ALL_FAMILIES)
    parser.add_argument("--text", type=Path, help="a text to train on, instead of a generated one")
    parser.add_argument("--words", type=int, default=2000, help="of the vocabulary")
    parser.add_argument("--rows", type=int, default=8000, help="of the generated text")
    parser.add_argument("--epochs", type=int, help="of training; 30 over digits, 6 over text")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the figures there")
    given = parser.parse_args(argv)
    if given.text is None:
        numbers = generated_words(given.words, given.rows * (PLACES + 1), seed=given.seed)
    else:
        numbers = read_words(given.text, given.words)
    of_text, of_digits = text(numbers, given.words), digits()
    rows = []
    with one_deterministic_thread():
        for family in given.families:
            is_text = family in FAMILIES.of_task(TEXT)
            epochs = given.epochs or (6 if is_text else 30)
            material = of_text if is_text else of_digits
            rows.append(examine(family, material, epochs=epochs, seed=given.seed))
    _print(rows)
    missed = [row["family"] for row in rows if not row["holds"]]
    verdict = f"MISSED: {', '.join(missed)}" if missed else "MET: every family"
    print(verdict)
    if given.json:
        given.json.write_text(json.dumps({"families": rows, "verdict": verdict}, indent=1) + "\n")
    return 1 if missed else 0


def _print(rows: list[dict[str, Any]]) -> None:
    columns = (
        "family",
        "parameters",
        "accuracy",
        "difference",
        "same top-1",
        "lost",
        "KL",
        "KB",
        "one row µs",
    )
    table = Table(*columns, box=None)
    for row in rows:
        table.add_row(
            row["family"],
            f"{row['parameters']:,d}",
            f"{row['accuracy']:.2%} of {row['answers']:,d}",
            f"{row['difference']:.1e}",
            f"{row['same_top1']:.2%}",
            f"{row['lost_points']:+.2f}",
            f"{row['divergence']:.1e}",
            " / ".join(f"{row['bytes'][of] / 1e3:.0f}" for of in ("int8", "float32")),
            " / ".join(f"{row['one_row_us'][of]:.0f}" for of in ("int8", "float32")),
            " / ".join(f"{row['swap_ms'][of]:.1f}" for of in ("int8", "float32")),
        )
    Console(width=160).print(table)


if __name__ == "__main__":
    sys.exit(main())

"""What fedstill-agent prints: facts as tables for people, or as one JSON object for scripts.

rich, numpy and the formats of packages are loaded by what needs them: --help and an error need none.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedstill_proto.errors import FedstillError

from fedstill_client.agent_types import LearningResult, Score

if TYPE_CHECKING:
    import numpy.typing as npt
    from fedstill_proto.arrays import FloatArray, IntArray
    from fedstill_proto.package.artifact import StudentManifest
    from fedstill_proto.text.intents import Understanding

    from fedstill_client.rounds.device import FleetDevice
    from fedstill_client.rounds.offline import OfflineResult
    from fedstill_client.rounds.round import Evaluation

_SHOWN_ROWS = 20
ANSWER_SUFFIXES = (".npz", ".csv")

Facts = dict[str, Any]


def print_line(text: str) -> None:
    """Print a sentence, wrapped for a person's terminal; nothing in it is markup."""
    from rich.console import Console

    Console().print(text, highlight=False, markup=False)


def print_facts(facts: Facts) -> None:
    """Print one line for each fact."""
    from rich.console import Console
    from rich.table import Table

    table = Table(show_header=False, box=None)
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), "none" if value is None else str(value))
    Console().print(table)


def print_json(facts: Facts) -> None:
    """Print one JSON object."""
    print(json.dumps(facts))


def student_facts(folder: Path) -> Facts:
    """What a student folder holds."""
    from fedstill_proto.package.artifact import load_student

    return {"student": str(folder), **_manifest_facts(load_student(folder).manifest)}


def device_facts(device: FleetDevice) -> Facts:
    """What a plain device folder holds."""
    manifest, own = device.artifact.manifest, device.store.latest()
    return {
        "device": device.description.name,
        **_manifest_facts(manifest),
        "optimizer": manifest.optimizer.value,
        "soft_labels": manifest.soft_labels,
        "step_rows": manifest.step_rows,
        "owner_share": device.description.owner_share,
        "private_examples": int(device.private.counts[0]),
        "held_out_examples": int(device.held_out.counts[0]),
        "public_examples": None if device.public_x is None else len(device.public_x),
        "global_test_examples": None if device.global_test is None else len(device.global_test[1]),
        "student_of_run": None if own is None else own.run,
        "student_of_round": None if own is None else own.round,
    }


def _manifest_facts(manifest: StudentManifest) -> Facts:
    return {
        "family": manifest.family,
        "input_shape": list(manifest.given_shape),
        "classes": manifest.classes,
        **({"class_names": list(manifest.class_names)} if manifest.class_names else {}),
        **({"input_rule": rule} if (rule := manifest.input_rule.notice()) else {}),
        "parameters": manifest.parameter_count,
        "size_bytes": sum(part.size_bytes for part in manifest.parts),
        "opset": manifest.opset,
    }


@dataclass(frozen=True)
class AnswerMeaning:
    """What answers say: "single-label", "multi-label" or "regression", and the names of classes or labels, or
    none.
    """

    target: str
    names: tuple[str, ...] = ()


def deliver_answers(
    answers: FloatArray, meaning: AnswerMeaning, *, output: Path | None, as_json: bool
) -> None:
    """Write answers to a file, or print them.

    Args:
        answers: As an agent gives them: class probabilities [n, classes], and so on.
        meaning: What they say.
        output: The file.
        as_json: Print JSON.
    """
    named = _named(answers, meaning)
    if output is not None:
        _write_answers(output, named)
    if as_json:
        document: Facts = {name: array.tolist() for name, array in named.items()}
        print_json({**document, "class_names": meaning.names} if meaning.names else document)
    elif output is not None:
        print_line(f"{len(answers)} answers in {output}")
    else:
        _print_answers(_shown(answers, meaning), rows=len(answers))


def _named(answers: FloatArray, meaning: AnswerMeaning) -> dict[str, npt.NDArray[Any]]:
    """The arrays of an answer, by name."""
    import numpy as np

    if meaning.target == "multi-label":
        return {"labels": (answers > 0.5).astype(np.int64), "probabilities": answers}
    if meaning.target == "regression":
        return {"means": answers[..., 0], "deviations": answers[..., 1]}
    classes = answers.argmax(axis=1)
    labels = {"labels": np.array([meaning.names[each] for each in classes], np.str_)} if meaning.names else {}
    return {"classes": classes, **labels, "probabilities": answers}


def _shown(answers: FloatArray, meaning: AnswerMeaning) -> list[tuple[str, ...]]:
    """A table for people: its columns' names, and a line for each of the first answers."""
    first = answers[:_SHOWN_ROWS]
    if meaning.target == "regression":
        columns = tuple(f"number {place}" for place in range(answers.shape[1]))
        lines = [tuple(f"{mean:.5g} +- {deviation:.2g}" for mean, deviation in row) for row in first]
    elif meaning.target == "multi-label":
        columns = ("labels", "probabilities")
        names = meaning.names or tuple(map(str, range(answers.shape[1])))
        there = [[place for place, chance in enumerate(row) if chance > 0.5] for row in first]
        lines = [
            (", ".join(names[k] for k in each) or "none", ", ".join(f"{row[k]:.3f}" for k in each))
            for each, row in zip(there, first, strict=True)
        ]
    else:
        columns = ("class", *(["label"] if meaning.names else []), "probability")
        lines = [
            (str(k), *([meaning.names[k]] if meaning.names else []), f"{row[k]:.3f}")
            for k, row in zip(first.argmax(axis=1), first, strict=True)
        ]
    return [("row", *columns), *((str(row), *line) for row, line in enumerate(lines))]


def _print_answers(table: list[tuple[str, ...]], *, rows: int) -> None:
    # Without rich, whose import takes as long as to load and run a student.
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells in table:
        line = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        print(f" {line.rstrip()}")
    if rows > _SHOWN_ROWS:
        print(f"... and {rows - _SHOWN_ROWS} more; --output or --json has them all.")


_COLUMNS = {"classes": "class", "labels": "label", "probabilities": "p", "means": "mean", "deviations": "sd"}


def _write_answers(file: Path, named: dict[str, npt.NDArray[Any]]) -> None:
    import csv

    import numpy as np

    try:
        if file.suffix.lower() == ".npz":
            np.savez(file, **named)  # type: ignore[arg-type]  # none is called allow_pickle
            return
        header: list[str] = []
        for name, array in named.items():
            column = _COLUMNS[name]
            header += [column] if array.ndim == 1 else [f"{column}{n}" for n in range(array.shape[1])]
        with file.open("w", encoding="utf-8", newline="") as written:
            table = csv.writer(written, lineterminator="\n")
            table.writerow(header)
            for cells in zip(*named.values(), strict=True):
                flat = [each for cell in cells for each in np.atleast_1d(cell).tolist()]
                table.writerow([f"{each:.6g}" if isinstance(each, float) else each for each in flat])
    except OSError as error:
        raise FedstillError(f"{file}: cannot be written: {error.strerror}.") from None


def print_understanding(understood: Understanding, *, as_json: bool) -> None:
    """Print the likeliest intents of an utterance, and whether the first is sure enough to act on."""
    if as_json:
        scored = [vars(intent) for intent in understood.intents]
        slots = [vars(slot) for slot in understood.slots]
        print_json({"intent": understood.intent, "sure": understood.sure, "intents": scored, "slots": slots})
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("intent", "confidence", box=None)
    for intent in understood.intents:
        table.add_row(intent.name, f"{intent.confidence:.1%}")
    console = Console(soft_wrap=True)
    console.print(table, highlight=False)
    if understood.slots:
        parts = Table("slot", "said", "value", box=None)
        for slot in understood.slots:
            parts.add_row(slot.name, Text(slot.text), Text(f"{_value(slot.value)} {slot.unit}".strip()))
        console.print(parts, highlight=False)
    if not understood.sure:
        console.print("Unsure: ask again, or say it differently.", highlight=False)


def _value(value: object) -> str:
    """A slot's value for people: of a colour, its name and code."""
    return " ".join(map(str, value.values())) if isinstance(value, dict) else str(value)


def offline_facts(device: FleetDevice, done: OfflineResult) -> Facts:
    """What training brought a plain device folder."""
    fields = {name: value for name, value in vars(done).items() if name not in ("before", "after")}
    return {
        "device": device.description.name,
        "before": _accuracies(done.before),
        "after": _accuracies(done.after),
        "held_out_examples": int(done.after.personal_examples[0]),
        **fields,
    }


def _accuracies(evaluation: Evaluation) -> dict[str, float | None]:
    return {
        "personal_accuracy": _accuracy(evaluation.personal_correct, evaluation.personal_examples),
        "global_accuracy": _accuracy(evaluation.global_correct, evaluation.global_examples),
    }


def _accuracy(correct: IntArray, examples: IntArray) -> float | None:
    return float(correct[0] / examples[0]) if examples[0] else None


def print_offline(done: OfflineResult, facts: Facts) -> None:
    """Print what training brought a plain device folder, with `offline_facts`."""
    from rich.console import Console
    from rich.table import Table

    table = Table("accuracy", "before", "after", "examples", box=None)
    examples = (done.after.personal_examples, done.after.global_examples)
    for name, count in zip(("personal", "global"), examples, strict=True):
        before, after = (facts[when][f"{name}_accuracy"] for when in ("before", "after"))
        if before is not None:
            table.add_row(name, f"{before:.1%}", f"{after:.1%}", str(int(count[0])))
    console = Console()
    console.print(table)
    kept = f", {done.public_examples} public examples kept it from forgetting" if done.public_examples else ""
    console.print(
        f"{facts['device']}: {done.steps} steps in {done.seconds:.2f} s, mean loss "
        f"{done.mean_loss:.3f}{kept}.",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def learning_facts(result: LearningResult) -> Facts:
    """What a learning came to."""
    scores = {when: _score_facts(getattr(result, when)) for when in ("before", "after")}
    return {**vars(result), **scores}


def _score_facts(score: Score | None) -> Facts | None:
    return None if score is None else {**vars(score), "accuracy": score.accuracy}


def print_learning(result: LearningResult) -> None:
    """Print what a learning came to."""
    from rich.console import Console
    from rich.table import Table

    console = Console(soft_wrap=True)
    if result.before is not None and result.after is not None:
        table = Table(f"on {result.judged_on}", "before", "after", box=None)
        before, after = result.before, result.after
        table.add_row("accuracy", f"{before.accuracy:.1%}", f"{after.accuracy:.1%}")
        table.add_row("loss", f"{before.loss:.3f}", f"{after.loss:.3f}")
        console.print(table)
    energy = "" if result.joules is None else f", {result.joules:.1f} J"
    words = f"{result.words} {result.steps} steps in {result.seconds:.2f} s{energy}."
    console.print(words, highlight=False, markup=False)

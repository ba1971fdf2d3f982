"""Fifty steps of every family, optimizer and loss in ONNX Runtime against torch in float64.

Each cell is a student family, an optimizer (SGD, momentum, AdamW) and a loss:

  hard          labels
  soft          dense soft labels alone
  top-k         top-k soft labels with a rest bucket alone
  mixed         labels and dense soft labels
  mixed top-k   labels and top-k soft labels with a rest bucket

Its training graph takes 50 steps with one thread and with two, beside torch.optim on the plain loss in
float64; torch in float32 takes them, too. The table shows the largest relative difference from float64, the
graph's and that of float32: of the first gradients, of all losses, and of how far each parameter has moved at
the end. The verdict is the exporter's own gate: at most four times as far as float32 itself, and never beyond
2e-4.

    python benchmarks/step_equality.py --json step_equality.json
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedstill_proto.messages import Optimizer
from fedstill_proto.package.artifact import TrainingArtifact
from fedstill_server.export import Difference, GateError, build_artifact, verify_artifact
from fedstill_server.export.build import ArtifactOptions
from fedstill_server.families import ARRAYS, FAMILIES, TEXT, UTTERANCES

STEPS, THREADS = 50, (1, 2)
LOSSES = {  # name: form of soft labels, their weight
    "hard": ("none", 0.0),
    "soft": ("dense", 1.0),
    "top-k": ("top-k", 1.0),
    "mixed": ("dense", 0.6),
    "mixed top-k": ("top-k", 0.6),
}
COVERED_FAMILIES = (*FAMILIES.of_task(ARRAYS), *FAMILIES.of_task(TEXT))
SIZES = ("mlp-9-7", "cnn-2-3", "gru-6-9")  # sized families by example
ALL_FAMILIES = (*COVERED_FAMILIES, *FAMILIES.of_task(UTTERANCES), *SIZES)
_IMAGE = {"input_shape": (5, 6), "classes": 4, "step_rows": 5}
_TEXT = {"input_shape": (5,), "classes": 37, "step_rows": 3, "step_vocabulary": 11}
_UTTERANCE = {"input_shape": (7,), "classes": 4, "step_rows": 5}


@dataclass(frozen=True)
class Cell:
    family: str
    optimizer: Optimizer
    loss: str


def all_cells(families: Iterable[str] = ALL_FAMILIES) -> list[Cell]:
    return [Cell(*each) for each in itertools.product(families, Optimizer, LOSSES)]


def covering_cells() -> list[Cell]:
    """Choose cells so that every two of a named family, optimizer and loss meet in one."""
    optimizers = list(Optimizer)
    forms = list(dict.fromkeys(form for form, _ in LOSSES.values()))
    return [
        Cell(family, optimizers[(row + forms.index(form)) % len(optimizers)], loss)
        for row, family in enumerate(COVERED_FAMILIES)
        for loss, (form, _) in LOSSES.items()
    ]


def _shape_of(family: str) -> dict[str, Any]:
    return {TEXT: _TEXT, UTTERANCES: _UTTERANCE, ARRAYS: _IMAGE}[FAMILIES.task_of(family)]


@functools.lru_cache(maxsize=4)
def artifact_of(family: str, optimizer: Optimizer, soft_labels: str) -> TrainingArtifact:
    """Build the training graph of a cell; losses of one form share it."""
    options = ArtifactOptions(
        family=family,
        optimizer=optimizer,
        soft_labels=soft_labels,
        k=2 if soft_labels == "top-k" else 0,
        stack_size=1,
        **_shape_of(family),
    )
    return build_artifact(options, verify=False)


def examine(cell: Cell, *, steps: int = STEPS, threads: Sequence[int] = THREADS) -> dict[str, Any]:
    """Measure the differences of a cell, and whether they are those of float32."""
    form, soft_weight = LOSSES[cell.loss]
    artifact = artifact_of(cell.family, cell.optimizer, form)
    row = {"family": cell.family, "optimizer": cell.optimizer.value, "loss": cell.loss}
    try:
        report = verify_artifact(artifact, devices=1, threads=threads, steps=steps, soft_weight=soft_weight)
    except GateError as error:
        return {**row, "holds": False, "reason": str(error)}
    differences = {name: vars(each) for name, each in vars(report).items() if isinstance(each, Difference)}
    return {**row, "holds": True, **differences}


def _print(row: dict[str, Any]) -> None:
    names = f"{row['family']:12} {row['optimizer']:9} {row['loss']:12}"
    if not row["holds"]:
        print(f"{names} DIFFERS: {row['reason']}", flush=True)
        return
    pairs = (f"{row[of]['artifact']:9.1e} /{row[of]['float32']:8.1e}" for of in _SHOWN)
    print(names, *pairs, flush=True)


_SHOWN = ("gradients", "losses", "parameters")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--families", nargs="+", default=ALL_FAMILIES, choices=ALL_FAMILIES)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--json", type=Path, help="write the figures there")
    given = parser.parse_args(argv)
    print(
        f"{given.steps} steps, {' and '.join(map(str, THREADS))} threads; graph / torch float32, from float64"
    )
    print(f"{'family':12} {'optimizer':9} {'loss':12}", *(f"{name:>19}" for name in _SHOWN))
    started, rows = time.perf_counter(), []
    for cell in all_cells(given.families):
        rows.append(examine(cell, steps=given.steps))
        _print(rows[-1])
    failed = sum(not row["holds"] for row in rows)
    verdict = f"MISSED: {failed} of {len(rows)} differ" if failed else f"MET: all {len(rows)} cells agree"
    print(f"{verdict} ({time.perf_counter() - started:.0f} s)")
    if given.json:
        given.json.write_text(json.dumps({"cells": rows, "verdict": verdict}, indent=1) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

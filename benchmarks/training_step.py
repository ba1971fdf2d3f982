"""A training step of every family in ONNX Runtime against eager torch: one device, one thread, interleaved.

Each family takes steps of SGD on labels, on labels and dense soft labels, and on labels and top-k soft labels
with a rest bucket. The verdict: ONNX Runtime is at least as fast as torch in every cell.

OMP_NUM_THREADS=1 python benchmarks/training_step.py --steps 200 --json training_step.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from fedstill_proto.messages import Optimizer
from fedstill_proto.package.artifact import TRAINING_FILE
from fedstill_server.export import ArtifactOptions, build_artifact
from fedstill_server.export.graph_checks import step_manifest
from fedstill_server.export.reference import ReferenceStudent
from fedstill_server.export.trial import StudentStack, random_batch, share
from fedstill_server.families import ARRAYS, FAMILIES, TEXT, initial_parameters

OF_TEXT = {"input_shape": (20,), "classes": 10_000, "step_rows": 16, "step_vocabulary": 2_000}
DIGITS = {"input_shape": (8, 8), "classes": 10, "step_rows": 32}
SOFT_LABELS = ("none", "dense", "top-k")
_WARM_UP = 5


def medians_ms(family: str, soft_labels: str, optimizer: Optimizer, steps: int) -> tuple[float, float]:
    """Measure the median milliseconds of a step by ONNX Runtime and by eager torch."""
    is_text = family in FAMILIES.of_task(TEXT)
    artifact = build_artifact(
        ArtifactOptions(
            family=family,
            optimizer=optimizer,
            soft_labels=soft_labels,
            k=(32 if is_text else 4) if soft_labels == "top-k" else 0,
            stack_size=1,
            **OF_TEXT if is_text else DIGITS,
        ),
        verify=False,
    )
    manifest = step_manifest(artifact.manifest)
    start = initial_parameters(family, manifest.input_shape, manifest.classes, 0)
    ours = StudentStack(replace(artifact, manifest=manifest), TRAINING_FILE, {0: start}, threads=1)
    theirs = ReferenceStudent(manifest, start, dtype=torch.float32)
    batch = random_batch(manifest, 0, rows=manifest.step_rows)
    own, seconds = share(batch, 0), ([], [])  # type: ignore[var-annotated]
    for step in range(1, steps + _WARM_UP + 1):
        before = time.perf_counter()
        ours.step(batch, step)
        between = time.perf_counter()
        theirs.step(own, learning_rate=0.1)
        if step > _WARM_UP:
            seconds[0].append(between - before)
            seconds[1].append(time.perf_counter() - between)
    return 1000 * statistics.median(seconds[0]), 1000 * statistics.median(seconds[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--steps", type=int, default=200, help="timed steps of each cell")
    parser.add_argument("--families", nargs="+", default=[*FAMILIES.of_task(ARRAYS), *FAMILIES.of_task(TEXT)])
    parser.add_argument("--optimizer", choices=[kind.value for kind in Optimizer], default="sgd")
    parser.add_argument("--json", type=Path, help="write the figures there")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    print(f"{'family':12} {'soft labels':12} {'ONNX Runtime':>13} {'eager torch':>12} {'times':>6}")
    for family in arguments.families:
        for soft_labels in SOFT_LABELS:
            ours, theirs = medians_ms(family, soft_labels, Optimizer(arguments.optimizer), arguments.steps)
            cell = {"family": family, "soft_labels": soft_labels, "optimizer": arguments.optimizer}
            rows.append({**cell, "onnxruntime_ms": ours, "torch_ms": theirs, "times_as_fast": theirs / ours})
            print(f"{family:12} {soft_labels:12} {ours:10.3f} ms {theirs:9.3f} ms {theirs / ours:6.2f}")
    slower = [f"{row['family']} ({row['soft_labels']})" for row in rows if row["times_as_fast"] < 1]
    verdict = f"MISSED: slower than torch: {', '.join(slower)}" if slower else "MET: at least as fast in all"
    print(verdict)
    if arguments.json:
        arguments.json.write_text(json.dumps({"cells": rows, "verdict": verdict}, indent=1) + "\n")
    sys.exit(1 if slower else 0)


if __name__ == "__main__":
    main()

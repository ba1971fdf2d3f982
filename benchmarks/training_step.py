"""A training step of every family in ONNX Runtime against eager torch: one device, one thread, interleaved.

OMP_NUM_THREADS=1 python benchmarks/training_step.py --steps 200 --json training_step.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from fedstill_proto.messages import Optimizer
from fedstill_server.export import build_artifact
from fedstill_server.export.graph_checks import step_manifest
from fedstill_server.export.reference import ReferenceStudent
from fedstill_server.export.trial import StudentStack, random_batch, share
from fedstill_server.families import FAMILIES, LANGUAGE_FAMILIES, initial_parameters

TEXT = {"input_shape": (20,), "classes": 10_000, "step_rows": 16, "step_vocabulary": 2_000}
DIGITS = {"input_shape": (8, 8), "classes": 10, "step_rows": 32}


def medians_ms(family: str, steps: int) -> tuple[float, float]:
    """Median milliseconds of a step of SGD on hard labels: ONNX Runtime's and eager torch's."""
    options = TEXT if family in LANGUAGE_FAMILIES else DIGITS
    artifact = build_artifact(
        family=family,
        optimizer=Optimizer.SGD,
        soft_labels="none",
        stack_size=1,
        verify=False,
        **options,  # type: ignore[arg-type]
    )
    manifest = step_manifest(artifact.manifest)
    start = initial_parameters(family, manifest.input_shape, manifest.classes, 0)
    ours = StudentStack(manifest, artifact.training_graph, {0: start}, threads=1)
    theirs = ReferenceStudent(manifest, start, dtype=torch.float32)
    batch = random_batch(manifest, 0)
    own, seconds = share(batch, 0), ([], [])  # type: ignore[var-annotated]
    for step in range(1, steps + 6):
        before = time.perf_counter()
        ours.step(batch, step)
        between = time.perf_counter()
        theirs.step(own, learning_rate=0.1)
        if step > 5:  # the first ones warm up
            seconds[0].append(between - before)
            seconds[1].append(time.perf_counter() - between)
    return 1000 * statistics.median(seconds[0]), 1000 * statistics.median(seconds[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = {}
    print(f"{'family':10} {'ONNX Runtime':>13} {'eager torch':>12} {'times':>6}")
    for family in (*FAMILIES, *LANGUAGE_FAMILIES):
        ours, theirs = medians_ms(family, arguments.steps)
        rows[family] = {"onnxruntime_ms": ours, "torch_ms": theirs, "times_as_fast": theirs / ours}
        print(f"{family:10} {ours:10.3f} ms {theirs:9.3f} ms {theirs / ours:6.2f}")
    slower = [family for family, row in rows.items() if row["times_as_fast"] < 1]
    print(
        f"MISSED: slower than torch: {', '.join(slower)}"
        if slower
        else "MET: at least as fast on every family"
    )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""What a training step of a stack costs a device, with the loss that a real device tells and without it.

Steps are those of a default fleet's round (momentum, batches of 16 private and 16 public digits, dense soft
labels) in the simulator's processor time; the two graphs take turns. Both must give the same bits.

    python benchmarks/stacked_step.py --families mlp-small mlp-wide cnn --stack 8 32
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

import numpy as np
from fedstill_client.model.trainer import Personalizer
from fedstill_proto.messages import Optimizer
from fedstill_server.export import ArtifactOptions, build_artifact
from fedstill_server.export.without_loss import without_loss
from fedstill_sim.runner.stack_size import measured_plan


def microseconds(family: str, optimizer: Optimizer, stack_size: int, turns: int) -> tuple[float, float]:
    """Measure a device's median microseconds for a step, with the loss and without it."""
    with_loss = build_artifact(
        ArtifactOptions(
            family=family,
            input_shape=(8, 8),
            classes=10,
            optimizer=optimizer,
            soft_labels="dense",
            stack_size=stack_size,
            step_rows=32,
        ),
        verify=False,
    )
    draw, manifest = np.random.default_rng(0), with_loss.manifest
    student = {spec.name: draw.normal(0, 0.1, spec.shape).astype(np.float32) for spec in manifest.parameters}
    plan = measured_plan(manifest, draw)
    personalizers = [Personalizer(artifact) for artifact in (with_loss, without_loss(with_loss))]
    first, second = (each.train(student, plan)[0] for each in personalizers)
    if not all(np.array_equal(first[name], second[name]) for name in first):
        raise SystemExit(f"{family}: a stack of {stack_size} has other bits without the loss")
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(turns):
        for personalizer, taken in zip(personalizers, seconds, strict=True):
            start = time.thread_time()
            personalizer.train(student, plan, copy=False)
            taken.append((time.thread_time() - start) / (plan.steps * stack_size))
    told, silent = (1e6 * statistics.median(taken) for taken in seconds)
    return told, silent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--families", nargs="+", default=["mlp-small", "mlp-wide", "cnn"])
    parser.add_argument("--stack", nargs="+", type=int, default=[8, 32], help="devices of a stack")
    parser.add_argument("--optimizer", choices=[kind.value for kind in Optimizer], default="momentum")
    parser.add_argument("--turns", type=int, default=100, help="timed rounds of four steps")
    options = parser.parse_args()
    print(f"{'family':12} {'stack':>6} {'with loss':>12} {'without':>12} {'times':>6}")
    for family in options.families:
        for size in options.stack:
            told, silent = microseconds(family, Optimizer(options.optimizer), size, options.turns)
            print(f"{family:12} {size:6d} {told:9.1f} us {silent:9.1f} us {told / silent:6.2f}", flush=True)


if __name__ == "__main__":
    sys.exit(main())

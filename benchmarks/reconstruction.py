"""Rebuilds a device's private digits as a hostile server would, without the owner's policy and with it.

    python benchmarks/reconstruction.py

Prints, of each attack, how many of 40 private digits were found, and the correlations of what was found with
them beside those of the best public row, which no device has to answer for.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from fedstill_proto.arrays import Float64Array
from fedstill_proto.messages import Optimizer
from fedstill_server.export.build import ArtifactOptions, build_artifact
from fedstill_sim.audit.found_examples import FoundExamples, compare_found
from fedstill_sim.audit.obedient_device import ObedientDevice
from fedstill_sim.audit.traps import from_parameters, from_soft_labels
from fedstill_sim.data.digits import load_digits

PRIVATE = 40
DECILES = (0, 10, 50, 90, 100)

Attack = Callable[[ObedientDevice], Float64Array]
ATTACKS: tuple[tuple[str, Attack], ...] = (
    ("traps, parameters asked for, 6 tasks at most", lambda it: from_parameters(it, tasks=6, seed=0)),
    ("traps, float32 soft labels, 400 tasks", lambda it: from_soft_labels(it, tasks=400, seed=0)),
)


def attacked(attack: Attack) -> tuple[FoundExamples, int]:
    """What an attack finds of a writer's first digits, and after how many tasks."""
    data = load_digits(devices=10)
    rows = data.train[0][:PRIVATE]
    options = ArtifactOptions(
        family="mlp-small",
        input_shape=data.input_shape,
        classes=data.classes,
        optimizer=Optimizer.MOMENTUM,
        soft_labels="dense",
        stack_size=1,
        step_rows=32,
    )
    private = data.x[rows]
    device = ObedientDevice(build_artifact(options), private, data.y[rows], public_x=data.public_x)
    return compare_found(attack(device), private, data.public_x), device.tasks


def show(name: str, found: FoundExamples, tasks: int) -> None:
    """Print what an attack found."""
    print(f"\n{name}: {tasks} tasks")
    print(f"  within 1/32 a pixel   {(found.error <= 1 / 32).sum():3d} of {len(found.found)}")
    print(f"  correlation above .99 {(found.found > 0.99).sum():3d} of {len(found.found)}")
    print(f"  above the public set  {found.above.sum():3d} of {len(found.found)}")
    for label, values in (("found", found.found), ("public", found.public)):
        shares = "  ".join(f"{value:.3f}" for value in np.percentile(values, DECILES))
        print(f"  {label:6s} correlation, least / 10 % / median / 90 % / most:  {shares}")


def main() -> None:
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    began = time.perf_counter()
    print("against a device that starts from whatever student it is sent, without a policy")
    for name, attack in ATTACKS:
        show(name, *attacked(attack))
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()

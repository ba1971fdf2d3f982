"""What a frozen backbone saves: MobileNetV3-small with personal heads, its step, state, and 1,000 devices.

Prints the milliseconds of a step of the head and of the whole network, what an example costs once in front of
the steps, the bytes of a device's state in both, and the peak memory of all processes of a simulated round.

    python benchmarks/frozen.py
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import numpy as np
from fedstill_client.model.prefix import prefix_of
from fedstill_client.model.trainer import SLOTS, Personalizer
from fedstill_proto.messages import Optimizer
from fedstill_proto.package.artifact import TrainingArtifact
from fedstill_server.export import ArtifactOptions, build_artifact
from fedstill_sim.runner.stack_size import measured_plan
from torch import nn

import fedstill as fs
from fedstill.chosen import family_of_student

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.zoo_networks.published import torchvision_models

SHAPE, CLASSES, ROWS = (3, 32, 32), 10, 32
_REPEATS = 9


def backbone(classes: int) -> nn.Module:
    """MobileNetV3-small of torchvision, with random weights."""
    network: nn.Module = torchvision_models().mobilenet_v3_small(num_classes=classes)
    return network


def artifact_of(train: str) -> TrainingArtifact:
    """The training artifact of one device whose backbone is frozen, or not."""
    name, _ = family_of_student(fs.Student(backbone, name=f"mobilenet-{train}", train=train))
    options = ArtifactOptions(
        family=name,
        input_shape=SHAPE,
        classes=CLASSES,
        optimizer=Optimizer.MOMENTUM,
        soft_labels="dense",
        stack_size=1,
        step_rows=ROWS,
    )
    return build_artifact(options, verify=False)


def step_ms(artifact: TrainingArtifact) -> float:
    """The median milliseconds of a step on one thread."""
    random = np.random.default_rng(0)
    manifest, personalizer, plan = (
        artifact.manifest,
        Personalizer(artifact),
        measured_plan(artifact.manifest, random),
    )
    student = {
        spec.name: np.abs(random.normal(0, 0.1, spec.shape)).astype(np.float32)
        for spec in manifest.parameters
    }
    personalizer.train(student, plan)
    seconds = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        personalizer.train(student, plan, copy=False)
        seconds.append((time.perf_counter() - start) / plan.steps)
    return 1000 * statistics.median(seconds)


def prefix_ms(artifact: TrainingArtifact) -> float:
    """The milliseconds of an example on its way through the frozen part."""
    prefix = prefix_of(artifact)
    x = np.random.default_rng(0).normal(size=(4 * ROWS, *SHAPE)).astype(np.float32)
    prefix.fresh(x)
    start = time.perf_counter()
    prefix.fresh(x)
    return 1000 * (time.perf_counter() - start) / len(x)


def state_bytes(artifact: TrainingArtifact) -> int:
    """What a device keeps to go on training: what trains, and the optimizer's memory of it."""
    manifest = artifact.manifest
    learning = sum(spec.size for spec in manifest.parameters if spec.name not in manifest.buffers)
    return 4 * (manifest.parameter_count + len(SLOTS[manifest.optimizer]) * learning)


def simulated(devices: int, processes: int) -> fs.Result:
    """A round of devices with personal heads, 12 examples each."""
    random = np.random.default_rng(0)
    x = random.random((12 * devices + 300, *SHAPE), np.float32)
    y = random.integers(0, CLASSES, len(x))
    x += np.float32(0.1) * y[:, None, None, None].astype(np.float32)
    owned = np.arange(12 * devices).reshape(devices, 12)
    fleet = fs.Fleet.from_arrays(
        [fs.Device(x[rows[:9]], y[rows[:9]], x_test=x[rows[9:]], y_test=y[rows[9:]]) for rows in owned],
        public=(x[-300:-200], y[-300:-200]),
        test=(x[-200:], y[-200:]),
    )
    return fs.simulate(
        fleet,
        students=[fs.Student(backbone, name="mobilenet-head", train="head")],
        method=fs.methods.Fedstill(fewest_rows=0),
        rounds=1,
        processes=processes,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--devices", type=int, default=1000, help="simulated devices; 0 simulates none")
    parser.add_argument("--processes", type=int, default=2, help="worker processes of the simulation")
    arguments = parser.parse_args()
    head, whole = artifact_of("head"), artifact_of("all")
    head_ms, whole_ms = step_ms(head), step_ms(whole)
    print(
        f"step of {ROWS} rows: head {head_ms:.3f} ms, all {whole_ms:.2f} ms: {whole_ms / head_ms:.0f} times"
    )
    print(f"an example, once: {prefix_ms(head):.2f} ms")
    of_head, of_all = state_bytes(head), state_bytes(whole)
    print(f"state: head {of_head:,} bytes, all {of_all:,} bytes: 1/{of_all / of_head:.0f}")
    if arguments.devices:
        start = time.perf_counter()
        engine = simulated(arguments.devices, arguments.processes).run.engine
        seconds, processes = time.perf_counter() - start, engine.processes
        print(
            f"{arguments.devices:,} devices, one round, {processes} workers: {seconds:.0f} s, "
            f"peak memory of all processes {engine.peak_memory_mb:,.0f} MB"
        )


if __name__ == "__main__":
    main()

"""Recurrent layers over 9 sensors: a step and an answer of a device beside eager torch's, and graphs' cost.

Each network is one layer and a classifier of its last state; a step is SGD on 16 rows, an answer of 64. Times
are the least of several, of this thread on its processor; eager torch runs on one thread, in turn with ours.

OMP_NUM_THREADS=1 python benchmarks/recurrent.py --places 128 --widths 32 128 --stacks 1 16
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from fedstill_proto.messages import Optimizer
from fedstill_proto.package.artifact import FORWARD_FILE, TRAINING_FILE
from fedstill_server.export import ArtifactOptions, build_artifact
from fedstill_server.export.reference import ReferenceStudent
from fedstill_server.export.trial import StudentStack, random_batch, share
from fedstill_server.families import FAMILIES, initial_parameters
from torch import Tensor, nn

LAYERS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
SENSORS, CLASSES, ROWS = 9, 6, 16


class LastState(nn.Module):
    def __init__(self, kind: str, width: int, classes: int) -> None:
        super().__init__()
        self.layer = LAYERS[kind](SENSORS, width, batch_first=True)
        self.output = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.layer(x)[0][:, -1])  # type: ignore[no-any-return]


def least_ms(functions: dict[str, Callable[[], object]], seconds: float) -> dict[str, float]:
    """The least milliseconds of each function, run in turn until so much time has passed."""
    least = dict.fromkeys(functions, np.inf)
    for function in functions.values():
        function()
    end = time.monotonic() + seconds
    while np.inf in least.values() or time.monotonic() < end:
        for name, function in functions.items():
            before = time.process_time()
            function()
            least[name] = min(least[name], 1000 * (time.process_time() - before))
    return least


def measured(kind: str, width: int, places: int, stack: int, seconds: float) -> str:
    family = f"{kind}-{width}"
    FAMILIES.register(family, lambda classes: LastState(kind, width, classes))
    artifact = build_artifact(
        ArtifactOptions(
            family=family,
            input_shape=(places, SENSORS),
            classes=CLASSES,
            optimizer=Optimizer.SGD,
            soft_labels="none",
            stack_size=stack,
            step_rows=ROWS,
        ),
        verify=False,
    )
    manifest = artifact.manifest
    start = initial_parameters(family, manifest.input_shape, CLASSES, 0)
    before = time.process_time()
    ours = StudentStack(artifact, TRAINING_FILE, {0: start}, threads=1)
    opened = 1000 * (time.process_time() - before)
    answering = StudentStack(artifact, FORWARD_FILE, {0: start}, threads=1)
    theirs = ReferenceStudent(replace(manifest, stack_size=1), start, dtype=torch.float32)
    batch = random_batch(manifest, 0, rows=ROWS)  # all of them weigh
    own, x = share(batch, 0), np.zeros((64, places, SENSORS), np.float32)
    found = least_ms(
        {
            "step": lambda: ours.step(batch, 1),
            "torch": lambda: theirs.step(own, learning_rate=0.1),
            "answer": answering.forward,
            "torch_answer": lambda: theirs.answers(x),
        },
        seconds,
    )
    step, answer = found["step"] / stack, found["answer"] / stack
    return (
        f"{kind:5} {width:5} {places:6} {stack:5} {step:9.2f} {found['torch']:7.2f} {answer:9.2f} "
        f"{found['torch_answer']:7.2f} {opened:8.0f} {len(artifact.training_graph):7}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kinds", nargs="+", default=list(LAYERS))
    parser.add_argument("--widths", nargs="+", type=int, default=[32, 128])
    parser.add_argument("--places", nargs="+", type=int, default=[32, 128, 512])
    parser.add_argument("--stacks", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--seconds", type=float, default=2.0, help="of each line")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print("kind  width places stack   step ms   torch answer ms   torch start ms   bytes")
    for kind in asked.kinds:
        for width in asked.widths:
            for places in asked.places:
                for stack in asked.stacks:
                    print(measured(kind, width, places, stack, asked.seconds), flush=True)


if __name__ == "__main__":
    main()

"""Accuracies and bytes of a fleet of 1,000 classes, with dense soft labels and with the k likeliest classes.

    python benchmarks/many_classes.py --codecs dense topk8 topk16 topk32 --seeds 0-1    # what k is chosen on
    python benchmarks/many_classes.py --codecs  --seeds 1000-1002
    python benchmarks/many_classes.py --classes 32 64 128 --codecs  --seeds 0-0

Each class is a Gaussian around a prototype of 24 numbers, which a fixed random network maps to 64. A device
has examples of a tenth of the classes, and the public set one labelled example of each. For each number of
classes and each codec, the means over the seeds: personal and global accuracy after the rounds, what a device
sends and is sent in a round on average, and what it is sent in the last one, in which most was told before.
"""

from __future__ import annotations

import argparse

import numpy as np
from rich.console import Console
from rich.table import Table

import fedstill as fs

_LATENT, _WIDTH = 24, 64
_UP, _DOWN = "4bit,log,entropy", "4bit,log,entropy,delta"


def many_classes(classes: int, *, devices: int, seed: int) -> fs.Fleet:
    """A fleet of so many classes."""
    random = np.random.default_rng([seed, classes])
    prototypes = random.normal(size=(classes, _LATENT))
    inner, outer = random.normal(size=(_LATENT, 96)) / 3, random.normal(size=(96, _WIDTH)) / 10

    def examples(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        latent = prototypes[labels] + 0.6 * random.normal(size=(len(labels), _LATENT))
        return (np.tanh(latent @ inner) @ outer).astype(np.float32), labels

    def device() -> fs.Device:
        own = random.permutation(classes)[: classes // 10]
        x, y = examples(random.choice(own, 400))
        x_test, y_test = examples(random.choice(own, 100))
        return fs.Device(x, y, x_test=x_test, y_test=y_test)

    every = np.arange(classes)
    return fs.Fleet.from_arrays(
        [device() for _ in range(devices)],
        public=examples(np.repeat(every, max(1, 1000 // classes))),
        test=examples(random.choice(every, 1000)),
        classes=classes,
        name=f"{classes} classes",
    )


def measured(fleet: fs.Fleet, codec: str, *, rounds: int, seed: int, student: str) -> list[float]:
    """Both accuracies in percent, bytes up and down in kB, and down in the last round."""
    options = {} if codec == "default" else {"uplink": f"{codec},{_UP}", "downlink": f"{codec},{_DOWN}"}
    result = fs.simulate(
        fleet,
        students=[student],
        rounds=rounds,
        seed=seed,
        processes=0,
        evaluate_every=0,
        tradeoff=False,
        **options,
    )
    final, last = result.final, result.rounds[-1]
    return [
        100 * final.personal_accuracy,
        100 * final.global_accuracy,
        final.uplink_bytes_per_device_round / 1000,
        final.downlink_bytes_per_device_round / 1000,
        last.downlink_bytes_per_device_round / 1000,
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--classes", type=int, nargs="+", default=[1000])
    parser.add_argument("--codecs", nargs="+", default=["dense", "default"])
    parser.add_argument("--seeds", default="1000-1002", help="first-last")
    parser.add_argument("--devices", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--student", default="mlp-small")
    asked = parser.parse_args()
    first, last = map(int, asked.seeds.split("-"))
    table = Table("classes", "codec", "personal %", "global %", "up kB", "down kB", "last down kB")
    for classes in asked.classes:
        for codec in asked.codecs:
            runs = [
                measured(
                    many_classes(classes, devices=asked.devices, seed=seed),
                    codec,
                    rounds=asked.rounds,
                    seed=seed,
                    student=asked.student,
                )
                for seed in range(first, last + 1)
            ]
            table.add_row(str(classes), codec, *(f"{mean:.1f}" for mean in np.mean(runs, axis=0)))
    Console().print(table)


if __name__ == "__main__":
    main()

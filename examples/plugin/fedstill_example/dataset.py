"""A data set: the vibrations of machines, each of which is a device with a habit of its own.

What shakes a machine shows at multiples of the speed at which it turns (ISO 13373-3): an imbalance at once
that speed, a misalignment at twice, looseness at many multiples, and a broken bearing in short knocks.
Machines differ in speed and noise, so that the examples of one tell little of another. No file is needed: all
is made from the seed.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

import fedstill as fs

FAULTS = ("none", "imbalance", "misalignment", "looseness", "bearing")
SAMPLES = 64  # of a signal
_HARMONICS = {
    "none": (0.3,),
    "imbalance": (1.6,),
    "misalignment": (0.5, 1.4),
    "looseness": (0.8, 0.6, 0.5, 0.4),
}

Signals = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


def machines(*, devices: int = 10, seed: int = 0) -> fs.Fleet:
    """Return a fleet of machines; fedstill gives `devices` and `seed` as a command line says them.

    A `dirichlet` it has not, so that `--dirichlet` is refused: machines are no shares of one pool.
    """
    random = np.random.default_rng(seed)
    workshop = [_machine(random, examples=60) for _ in range(devices)]
    benches = [_machine(random, examples=100) for _ in range(4)]  # the maker's own, for everyone
    public, test = _together(benches[:2]), _together(benches[2:])
    named = {f"machine-{number:02d}": fs.Device(x, y) for number, (x, y) in enumerate(workshop)}
    return fs.Fleet.from_arrays(
        named, public=public, test=test, classes=len(FAULTS), name="machines", seed=seed
    )


def _machine(random: np.random.Generator, *, examples: int) -> tuple[Signals, Labels]:
    """x [examples, SAMPLES] of one machine, and the fault of each."""
    speed, noise = random.uniform(3, 6), random.uniform(0.1, 0.4)  # turns in a signal; standard deviation
    y = random.integers(0, len(FAULTS), examples)
    x = np.stack([_signal(random, FAULTS[fault], speed) for fault in y])
    return (x + noise * random.normal(size=x.shape)).astype(np.float32), y


def _signal(random: np.random.Generator, fault: str, speed: float) -> npt.NDArray[np.float64]:
    """[SAMPLES], begun at any moment of a turn."""
    turn = 2 * np.pi * (speed * np.arange(SAMPLES) / SAMPLES + random.uniform())
    if fault == "bearing":
        return 0.3 * np.sin(turn) + 1.5 * np.sin(9 * turn) * (np.cos(3.6 * turn) > 0.8)
    heights = np.array(_HARMONICS[fault])
    signal: npt.NDArray[np.float64] = heights @ np.sin(np.outer(1 + np.arange(len(heights)), turn))
    return signal


def _together(parts: list[tuple[Signals, Labels]]) -> tuple[Signals, Labels]:
    return np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])

"""A tiny task: four classes, each a bright corner of a 4x4 image, and a teacher that knows them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from fedstill_proto.arrays import FloatArray, IntArray
from fedstill_server.distill.engine import train
from fedstill_server.distill.job import UNKNOWN, DistillJob
from fedstill_server.distill.plan import DistillPlan
from fedstill_server.distill.teachers import TorchTeacher
from fedstill_server.families import build_student
from fedstill_server.training.networks import load_parameters

CLASSES = 4
PLAN = DistillPlan(epochs=4, batch_size=16, learning_rate=2e-2, checkpoint_epochs=1, seed=3)


def corners(count: int, *, seed: int = 0, noise: float = 0.35) -> tuple[FloatArray, IntArray]:
    random = np.random.default_rng(seed)
    y = random.integers(0, CLASSES, count)
    x = random.normal(0, noise, (count, 4, 4)).astype(np.float32)
    for row, label in enumerate(y):
        down, right = divmod(int(label), 2)
        x[row, 2 * down : 2 * down + 2, 2 * right : 2 * right + 2] += 0.6
    return x, y


def taught(family: str = "mlp-20-6", *, seed: int = 1, epochs: int = 20) -> TorchTeacher:
    """A teacher of the corners."""
    x, y = corners(200, seed=seed)
    plan = replace(PLAN, epochs=epochs, seed=seed)
    trained = train(DistillJob(family=family, classes=CLASSES, x=x, labels=y, plan=plan))
    return TorchTeacher(load_parameters(build_student(family, (4, 4), CLASSES), trained.parameters))


def job(**changes: Any) -> DistillJob:
    """Forty examples of which ten have labels."""
    x, y = corners(40, seed=2)
    labels = np.where(np.arange(40) < 10, y, UNKNOWN)
    values: dict[str, Any] = {"family": "mlp-6", "classes": CLASSES, "x": x, "labels": labels, "plan": PLAN}
    return DistillJob(**{**values, **changes})

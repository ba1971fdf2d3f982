"""The roof: the matrix products of the work alone, as fast as numpy's BLAS does them, and nothing else.

A step of a user has a product for each layer forward, one for its weights' gradient, and one for what stands
below it, but for the first; a convolution is the product with its patches, which lie there already.
"""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
from fedstill_proto.arrays import FloatArray

from averaging.clock import Clock
from averaging.workload import BATCH_SIZE, Workload

STACK_SIZES = (16, 32, 64)
LAYERS = {
    "mlp": [(64, 64, BATCH_SIZE), (10, 64, BATCH_SIZE)],
    "cnn": [(8, 9, 64 * BATCH_SIZE), (16, 72, 16 * BATCH_SIZE), (10, 64, BATCH_SIZE)],
}
"""Outputs, inputs and columns of each layer's product."""

Product = tuple[FloatArray, FloatArray, FloatArray]


def run(work: Workload, clock: Clock) -> None:
    """Do the products of rounds until the clock ends; nobody learns anything."""
    steps = sum(-(-len(rows) // BATCH_SIZE) for rows in work.data().train)
    products = min((_products(work.model, size) for size in STACK_SIZES), key=_seconds)
    stacks, student = steps / len(products[0][0]), work.student()
    while clock.start():
        for _ in range(round(stacks)):
            _multiply(products)
        clock.stop(student)


def _products(model: str, size: int) -> list[Product]:
    """The operands and the place of each product of a step of a stack."""
    draw = np.random.default_rng(0)

    def filled(*shape: int) -> FloatArray:
        return draw.normal(size=(size, *shape)).astype(np.float32)

    found: list[Product] = []
    for number, (outputs, inputs, columns) in enumerate(LAYERS[model]):
        weights, x, gradient = filled(outputs, inputs), filled(inputs, columns), filled(outputs, columns)
        found.append((weights, x, filled(outputs, columns)))
        found.append((gradient, x.swapaxes(1, 2), filled(outputs, inputs)))
        if number:
            found.append((weights.swapaxes(1, 2), gradient, filled(inputs, columns)))
    return found


def _multiply(products: list[Product]) -> None:
    for left, right, out in products:
        np.matmul(left, right, out=out)


def _seconds(products: list[Product]) -> float:
    """A user's seconds for a step, the least of a few."""
    marks = [time.perf_counter()]
    for _ in range(30):
        _multiply(products)
        marks.append(time.perf_counter())
    return min(after - before for before, after in pairwise(marks)) / len(products[0][0])

"""The same work in JAX, one program a round: `jax.vmap` over users, `lax.scan` over their batches.

Users stand in stacks by how many batches they have, as the cohort engine's do, so that hardly any step is
padding, and their batches are on the device before the clock starts. How many users a stack holds, and
whether a convolution is JAX's own or a product with patches, is tried before the first round: the fastest is
taken.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from averaging.clock import Clock
from averaging.workload import BATCH_SIZE, LEARNING_RATE, Workload

STACK_SIZES = (16, 32, 64)
_SETTINGS = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"


class Group(NamedTuple):
    """Users with equally many batches S, in stacks of C: [stacks, S, C, ...], and rows that weigh nothing."""

    x: Any  # [stacks, S, C, rows, 64]
    y: Any  # [stacks, S, C, rows]
    weight: Any  # [stacks, S, C, rows] 1/n of a batch of n
    examples: Any  # [stacks, C] of a user; 0 for who fills the last stack up


def run(work: Workload, clock: Clock) -> None:
    """Run FedAvg rounds until the clock ends."""
    os.environ["XLA_FLAGS"] = _SETTINGS
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # whatever threads it has, on one core
    import jax

    names, student = list(work.student()), [jax.numpy.asarray(array) for array in work.student().values()]
    total = sum(len(rows) for rows in work.data().train)
    candidates = [
        (_program(forward, total), _groups(work, size))
        for forward in FORMS[work.model]
        for size in STACK_SIZES
    ]
    program, groups = min(candidates, key=lambda each: _seconds(each[0], student, each[1]))
    while clock.start():
        student = [np.asarray(array) for array in program(student, groups)]
        clock.stop(dict(zip(names, student, strict=True)))


def _seconds(program: Any, student: Any, groups: Any) -> float:
    """The faster of two rounds after the one that compiles."""
    import jax

    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        jax.block_until_ready(program(student, groups))
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])


def _program(forward: Callable[..., Any], total: int) -> Any:
    """A round: the average of what all users make of a student."""
    import jax
    from jax import numpy as jnp

    def loss(weights: Any, x: Any, y: Any, weight: Any) -> Any:
        logits = forward(weights, x)
        shifted = logits - jax.lax.stop_gradient(logits.max(-1, keepdims=True))
        entropy = jnp.log(jnp.exp(shifted).sum(-1)) - jnp.take_along_axis(shifted, y[:, None], 1)[:, 0]
        return (weight * entropy).sum()

    def step(weights: Any, batch: Any) -> Any:
        gradients = jax.grad(loss)(weights, *batch)
        return [p - LEARNING_RATE * g for p, g in zip(weights, gradients, strict=True)]

    def stack_sum(student: Any, group: Group) -> Any:
        devices = group.examples.shape[0]
        start = [jnp.broadcast_to(array, (devices, *array.shape)) for array in student]
        batches = (group.x, group.y, group.weight)
        trained, _ = jax.lax.scan(lambda now, batch: (jax.vmap(step)(now, batch), None), start, batches)
        return [jnp.tensordot(group.examples, array, 1) for array in trained]

    @jax.jit
    def average(student: Any, groups: Any) -> Any:
        totals = [jnp.zeros_like(array) for array in student]
        for group in groups:
            sums = jax.lax.map(lambda stack: stack_sum(student, stack), group)
            totals = [whole + part.sum(0) for whole, part in zip(totals, sums, strict=True)]
        return [whole / total for whole in totals]

    return average


def _groups(work: Workload, size: int) -> list[Group]:
    """All users, by how many batches they have."""
    import jax

    data = work.data()
    steps = np.array([-(-len(rows) // BATCH_SIZE) for rows in data.train])
    groups = []
    for count in np.unique(steps):
        members = np.flatnonzero(steps == count)
        stacks = -(-len(members) // size)
        x = np.zeros((stacks * size, count * BATCH_SIZE, 64), np.float32)
        y = np.zeros(x.shape[:2], np.int32)
        weight, examples = np.zeros(x.shape[:2], np.float32), np.zeros(stacks * size, np.float32)
        for place, user in enumerate(members):
            rows = data.train[user]
            x[place, : len(rows)], y[place, : len(rows)] = data.x[rows].reshape(-1, 64), data.y[rows]
            last = len(rows) - (count - 1) * BATCH_SIZE
            weight[place, : len(rows)] = 1 / BATCH_SIZE
            weight[place, len(rows) - last : len(rows)] = 1 / last
            examples[place] = len(rows)

        def batches(array: Any, stacks: int = stacks, count: int = int(count)) -> Any:
            parts = array.reshape(stacks, size, count, BATCH_SIZE, *array.shape[2:])
            return np.ascontiguousarray(parts.swapaxes(1, 2))

        groups.append(Group(batches(x), batches(y), batches(weight), examples.reshape(stacks, size)))
    placed: list[Group] = jax.device_put(groups)
    return placed


def _mlp(weights: Any, x: Any) -> Any:
    import jax

    w1, b1, w2, b2 = weights
    return jax.nn.relu(x @ w1.T + b1) @ w2.T + b2


def _cnn(weights: Any, x: Any) -> Any:
    """Convolutions of JAX's own."""
    import jax

    w1, b1, w2, b2, w3, b3 = weights

    def layer(x: Any, weight: Any, bias: Any) -> Any:
        form = ("NCHW", "OIHW", "NCHW")
        y = jax.lax.conv_general_dilated(x, weight, (1, 1), "SAME", dimension_numbers=form)
        return _pooled(jax.nn.relu(y + bias[:, None, None]))

    x = layer(layer(x.reshape(-1, 1, 8, 8), w1, b1), w2, b2)
    return x.reshape(len(x), -1) @ w3.T + b3


def _cnn_by_patches(weights: Any, x: Any) -> Any:
    """Convolutions as products with the patches of an image."""
    import jax
    from jax import numpy as jnp

    w1, b1, w2, b2, w3, b3 = weights

    def layer(x: Any, weight: Any, bias: Any) -> Any:  # [channels, h, w, n]
        _, height, width, _ = x.shape
        around = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        patches = jnp.stack(
            [
                around[:, row : row + height, column : column + width]
                for row in range(3)
                for column in range(3)
            ],
            1,
        )
        y = jnp.tensordot(weight.reshape(len(weight), -1), patches.reshape(-1, *x.shape[1:]), 1)
        y = jax.nn.relu(y + bias[:, None, None, None])
        return _pooled(y.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)

    x = layer(layer(x.reshape(-1, 8, 8, 1).transpose(3, 1, 2, 0), w1, b1), w2, b2)
    return (w3 @ x.reshape(-1, x.shape[-1])).T + b3


def _pooled(x: Any) -> Any:
    """The maximum of windows of 2 x 2 places [..., h, w]; of equals the first has the gradient."""
    from jax import numpy as jnp

    left, right = x[..., 0::2], x[..., 1::2]
    x = jnp.where(left >= right, left, right)
    above, below = x[..., 0::2, :], x[..., 1::2, :]
    return jnp.where(above >= below, above, below)


FORMS: dict[str, tuple[Callable[..., Any], ...]] = {"mlp": (_mlp,), "cnn": (_cnn, _cnn_by_patches)}

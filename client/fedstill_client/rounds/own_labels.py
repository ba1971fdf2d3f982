"""Labels that mean something else: whether a device learns with the fleet's soft labels, or without.

A device whose owner names classes in a way of its own, or whose fleet is wrong about it, is better off alone.
Where the student that a round starts from misleads it (see model/misled.py), it trains two students on all
but `held_out` of its examples, one as the round's plan says and one from the student of its package without
soft labels. It leaves the fleet's labels alone unless a sign test (McNemar 1947, Psychometrika 12) on the
others says that the student that learned them is the better one:

    P(Binomial(better + worse, 1/2) >= better) <= 0.05

That takes 5 better answers and no worse one at least: a device with fewer than 5 / held_out examples does not
try. What a device answers to the fleet stays the same. Devices that are not misled train nothing twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import BoolArray, FloatArray, IntArray, Parameters
from fedstill_proto.messages import RoundTask, TrainingPlan

from fedstill_client.model.accuracy import own_correct
from fedstill_client.model.forward import ForwardPass
from fedstill_client.model.misled import at_most
from fedstill_client.model.order import KeyArray, epoch_order
from fedstill_client.model.private_stack import PrivateStack

LEAST_HELD_OUT = 5  # held-out examples: with fewer, no count is better than chance
_SIGNIFICANCE = 0.05
_EPOCHS_ALONE = 40  # at least: the package's student knows nothing of the device's labels
# Its own orders, and not those of the batches of training.
_SEED = 0x67617465

Train = Callable[[Mapping[str, FloatArray], RoundTask, PrivateStack], Parameters]
"""Trains students [C, *shape] from [*shape] or [C, *shape], as a task says, on a stack's examples."""


@dataclass(frozen=True)
class HeldOut:
    """A stack's examples in two parts; a device with too few keeps all of them to train on."""

    rest: PrivateStack
    held: PrivateStack

    @classmethod
    def of(
        cls, private: PrivateStack, devices: KeyArray, plan: TrainingPlan, *, round: int
    ) -> HeldOut | None:
        """None where no device of the stack has enough examples."""
        held = np.floor(private.counts * plan.held_out).astype(np.int64)
        held[held < LEAST_HELD_OUT] = 0
        if not held.any():
            return None
        order = epoch_order(
            plan.seed ^ _SEED, devices, round=round, epoch=0, counts=private.counts, capacity=private.capacity
        )
        shuffled = _in_order(private, order, private.counts)
        rest = private.counts - held
        behind = np.minimum(rest[:, None] + np.arange(held.max()), private.capacity - 1)
        return cls(
            PrivateStack(shuffled.table, shuffled.labels, rest, shuffled.table_rows),
            _in_order(shuffled, behind, held),
        )


def better_alone(
    task: RoundTask,
    private: PrivateStack,
    devices: KeyArray,
    forward: ForwardPass,
    *,
    start: Mapping[str, FloatArray],
    installed: Mapping[str, FloatArray],
    train: Train,
) -> tuple[BoolArray, Parameters]:
    """Which devices [C] are better off without the fleet's labels, and students [C, *shape] that had none.

    Args:
        task: The round's task.
        private: The devices' examples.
        devices: Their ids [C].
        forward: The forward graph of the students.
        start: The student that the round starts from.
        installed: The student of the devices' package.
        train: Trains students.
    """
    alone = _without_fleet(task)
    parts = HeldOut.of(private, devices, task.training, round=task.round)
    assert parts is not None  # some device has enough examples, or none were misled
    with_fleet = own_correct(train(start, task, parts.rest), forward, parts.held)
    without = own_correct(train(installed, alone, parts.rest), forward, parts.held)
    won = p_values(with_fleet, without) > _SIGNIFICANCE
    return won, train(installed, alone, private)


def _without_fleet(task: RoundTask) -> RoundTask:
    plan = replace(task.training, soft_weight=0.0, epochs=max(task.training.epochs, _EPOCHS_ALONE))
    return replace(task, training=plan, soft_targets=None, start=None)


def p_values(other: IntArray, kept: IntArray) -> npt.NDArray[np.float64]:
    """The chance [C] of so many better answers if both students are alike.

    Args:
        other: Right answers [C, n] of the one student.
        kept: Right answers [C, n] of the other to the same examples.
    """
    better, worse = (other > kept).sum(axis=1), (other < kept).sum(axis=1)
    return np.array([at_most(int(m), int(n + m), 0.5) for n, m in zip(better, worse, strict=True)])


def _in_order(private: PrivateStack, order: IntArray, counts: IntArray) -> PrivateStack:
    """The rows in these places [C, n], of which the first `counts` [C] are examples."""
    places = order.reshape(*order.shape, *(1 for _ in private.labels.shape[2:]))
    return PrivateStack(
        private.table,
        np.take_along_axis(private.labels, places, axis=1),
        counts,
        np.take_along_axis(private.table_rows, order, axis=1),
    )

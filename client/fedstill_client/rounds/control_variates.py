"""SCAFFOLD on a device (Karimireddy et al. 2020, arXiv 1910.06378): its own control variate, of option II.

From the fleet's student x and control variate c of the round, a device with its own c_i takes K steps

    y <- y - lr (g_i(y) - c_i + c)
    c_i+ = c_i - c + (x - y) / w,    w = K lr

so that c_i is the mean gradient that it saw, as the last line says: its steps went along g_i - c_i + c. That
holds for SGD. With momentum, gradient s of K has gone K - s + 1 steps with what .9^k is left of it; so

    w = lr sum_k (1 - .9^k) / (1 - .9),    k from 1 to K

and c_i is a mean that weighs early gradients most. AdamW has none: its steps are no sum of gradients. A
device without c_i, such as a newcomer, begins with 0, as the paper does; one that took no step keeps its own.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from fedstill_proto.arrays import Float64Array, FloatArray, IntArray, Parameters
from fedstill_proto.errors import FedstillError
from fedstill_proto.messages import Optimizer, RoundTask, TrainingPlan

from fedstill_client.model.gradient_term import GradientTerm

_MOMENTUM = 0.9


def gradient_term(
    task: RoundTask, start: Mapping[str, FloatArray], own: Mapping[str, FloatArray] | None
) -> GradientTerm | None:
    """What a round adds to the gradients of its steps: proximal (w - start) + c - c_i; None for nothing.

    Args:
        task: The round's task.
        start: The student that it starts from, [C, *shape] or [*shape] for all devices.
        own: The devices' control variates [C, *shape]; None is 0.
    """
    if not task.control_variates and task.training.proximal == 0:
        return None
    constant = {
        name: fleet if own is None else fleet - own[name] for name, fleet in task.control_variates.items()
    }
    return GradientTerm(anchor=start, proximal=task.training.proximal, constant=constant)


def moved(
    task: RoundTask,
    start: Mapping[str, FloatArray],
    trained: Mapping[str, FloatArray],
    steps_of: IntArray,
) -> Parameters:
    """How far the devices' control variates move in a round: (x - y) / w - c, [C, *shape].

    Args:
        task: The round's task.
        start: The student that it started from, [C, *shape] or [*shape] for all devices.
        trained: Their trained students [C, *shape].
        steps_of: How many steps each device took [C].
    """
    lengths = _lengths(task.training, steps_of)
    taken = lengths > 0
    per_length = np.divide(1, lengths, out=np.zeros_like(lengths), where=taken).astype(np.float32)
    changes: Parameters = {}
    for name, fleet in task.control_variates.items():
        each = (len(steps_of), *(1 for _ in fleet.shape))
        gone = (start[name] - trained[name]) * per_length.reshape(each)
        changes[name] = np.where(taken.reshape(each), gone - fleet, np.float32(0))
    return changes


def _lengths(plan: TrainingPlan, steps_of: IntArray) -> Float64Array:
    """How far a gradient that stays the same takes a student in so many steps, [C]."""
    if plan.optimizer is Optimizer.ADAMW:
        raise FedstillError(
            "the round brings control variates, and its optimizer adamw takes steps that are no sum of "
            "gradients; use sgd or momentum."
        )
    most = int(steps_of.max(initial=0))
    each: Float64Array = np.ones(most)
    if plan.optimizer is Optimizer.MOMENTUM:
        each = (1 - np.power(_MOMENTUM, np.arange(1, most + 1), dtype=np.float64)) / (1 - _MOMENTUM)
    lengths: Float64Array = plan.learning_rate * np.concatenate([[0.0], np.cumsum(each)])[steps_of]
    return lengths

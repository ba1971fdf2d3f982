"""The gate: how much of the fleet's student a device keeps, judged on examples of its own that it held out.

The interpolated student, with start_share of the fleet's, measures best on nearly all devices. It is wrong
where the fleet is wrong about a device (whose labels mean something else, say), or where a device learns
badly. So a device first trains a second student from the same start, on all but `held_out` of its examples,
drawn anew in each round. On those three answer, each with the label prior of the other examples: the one that
was trained (a share of 0 of the start), the interpolated one, and the start (1). The interpolated one stays,
unless a sign test (McNemar 1947, Psychometrika 12) says that another is better:

    P(Binomial(better + worse, 1/2) >= better) <= 0.05

where `better` and `worse` count the examples that the other one answers better or worse. That takes 5 to 0
at least: a device with fewer than 5 / held_out examples does not try. Shares picked by the likelihood of
held-out examples are worse than a fixed one: with few of those they follow noise.

It costs a device up to (1 - held_out) times the steps of its training again, and no byte. The trained student
started from the fleet's in this round: where labels mean something quite different, one that never saw the
fleet's would be better still.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import FloatArray, IntArray
from fedstill_proto.messages import RoundTask, TrainingPlan

from fedstill_client.model.accuracy import count_correct
from fedstill_client.model.forward import ForwardPass
from fedstill_client.model.order import KeyArray, epoch_order
from fedstill_client.model.private_stack import PrivateStack

_LEAST = 5  # held-out examples: with fewer, no count is better than chance
_SIGNIFICANCE = 0.05
# Its own orders, and not those of the batches of training.
_SEED = 0x67617465

Train = Callable[[PrivateStack], Mapping[str, FloatArray]]


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
        held[held < _LEAST] = 0
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


def kept_shares(
    private: PrivateStack,
    devices: KeyArray,
    task: RoundTask,
    forward: ForwardPass,
    *,
    start: Mapping[str, FloatArray],
    train: Train,
    label_prior: float,
) -> FloatArray:
    """The share [C] of the student from a round's start in the one that each device keeps.

    Args:
        private: The devices' examples.
        devices: Their ids [C].
        task: The round's task.
        forward: The forward graph of the students.
        start: The student before training, [C, *shape], or [*shape] for all devices.
        train: Trains students [C, *shape] from there on a stack's examples.
        label_prior: The strength of the devices' label prior.
    """
    plan = task.training
    shares = np.full(private.devices, plan.start_share, np.float32)
    parts = HeldOut.of(private, devices, plan, round=task.round) if plan.held_out > 0 else None
    if parts is None:
        return shares
    trained = train(parts.rest)
    correct = {
        share: count_correct(
            interpolated(trained, start, np.float32(share)),
            forward,
            parts.held,
            prior_examples=parts.rest,
            label_prior=label_prior,
        )
        for share in {plan.start_share, 0.0, 1.0}
    }
    lowest = np.full(private.devices, _SIGNIFICANCE)
    for share in (0.0, 1.0):
        p_value = p_values(correct[share], correct[plan.start_share])
        won = p_value < lowest
        shares[won], lowest[won] = share, p_value[won]
    return shares


def p_values(other: IntArray, kept: IntArray) -> npt.NDArray[np.float64]:
    """The chance [C] of so many better answers if both students are alike.

    Args:
        other: Right answers [C, n] of the one student.
        kept: Right answers [C, n] of the other to the same examples.
    """
    better, worse = (other > kept).sum(axis=1), (other < kept).sum(axis=1)
    return np.array([_binomial_tail(int(n), int(n + m)) for n, m in zip(better, worse, strict=True)])


def interpolated(
    trained: Mapping[str, FloatArray], start: Mapping[str, FloatArray], shares: FloatArray | np.float32
) -> dict[str, FloatArray]:
    """trained + shares (start - trained): [C, *shape], with a share for each device [C], or one for all.

    Between two students of which one was fine-tuned from the other, the loss has no wall; halfway there is
    most of what was learned, and most of what would be forgotten (WiSE-FT: Wortsman et al. 2022, arXiv
    2109.01903).
    """
    shares = np.asarray(shares, np.float32)
    return {
        name: array + shares.reshape(-1, *(1 for _ in array.shape[1:])) * (start[name] - array)
        for name, array in trained.items()
    }


def _binomial_tail(heads: int, throws: int) -> float:
    """The chance that a fair coin shows so many heads, or more."""
    return sum(math.comb(throws, many) for many in range(heads, throws + 1)) / (1 << throws)


def _in_order(private: PrivateStack, order: IntArray, counts: IntArray) -> PrivateStack:
    """The rows in these places [C, n], of which the first `counts` [C] are examples."""
    places = order.reshape(*order.shape, *(1 for _ in private.labels.shape[2:]))
    return PrivateStack(
        private.table,
        np.take_along_axis(private.labels, places, axis=1),
        counts,
        np.take_along_axis(private.table_rows, order, axis=1),
    )

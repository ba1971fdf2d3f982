"""A server that chooses a device's first student, and reads private examples out of its answers.

A trap (Fowl et al. 2021, arXiv 2110.13057) is a first layer whose units all look the same way w and differ
in their thresholds t: unit h sees an example x where w x > t_h. One pass of training moves its weights by
the sum of d_i x_i over the examples that it sees, and its bias by the sum of d_i, d_i a number of the
example's label. Two units with neighbouring thresholds differ by the examples in between, and where that is
a single one

    x_i = (moved weights of h - those of h + 1) / (moved bias of h - that of h + 1)

to the precision of float32. `from_parameters` asks for the moved student, and looks again, with closer
thresholds, where several examples lie in between. `from_soft_labels` is never sent a parameter: nine units,
each of which is the logit of one class, have a threshold in each task, and the logits of some hundred public
rows, which are linear in what moved, say how far. Neither needs more than what the server knows: the public
set, and the student that it sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from fedstill_proto.arrays import Float64Array, FloatArray, Parameters
from fedstill_proto.errors import FedstillError
from fedstill_proto.messages import RoundTask, SummaryKind, SummaryRequest, TrainingPlan
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec

from fedstill_sim.audit.obedient_device import ObedientDevice

_LAYERS = ("hidden.weight", "hidden.bias", "output.weight", "output.bias")
_NEVER = 1e3  # a threshold above every example
_NOTHING = 2e-3  # of what an example moves a bias by, in units of the learning rate
_EXACT = 0.01  # of a pixel: how near a rebuilt one comes to a value that public pixels have


@dataclass(frozen=True, kw_only=True)
class TrapStudent:
    """A perceptron whose hidden units are traps.

    Attributes:
        directions: Unit vectors [units, pixels] that the hidden units look along.
        thresholds: Where each of them begins to see [units].
        outputs: The weights [classes, units] of the logits.
        scale: How steep the units are; small ones leave all soft labels even, whatever the example.
    """

    directions: Float64Array
    thresholds: Float64Array
    outputs: Float64Array
    scale: float

    @property
    def parameters(self) -> Parameters:
        """The student, as a task carries it."""
        arrays = (
            self.scale * self.directions,
            -self.scale * self.thresholds,
            self.outputs,
            np.zeros(len(self.outputs)),
        )
        return {name: array.astype(np.float32) for name, array in zip(_LAYERS, arrays, strict=True)}

    def hidden(self, x: Float64Array) -> Float64Array:
        """What the units [n, units] see of examples x [n, pixels]."""
        weight, bias = (self.parameters[name].astype(np.float64) for name in _LAYERS[:2])
        return np.maximum(x @ weight.T + bias, 0)


def from_parameters(device: ObedientDevice, *, tasks: int, seed: int) -> Float64Array:
    """Rebuild private examples [found, pixels] by tasks that ask for the trained student.

    Args:
        device: The device, whose student is a perceptron with one hidden layer.
        tasks: How many it is asked at most.
        seed: Decides the direction of the traps.
    """
    units, pixels = _sizes(device)
    public = _flat(device.public_x)
    grid = np.unique(public)
    direction = _directions(1, pixels, seed)[0]
    projected = public @ direction
    thresholds = np.quantile(projected, np.linspace(0, 1, units - 1))
    thresholds = np.concatenate([[thresholds[0] - 1], thresholds])
    outputs = np.tile(np.linspace(-1, 1, device.manifest.classes)[:, None], (1, units))
    found: list[Float64Array] = []
    for number in range(tasks):
        trap = TrapStudent(
            directions=np.tile(direction, (units, 1)), thresholds=thresholds, outputs=outputs, scale=0.01
        )
        task = _task(device, number, SummaryRequest(SummaryKind.PARAMETERS), learning_rate=1e-5)
        between = _between_units(trap, device.answer(task, trap.parameters).statistics.parameters, task)
        crowded = []
        for place, moved in enumerate(between):
            if np.abs(moved).max() < _NOTHING:
                continue
            example = moved[:-1] / moved[-1]
            nearest = grid[np.abs(example[:, None] - grid).argmin(axis=1)]
            if np.abs(example - nearest).max() > _EXACT:
                crowded.append((thresholds[place], np.append(thresholds[1:], projected.max() + 1)[place]))
            elif not any(np.array_equal(nearest, one) for one in found):
                found.append(nearest)
        if not crowded:
            break
        thresholds = _closer(crowded, units)
    return np.reshape(found, (-1, pixels))


def from_soft_labels(device: ObedientDevice, *, tasks: int, seed: int) -> Float64Array:
    """Rebuild private examples [candidates, pixels] by tasks that ask for float32 soft labels of public rows.

    Args:
        device: The device, whose student is a perceptron with one hidden layer.
        tasks: How many it is asked; each is a threshold for a direction a class but the last.
        seed: Decides the directions.
    """
    units, pixels = _sizes(device)
    public, read = _flat(device.public_x), device.manifest.classes - 1
    directions = np.zeros((units, pixels))
    directions[:read] = _directions(read, pixels, seed)
    outputs = np.zeros((read + 1, units))
    outputs[np.arange(read), np.arange(read)] = 1
    seen = public @ directions[:read].T
    steps = np.linspace(seen.min(axis=0) - 0.3, seen.max(axis=0) + 0.2, tasks)  # [tasks, read]
    codec = SoftLabelCodec(Encoding.FLOAT32)
    request = SummaryRequest(SummaryKind.PUBLIC_SET, codec, public_rows=np.arange(len(public)))
    moved = np.zeros((tasks, read, pixels + 1))
    for number in range(tasks):
        thresholds = np.full(units, _NEVER)
        thresholds[:read] = steps[number]
        trap = TrapStudent(directions=directions, thresholds=thresholds, outputs=outputs, scale=0.05)
        task = _task(device, number, request, learning_rate=2e-3)
        labels = device.answer(task, trap.parameters).statistics.soft_labels
        assert labels is not None  # the request is for them
        moved[number] = _moved_units(trap, public, seen, labels.dense().astype(np.float64))
    between = (moved[:-1] - moved[1:]).reshape(-1, pixels + 1)
    seen_any = np.abs(between[:, -1]) > 1e-6
    return between[seen_any, :-1] / between[seen_any, -1:]


def _moved_units(
    trap: TrapStudent, public: Float64Array, seen: Float64Array, answers: Float64Array
) -> Float64Array:
    """How far the weights and bias of the read units moved [read, pixels + 1], by least squares."""
    read = answers.shape[1] - 1
    hidden = trap.hidden(public)
    logits = (
        np.log(answers[:, :read] / answers[:, read:]) - hidden @ (trap.outputs[:read] - trap.outputs[read]).T
    )
    moved = np.zeros((read, public.shape[1] + 1))
    for unit in range(read):
        # Rows near the threshold may have crossed it while the unit moved.
        above, below = (sign * (seen[:, unit] - trap.thresholds[unit]) > 0.15 for sign in (1, -1))
        if above.sum() < public.shape[1]:
            continue
        columns = [public * above[:, None], above[:, None], hidden[:, :read], np.ones((len(public), 1))]
        used = above | below
        solved = np.linalg.lstsq(np.concatenate(columns, axis=1)[used], logits[used, unit], rcond=1e-7)[0]
        moved[unit] = solved[: public.shape[1] + 1]
    return moved


def _between_units(trap: TrapStudent, trained: Parameters, task: RoundTask) -> Float64Array:
    """How much further each unit moved than the next one: weights and bias [units, pixels + 1]."""
    start = trap.parameters
    weight, bias = (start[name].astype(np.float64) - trained[name] for name in _LAYERS[:2])
    moved = np.concatenate([weight, bias[:, None]], axis=1) / task.training.learning_rate
    return np.concatenate([moved[:-1] - moved[1:], moved[-1:]])


def _closer(crowded: Sequence[tuple[float, float]], units: int) -> Float64Array:
    """Thresholds [units] that cut each of these intervals into as many parts as there is room for."""
    edges = max(units // len(crowded), 2)
    cut = np.sort(np.concatenate([np.linspace(low, high, edges) for low, high in crowded]))[:units]
    return np.concatenate([cut, np.full(units - len(cut), _NEVER)])


def _task(device: ObedientDevice, number: int, request: SummaryRequest, *, learning_rate: float) -> RoundTask:
    """One pass over the private examples, so gentle that the traps stay where they are."""
    manifest = device.manifest
    training = TrainingPlan(
        epochs=1,
        batch_size=manifest.step_rows,
        learning_rate=learning_rate,
        optimizer=manifest.optimizer,
        temperature=1.0,
        soft_weight=0.0,
        seed=1,
    )
    return RoundTask("0badc0de", 1, manifest.family, training, request)


def _sizes(device: ObedientDevice) -> tuple[int, int]:
    """Hidden units and pixels of the student."""
    shapes = {spec.name: spec.shape for spec in device.manifest.parameters}
    if tuple(shapes) != _LAYERS:
        raise FedstillError(
            f"traps are for a perceptron with one hidden layer, and {device.manifest.family!r} is none; "
            "name a family such as mlp-small"
        )
    units, pixels = shapes[_LAYERS[0]]
    return units, pixels


def _directions(many: int, pixels: int, seed: int) -> Float64Array:
    drawn = np.random.default_rng(seed).normal(size=(many, pixels))
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True))


def _flat(x: FloatArray) -> Float64Array:
    return x.reshape(len(x), -1).astype(np.float64)

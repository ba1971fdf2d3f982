"""What a device sends where noise is asked for: one vector, clipped and noised, and nothing besides.

Vectors are made as fedstill_proto.privacy.vectors says, of a student that may have seen all of the device's
examples: nothing bounds what one example does to it, so that the whole answer is cut to a length instead.
A device that learned nothing, has no example, or whose training diverged sends its noise alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from fedstill_proto.arrays import Float64Array, FloatArray
from fedstill_proto.errors import FedstillError
from fedstill_proto.messages import PrivateStatistics, RoundTask, SummaryKind
from fedstill_proto.privacy import RandomBits, system_bits
from fedstill_proto.privacy.vectors import class_vector, moved_vector, shift_vector

from fedstill_client.model.batches import public_examples
from fedstill_client.model.forward import Forward
from fedstill_client.model.label_means import class_means
from fedstill_client.model.private_stack import PrivateStack
from fedstill_client.rounds.logit_shift import logit_shift, start_logits

NoiseOf = Callable[[str], RandomBits]
"""Where the noise of a device comes from, by its name."""


def system_noise(device: str) -> RandomBits:
    """The operating system's randomness, whichever device it is."""
    return system_bits


def noised_answers(
    task: RoundTask,
    parameters: Mapping[str, FloatArray],
    private: PrivateStack,
    *,
    forward: Forward,
    names: Sequence[str],
    public_x: FloatArray | None,
    start: Mapping[str, FloatArray],
    noise: NoiseOf = system_noise,
) -> list[PrivateStatistics]:
    """The answers of the first devices of the stack, by name; see `summarize`."""
    noising = task.request.noising
    assert noising is not None  # the request asks for it
    vectors = _VECTORS[task.request.kind](task, parameters, private, forward, public_x, start)
    return [
        PrivateStatistics(noised=noising.noised(vectors(device), bits=noise(name)))
        for device, name in enumerate(names)
    ]


def _of_public_rows(
    task: RoundTask,
    parameters: Mapping[str, FloatArray],
    private: PrivateStack,
    forward: Forward,
    public_x: FloatArray | None,
    start: Mapping[str, FloatArray],
) -> Callable[[int], Float64Array]:
    if forward.manifest.label_shape:
        raise FedstillError("the round asks a student of text for noised soft labels; there are none.")
    temperature = task.training.temperature
    rows = public_examples(public_x, task.request.public_rows)
    before = start_logits(forward, start, rows)
    way = logit_shift(before, forward.shared(parameters, rows), temperature=temperature)
    return lambda device: shift_vector(way[device], temperature=temperature)


def _of_classes(
    task: RoundTask,
    parameters: Mapping[str, FloatArray],
    private: PrivateStack,
    forward: Forward,
    public_x: FloatArray | None,
    start: Mapping[str, FloatArray],
) -> Callable[[int], Float64Array]:
    classes = forward.manifest.classes
    if not private.counts.any():
        return lambda device: np.zeros(classes * (classes + 1))
    logits = forward.own(parameters, private)
    means = class_means(logits, private.labels, private.counts, temperature=task.training.temperature)

    def vector(device: int) -> Float64Array:
        rows = means.of(device)
        return class_vector(means.soft_labels[rows], means.present_class[rows], classes=classes)

    return vector


def _of_students(
    task: RoundTask,
    parameters: Mapping[str, FloatArray],
    private: PrivateStack,
    forward: Forward,
    public_x: FloatArray | None,
    start: Mapping[str, FloatArray],
) -> Callable[[int], Float64Array]:
    shapes = {spec.name: spec.shape for spec in forward.manifest.parameters}

    def vector(device: int) -> Float64Array:
        given = {n: start[n] if start[n].shape == shape else start[n][device] for n, shape in shapes.items()}
        return moved_vector({name: parameters[name][device] for name in shapes}, given)

    return vector


_VECTORS = {
    SummaryKind.PUBLIC_SET: _of_public_rows,
    SummaryKind.CLASS_MEANS: _of_classes,
    SummaryKind.PARAMETERS: _of_students,
}

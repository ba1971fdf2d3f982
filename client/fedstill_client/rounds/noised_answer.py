"""What a device sends where noise is asked for: one vector, clipped and noised, and nothing besides.

Vectors are made as fedstill_proto.privacy.vectors says, from a student that may have seen all of the device's
examples: nothing bounds what one example does to it, so that the whole answer is cut to a length instead.
A device that learned nothing, has no example, or whose training diverged sends its noise alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from fedstill_proto.arrays import Float64Array
from fedstill_proto.errors import FedstillError
from fedstill_proto.messages import PrivateStatistics, RoundTask, SummaryKind
from fedstill_proto.privacy import RandomBits, system_bits
from fedstill_proto.privacy.vectors import class_vector, moved_vector, shift_vector

from fedstill_client.model.label_means import class_means
from fedstill_client.rounds.logit_shift import logit_shift
from fedstill_client.rounds.trained_stack import TrainedStack

NoiseOf = Callable[[str], RandomBits]
"""Where the noise of a device comes from, by its name."""

VectorOf = Callable[[int], Float64Array]
"""The vector of a device, by its place in the stack."""


def system_noise(device: str) -> RandomBits:
    """The operating system's randomness, whichever device it is."""
    return system_bits


def noised_answers(
    task: RoundTask, trained: TrainedStack, *, names: Sequence[str], noise: NoiseOf = system_noise
) -> list[PrivateStatistics]:
    """The answers of the first devices of the stack, by name; see `summarize`."""
    noising = task.request.noising
    assert noising is not None  # the request asks for it
    vector_of = _VECTORS[task.request.kind](task, trained)
    if task.request.summing is not None:  # what is masked, and noised, once the group is known
        return [PrivateStatistics(noised=noising.on_grid(vector_of(device))) for device in range(len(names))]
    return [
        PrivateStatistics(noised=noising.noised(vector_of(device), bits=noise(name)))
        for device, name in enumerate(names)
    ]


def _public_row_vectors(task: RoundTask, trained: TrainedStack) -> VectorOf:
    manifest = trained.forward.manifest
    if manifest.labels_each_place or manifest.target.is_regression:
        raise FedstillError(
            "the round asks a student of text, or of numbers, for noised soft labels; there are none."
        )
    temperature = task.training.temperature
    rows = trained.public_rows(task.request.public_rows)
    before, after = trained.start_logits(rows), trained.forward.shared(trained.parameters, rows)
    shift = logit_shift(before, after, temperature=temperature)
    return lambda device: shift_vector(shift[device], temperature=temperature)


def _class_vectors(task: RoundTask, trained: TrainedStack) -> VectorOf:
    private, classes = trained.private, trained.forward.manifest.classes
    if not private.counts.any():
        return lambda device: np.zeros(classes * (classes + 1))
    logits = trained.forward.own(trained.parameters, private)
    means = class_means(logits, private.labels, private.counts, temperature=task.training.temperature)

    def vector_of(device: int) -> Float64Array:
        rows = means.of(device)
        return class_vector(means.soft_labels[rows], means.present_class[rows], classes=classes)

    return vector_of


def _parameter_vectors(task: RoundTask, trained: TrainedStack) -> VectorOf:
    local, start = task.training.local_parameters, trained.started
    shapes = {s.name: s.shape for s in trained.forward.manifest.parameters if s.name not in local}

    def vector_of(device: int) -> Float64Array:
        before = {n: start[n] if start[n].shape == shape else start[n][device] for n, shape in shapes.items()}
        return moved_vector({name: trained.parameters[name][device] for name in shapes}, before)

    return vector_of


_VECTORS = {
    SummaryKind.PUBLIC_SET: _public_row_vectors,
    SummaryKind.CLASS_MEANS: _class_vectors,
    SummaryKind.PARAMETERS: _parameter_vectors,
}

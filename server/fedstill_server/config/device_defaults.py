"""What a device does in a round where nobody says otherwise: in the simulator and in a real fleet alike."""

from __future__ import annotations

from dataclasses import dataclass, replace

from fedstill_proto.messages import Optimizer

# Where no labels of the public set are used, all that the fleet knows comes from devices, and they take
# longer to say it.
_UNLABELLED_EPOCHS = 8


@dataclass(frozen=True, kw_only=True)
class LocalWork:
    """epochs are passes over the device's own examples, of which batch_size are in a step.

    soft_weight is that of the fleet's soft labels in the loss; None is what suits the method.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    optimizer: Optimizer
    soft_weight: float | None = None


_ARRAYS = LocalWork(epochs=5, batch_size=16, learning_rate=0.02, optimizer=Optimizer.MOMENTUM)
# Of 0.1, students that a sentence model taught forget more in ten rounds than they learn.
_UTTERANCES = replace(_ARRAYS, learning_rate=0.03, soft_weight=0.35)
# Of 2e-4, twenty rounds learn a person's few words by heart.
_TEXT = LocalWork(epochs=1, batch_size=8, learning_rate=5e-5, optimizer=Optimizer.ADAMW, soft_weight=0.3)


def default_work(*, text: bool, utterances: bool, labelled: bool) -> LocalWork:
    """Of a fleet of text, of utterances, or of other arrays; labelled: whether public labels are used."""
    if text:
        return _TEXT
    if utterances:
        return _UTTERANCES
    return _ARRAYS if labelled else replace(_ARRAYS, epochs=_UNLABELLED_EPOCHS)

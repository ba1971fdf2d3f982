"""What is added to the gradient of a step's loss: a pull back to a student, and a constant of the round.

    g(w)  ->  g(w) + proximal (w - anchor) + constant

The training graph knows the loss alone, so the term d at the weights before a step is put into what the step
has written: p <- p - lr d, and m <- m + d. For SGD and for momentum that is the step of the larger gradient.
AdamW has no such sum; there the weights alone move by lr d, as they do for its weight decay (decoupled:
Loshchilov and Hutter 2017, arXiv 1711.05101).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from fedstill_proto.arrays import FloatArray


@dataclass(frozen=True, eq=False, kw_only=True)
class GradientTerm:
    """The term of a round; a pull is that of the loss proximal / 2 |w - anchor|^2.

    Attributes:
        anchor: The student that is pulled to, [C, *shape] or [*shape] for all devices.
        proximal: The strength of the pull.
        constant: What is added besides, [C, *shape] or [*shape] for all devices; empty for nothing.
    """

    anchor: Mapping[str, FloatArray]
    proximal: float = 0.0
    constant: Mapping[str, FloatArray] = field(default_factory=dict)

    def at(self, name: str, weights: FloatArray) -> FloatArray:
        """The term [C, *shape] of a parameter at these weights [C, *shape]."""
        if self.proximal == 0:
            return self.constant[name]
        pull: FloatArray = np.float32(self.proximal) * (weights - self.anchor[name])
        return pull + self.constant[name] if self.constant else pull

    def put_into(
        self, after: Mapping[str, FloatArray], before: Mapping[str, FloatArray], *, lr: FloatArray, step: int
    ) -> None:
        """Put the term into a step that was taken; see StepChange."""
        for name in self.anchor.keys() & after.keys():
            term = self.at(name, before[name])
            after[name][...] -= lr.reshape(-1, *(1 for _ in before[name].shape[1:])) * term
            if (velocity := after.get(f"{name}.momentum")) is not None:
                velocity += term

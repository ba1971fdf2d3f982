"""A trigger that is to make every student say one class (Gu et al. 2017, arXiv 1708.06733; in a federation
Bagdasaryan et al. 2020, arXiv 1807.00459).

Adversaries train on their own examples, part of which bear the trigger and the target's label. The trigger is
a square of the brightest value in the last corner of an image, or the last numbers of a vector. Of students
that are sent whole, what they learned may be sent several times over (model replacement). It succeeds as far
as honest devices' students give the target's class to test examples of other classes that bear the trigger.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import IntArray
from fedstill_server.config.options import option

from fedstill_sim.attacks.answers import ParameterAnswers
from fedstill_sim.attacks.interface import Attack, ParameterView, Trial
from fedstill_sim.attacks.poisoning import with_training_examples
from fedstill_sim.data.fleet import FleetData


class Backdoor(Attack):
    line = "each trains on examples of which some bear a trigger and one class's label (arXiv 1807.00459)"
    target: int = option(0, "The class that the trigger is to get.", least=0)
    share: float = option(0.5, "Share of an adversary's examples that bear the trigger.", above=0, most=1)
    size: int = option(2, "Pixels on a side of the square, or numbers of a vector.", least=1)
    boost: float = option(
        1.0, "How many times over what was learned is sent, where students are sent whole.", least=1, most=1e6
    )

    def poisoned(self, data: FleetData, adversaries: IntArray, generator: np.random.Generator) -> FleetData:
        brightest = float(np.asarray(data.public_x).max())

        def altered(x: npt.NDArray[Any], y: IntArray) -> tuple[npt.NDArray[Any], IntArray]:
            chosen = generator.random(len(x)) < self.share
            x, y = x.copy(), y.copy()
            x[chosen], y[chosen] = self.triggered(x[chosen], brightest), self.target
            return x, y

        return with_training_examples(data, adversaries, altered)

    def parameters(self, view: ParameterView) -> ParameterAnswers:
        return view.own.saying(view.start + self.boost * (view.own.parameters - view.start))

    def triggered(self, x: npt.NDArray[Any], value: float) -> npt.NDArray[Any]:
        """Examples [n, *shape] with the trigger."""
        x = x.copy()
        sides = min(x.ndim - 1, 2)  # of an image 2, of a vector 1
        corner: list[Any] = [..., *[slice(-self.size, None)] * sides]
        x[tuple(corner)] = value
        return x

    def trial(self, data: FleetData) -> Trial | None:
        others = np.asarray(data.global_y) != self.target
        x = np.asarray(data.global_x)[others]
        return Trial(
            self.triggered(x, float(np.asarray(data.public_x).max())),
            np.full(len(x), self.target, np.int64),
        )

"""Each adversary says the opposite of what it has learned.

Of parameters, it moves from its start as far the other way (Li et al. 2019, arXiv 1811.03761, "sign
flipping"); of soft labels, the same is done with logits, against those of a device that learned nothing.
"""

from __future__ import annotations

import numpy as np
from fedstill_server.config.options import option

from fedstill_sim.attacks.answers import LabelAnswers, ParameterAnswers, softmax
from fedstill_sim.attacks.interface import Attack, LabelView, ParameterView


class SignFlip(Attack):
    line = "each moves the other way than what it has learned (Li et al. 2019, arXiv 1811.03761)"
    scale: float = option(4.0, "How many times as far.", above=0, most=1e6)

    def soft_labels(self, view: LabelView) -> LabelAnswers:
        moved = view.own.logits(view.least) - view.start
        away = np.clip(view.start - self.scale * moved, -700, 700)
        return view.own.with_probabilities(softmax(away))

    def parameters(self, view: ParameterView) -> ParameterAnswers:
        return view.own.saying(view.start - self.scale * (view.own.parameters - view.start))

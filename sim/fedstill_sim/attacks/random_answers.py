"""Noise in place of an answer: the attack of Blanchard et al. 2017 (arXiv 1703.02757), or a broken device."""

from __future__ import annotations

from fedstill_server.config.options import option

from fedstill_sim.attacks.answers import LabelAnswers, ParameterAnswers, softmax
from fedstill_sim.attacks.interface import Attack, LabelView, ParameterView


class RandomAnswers(Attack):
    line = "each says Gaussian noise of its own (Blanchard et al. 2017, arXiv 1703.02757)"
    deviation: float = option(
        3.0,
        "Standard deviation, in logits; of parameters, times that of the honest moves.",
        above=0,
        most=1e6,
    )

    def soft_labels(self, view: LabelView) -> LabelAnswers:
        noise = view.generator.normal(size=view.own.probabilities.shape)
        return view.own.with_probabilities(softmax(self.deviation * noise))

    def parameters(self, view: ParameterView) -> ParameterAnswers:
        spread = self.deviation * float(view.moved.std())
        return view.own.saying(view.start + spread * view.generator.normal(size=view.own.parameters.shape))

"""A device claims more examples than all others have together, and so decides a mean that counts them.

Of class means it claims them for every class and speaks for the second class; of parameters, for a student
that moved the other way. A single device is enough where a method weighs by counts.
"""

from __future__ import annotations

import numpy as np
from fedstill_proto.checks import MAX_UINT32
from fedstill_proto.messages import SummaryKind
from fedstill_server.config.options import option
from fedstill_server.methods.interface import Method

from fedstill_sim.attacks.answers import LabelAnswers, ParameterAnswers, one_hot
from fedstill_sim.attacks.interface import Attack, LabelView, ParameterView


class CountInflation(Attack):
    line = "each claims as many examples as a message can hold, behind the second class or a step back"
    examples: int = option(MAX_UINT32, "How many examples each claims.", least=1, most=MAX_UINT32)

    @classmethod
    def misfit(cls, method: type[Method]) -> str | None:
        """Counts matter where a method's answers bring them."""
        if method.answers is SummaryKind.PUBLIC_SET and not hasattr(method, "weighting"):
            return "its devices claim no counts of examples"
        return None

    def soft_labels(self, view: LabelView) -> LabelAnswers:
        second = np.argsort(-view.leaning, axis=1, kind="stable")[:, 1]
        said = view.saying(one_hot(second, view.classes))
        counts = np.full_like(said.counts, self.examples)
        return LabelAnswers(probabilities=said.probabilities, said=said.said, counts=counts)

    def parameters(self, view: ParameterView) -> ParameterAnswers:
        back = view.own.saying(view.start - view.mean)
        return ParameterAnswers(
            parameters=back.parameters, examples=np.full(len(view.own), self.examples, np.int64)
        )

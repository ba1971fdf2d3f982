"""Against folds that clip: as much harm as passes unclipped, in the direction that needs the least.

All adversaries move every row from its right class to the likeliest other one, exactly as far as an honest
row usually moves; of parameters, against the honest mean, as far as an honest student usually moves. Where a
method answers class means, which nothing clips, they say the other class at its loudest.
"""

from __future__ import annotations

import numpy as np
from fedstill_proto.messages import SummaryKind
from fedstill_server.config.options import option

from fedstill_sim.attacks.answers import LabelAnswers, ParameterAnswers, one_hot
from fedstill_sim.attacks.interface import Attack, LabelView, ParameterView


class InsideClip(Attack):
    line = "all move every row to its likeliest wrong class, as far as an honest row usually moves"
    length: float = option(1.0, "How far, in usual lengths of honest answers.", above=0, most=100)

    def soft_labels(self, view: LabelView) -> LabelAnswers:
        if view.request.kind is SummaryKind.CLASS_MEANS:
            return view.saying(one_hot(view.rivals[1], view.classes))
        return view.saying(view.having_moved(self.length * view.usual_length * view.harm))

    def parameters(self, view: ParameterView) -> ParameterAnswers:
        lengths = np.sort(np.linalg.norm(view.moved, axis=1))
        usual = float(lengths[(len(lengths) - 1) // 2])
        mean_length = float(np.linalg.norm(view.mean)) or 1.0
        return view.own.saying(view.start - self.length * usual / mean_length * view.mean)

"""A method: fedstill, whose steps grow for some rounds and then fall along half a cosine.

    step_t = server_step * t / warm_up                                          while t <= warm_up
    step_t = server_step * (last_step + (1 - last_step) (1 + cos(pi s)) / 2)    s: share of the rest, done

(Loshchilov and Hutter 2017, arXiv 1608.03983; warm-up: Goyal et al. 2017, arXiv 1706.02677.)
"""

from __future__ import annotations

import math

from fedstill import methods


class Cosine(methods.Fedstill):
    """fedstill, whose server warms up and then slows down along half a cosine."""

    # An option is declared where it is read. --help, --set, configurations and reports know it from here.
    warm_up: int = methods.option(2, "Rounds until a step has its whole length.", least=0)

    def step_length(self, round_number: int) -> float:
        if round_number <= self.warm_up:
            return self.server_step * round_number / self.warm_up
        rest = max(self.config.rounds - self.warm_up - 1, 1)
        done = min((round_number - self.warm_up - 1) / rest, 1.0)
        share = self.last_step + (1 - self.last_step) * (1 + math.cos(math.pi * done)) / 2
        return self.server_step * share

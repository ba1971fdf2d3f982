"""The weight of a summary that answers an older state of the server.

Its age is the number of times that the server has learned since: 0 where nothing has changed. In the fold it
counts

    s(age) = (1 + age)^-exponent

times (the polynomial rule of FedAsync: Xie et al. 2019, arXiv 1903.03934; FedBuff: Nguyen et al. 2022, arXiv
2106.06639, takes it with an exponent of 1/2). A method that replaces what it knows (class means, soft labels
of public rows) takes the weighted mean; one whose server takes a step (public-logits, fedavg) makes the step
smaller by the mean weight, which is FedBuff's 1/K sum_i s(age_i) step_i. Above `max_age` a summary does not
count at all: the state that it answers is not kept any longer.
"""

from __future__ import annotations

from fedstill_server.config.fleet import AsyncRule


def weight_of(age: int, rule: AsyncRule) -> float:
    """(1 + age)^-exponent; exactly 1 for a fresh summary."""
    return float((1 + age) ** -rule.exponent)

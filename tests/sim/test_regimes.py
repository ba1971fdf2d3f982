"""The verdict of benchmarks/regimes.py, on figures made up for it."""

from __future__ import annotations

import pytest
from fedstill_sim.compare.estimate import Estimate
from fedstill_sim.compare.result import MethodEstimate, Split, SplitComparison

from benchmarks.regimes import judge


def method(name: str, personal: tuple[float, ...], everyone: tuple[float, ...]) -> MethodEstimate:
    nothing = Estimate.of([0.0])
    return MethodEstimate(
        method=name,
        seeds=(0, 1),
        personal_accuracy=Estimate.of(personal),
        global_accuracy=Estimate.of(everyone),
        worst_device_accuracy=nothing,
        uplink_bytes_per_device_round=nothing,
        downlink_bytes_per_device_round=nothing,
        total_bytes_per_device_round=nothing,
        quarantined=0,
        max_abs_logit_difference=None,
        rounds=(),
    )


def split(*methods: MethodEstimate) -> SplitComparison:
    return SplitComparison(
        split=Split(dataset="digits", data=None, dirichlet=0.1),
        data=None,
        methods={one.method: one for one in methods},
        failed=(),
        advantages=(),
        verdicts=(),
    )


def test_a_point_below_the_better_baseline_holds_and_more_does_not() -> None:
    local = method("local", (0.90, 0.92), (0.50, 0.50))
    fedavg = method("fedavg", (0.89, 0.89), (0.55, 0.55))
    personal, everyone = judge(
        split(method("fedstill", (0.895, 0.915), (0.535, 0.535)), local, fedavg), "fedstill"
    )
    assert (personal.better, personal.holds, personal.far_apart) == ("local", True, False)
    assert personal.difference.mean == pytest.approx(-0.005)
    assert personal.difference.half_width == pytest.approx(0.0, abs=1e-9)  # the seeds are pairs
    assert (everyone.better, everyone.holds) == ("fedavg", False)


def test_where_the_baselines_are_far_apart_it_must_be_above_both() -> None:
    local, fedavg = method("local", (0.9,), (0.3,)), method("fedavg", (0.7,), (0.6,))
    for reached, holds in ((0.905, True), (0.895, False)):
        personal, _ = judge(split(method("fedstill", (reached,), (0.7,)), local, fedavg), "fedstill")
        assert (personal.far_apart, personal.holds) == (True, holds)

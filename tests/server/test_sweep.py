"""The capacity curve: names of sizes, a power law and its knee by hand, and a sweep that is stopped."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fedstill_server.distill.plan import DistillPlan
from fedstill_server.distill.request import DistillRequest
from fedstill_server.distill.run import distil_task, reopen_distillation
from fedstill_server.inspection.speed.machine import this_machine
from fedstill_server.sweep import running
from fedstill_server.sweep.curve import Fit, capacity_curve, fitted, knee_of
from fedstill_server.sweep.errors import SweepError
from fedstill_server.sweep.grid import sizes_of
from fedstill_server.sweep.options import SweepOptions
from fedstill_server.sweep.page import sweep_text, write_sweep_page
from fedstill_server.sweep.point import SweepPoint, interval_of, smallest_near_best, summaries_of
from fedstill_server.sweep.sweep import Sweep

from tests.server.distill_samples import corners


def names(family: str, widths: tuple[int, ...] = (), depths: tuple[int, ...] = ()) -> list[str]:
    return [size.family for size in sizes_of(family, widths=widths, depths=depths)]


def test_a_family_has_a_name_for_each_width_and_depth() -> None:
    assert names("mlp", (4, 8), (1, 3)) == ["mlp-4", "mlp-8", "mlp-4-4-4", "mlp-8-8-8"]
    assert names("cnn", (4,)) == ["cnn-4-8"]
    assert names("gru", (24, 48)) == ["gru-24-48", "gru-48-96"]
    assert names("ssm", (32,), (2,)) == ["ssm-32-64-2"]
    assert names("transformer", (64,), (2,)) == ["transformer-64-4-2"]
    assert names("hf:minilm", (), (1, 3)) == [
        "hf:minilm?num_hidden_layers=1",
        "hf:minilm?num_hidden_layers=3",
    ]
    wide = "hidden_size=64&intermediate_size=256&num_attention_heads=2&num_hidden_layers=2"
    assert names("hf:models/bert", (64,), (2,)) == [f"hf:models/bert?{wide}&weights=none"]
    assert names("mlp-{width}-{quadruple}", (4,)) == ["mlp-4-16"]
    assert names("mlp-4, cnn-4-8,mlp-4") == ["mlp-4", "cnn-4-8"]


@pytest.mark.parametrize(
    ("family", "widths", "depths", "message"),
    [
        ("mlp", (), (2,), "--widths: mlp needs some"),
        ("gru", (8,), (2,), "the depth of gru is no part of its name"),
        ("mlp-4", (8,), (), "leave --widths and --depths out where names are whole"),
        ("mlp-{height}", (8,), (), "fills in {width}"),
        (" , ", (), (), "names no student"),
    ],
)
def test_what_has_no_name_is_said(
    family: str, widths: tuple[int, ...], depths: tuple[int, ...], message: str
) -> None:
    with pytest.raises(SweepError, match=message):
        sizes_of(family, widths=widths, depths=depths)


def test_a_power_law_is_found_again() -> None:
    sizes = [100.0, 400.0, 1600.0, 6400.0]
    true = Fit(floor=0.1, scale=0.4, exponent=0.5, unit=100.0)
    fit = fitted(sizes, [float(true.loss(size)) for size in sizes])
    # 0.1 + 0.4 / sqrt(n / 100): 0.5, 0.3, 0.2, 0.15
    assert float(true.loss(1600.0)) == pytest.approx(0.2)
    assert (fit.floor, fit.scale, fit.exponent) == pytest.approx((0.1, 0.4, 0.5), abs=1e-6)


def test_the_knee_by_hand() -> None:
    # With n in units of the smallest and t = log n / log 10^4, the gain is (1 - 10^-2t) / 0.99; it is
    # furthest above t where 2 ln 10 * 10^-2t / 0.99 = 1.
    fit = Fit(floor=0.0, scale=1.0, exponent=0.5, unit=1.0)
    t = np.log10(2 * np.log(10) / 0.99) / 2
    assert knee_of(fit, low=1.0, high=1e4) == pytest.approx(10 ** (4 * t), rel=0.02)
    assert knee_of(Fit(floor=0.3, scale=0.0, exponent=1.0, unit=1.0), low=1.0, high=10.0) is None


def test_intervals_are_over_seeds_and_hold_the_truth() -> None:
    true = Fit(floor=0.1, scale=0.4, exponent=0.5, unit=100.0)
    random = np.random.default_rng(0)
    losses = {
        size: [float(true.loss(size)) + random.normal(0, 0.005) for _ in range(5)]
        for size in (100.0, 400.0, 1600.0, 6400.0, 25600.0)
    }
    curve = capacity_curve("parameters", losses)
    assert curve is not None
    assert curve.floor_low < 0.1 < curve.floor_high
    knee = knee_of(true, low=100.0, high=25600.0)
    assert knee is not None
    assert curve.knee_low * 0.95 < knee < curve.knee_high * 1.05
    assert curve == capacity_curve("parameters", losses)  # the draws have a seed
    exact = capacity_curve("parameters", {size: [float(true.loss(size))] * 3 for size in losses})
    assert exact is not None
    assert exact.knee_low == exact.knee_high == exact.knee


def test_no_curve_through_few_sizes_or_none_that_is_better() -> None:
    assert capacity_curve("flops", {1.0: [0.5], 2.0: [0.4], 3.0: [0.3]}) is None
    assert capacity_curve("flops", {1.0: [0.1], 2.0: [0.2], 3.0: [0.3], 4.0: [0.4]}) is None


def point(width: int, seed: int, accuracy: float, perplexity: float | None = None) -> SweepPoint:
    return SweepPoint(
        family=f"mlp-{width}",
        width=width,
        depth=1,
        seed=seed,
        accuracy=accuracy,
        perplexity=perplexity,
        parameters=25 * width,
        outside_tables=25 * width,
        flops=50 * width,
        latency_us=10.0 + width,
        package_bytes=1000 * width,
        seconds=1.0,
    )


def test_sizes_are_means_over_seeds() -> None:
    mean, low, high = interval_of([0.8, 0.9])
    # The standard error is 0.05, Student's t of one degree 12.706.
    assert (mean, low, high) == pytest.approx((0.85, 0.85 - 0.6353, 0.85 + 0.6353), abs=1e-4)
    sizes = summaries_of([point(4, 0, 0.8), point(8, 0, 0.95), point(16, 0, 0.955), point(4, 1, 0.9)])
    assert [(one.family, one.seeds) for one in sizes] == [("mlp-4", 2), ("mlp-8", 1), ("mlp-16", 1)]
    assert sizes[0].accuracy == pytest.approx(0.85)
    assert smallest_near_best(sizes, within=0.01).family == "mlp-8"
    assert smallest_near_best(sizes, within=0.0).family == "mlp-16"


@pytest.mark.parametrize("by_token", [False, True])
def test_the_page_shows_curve_and_knee(by_token: bool, tmp_path: Path) -> None:
    points = [
        point(width, seed, 1 - 0.5 / width + 0.001 * seed, 30 * width**-0.3 + seed if by_token else None)
        for seed in range(2)
        for width in (2, 4, 8, 16)
    ]
    sizes = summaries_of(points)
    sweep = Sweep(
        task="corners",
        teacher=("train:mlp-64",),
        techniques=("kd",),
        teacher_accuracy=0.99,
        by_token=by_token,
        planned=8,
        points=tuple(points),
        sizes=tuple(sizes),
        curves=running.curves_of(points),
        pick=sizes[-1],
        within=0.01,
        machine=this_machine(),
    )
    write_sweep_page(sweep, tmp_path / "sweep.html")
    page, text = (tmp_path / "sweep.html").read_text(), sweep_text(sweep)
    assert [curve.against for curve in sweep.curves] == list(running.AGAINST)
    assert page.count("<polyline") >= 3
    assert ">knee</text>" in page
    assert "http" not in page
    assert "mlp-16" in text
    assert ("perplexity" in text) == by_token
    json.dumps(sweep.to_json(), allow_nan=False)


def test_a_sweep_that_was_stopped_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seed, count in (("public", 1, 40), ("private", 2, 20), ("test", 4, 40)):
        x, y = corners(count, seed=seed)
        np.savez(tmp_path / f"{name}.npz", x=x, y=y)
    request = DistillRequest(task=str(tmp_path), teacher=("train:mlp-9",), plan=DistillPlan(epochs=2))
    options = SweepOptions(family="mlp", widths=(2, 3), seeds=1, seconds=0.01)
    made: list[str] = []

    def counted(*given: object, **named: object) -> object:
        if len(made) == 1:
            made.append("stopped")
            raise KeyboardInterrupt
        outcome = distil_task(*given, **named)  # type: ignore[arg-type]
        made.append(outcome.family)
        return outcome

    monkeypatch.setattr(running, "distil_task", counted)
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        running.run_sweep(request, out, options)
    seen: list[tuple[int, int]] = []
    sweep = running.run_sweep(
        request, out, replace(options, seeds=2), told=lambda what, done, total: seen.append((done, total))
    )

    assert made == ["mlp-2", "stopped", "mlp-3", "mlp-2", "mlp-3"]  # the first is not made again
    assert seen[-1] == (4, 4)
    assert [(one.family, one.seeds) for one in sweep.sizes] == [("mlp-2", 2), ("mlp-3", 2)]
    assert [one.parameters for one in sweep.sizes] == [2 * 16 + 2 + 2 * 4 + 4, 3 * 16 + 3 + 3 * 4 + 4]
    assert sweep.curves == ()
    assert json.loads((out / "sweep.json").read_text())["planned"] == 4
    record = out / "points" / "mlp-2-1" / "distill.json"
    _, teacher = reopen_distillation(record)
    assert teacher is not None  # a student of the sweep can be inspected by itself
    with pytest.raises(SweepError, match="holds another sweep"):
        running.run_sweep(request, out, replace(options, widths=(2,)))

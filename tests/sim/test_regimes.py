"""The verdict of benchmarks/regimes.py, on figures made up for it."""

from __future__ import annotations

import pytest
from fedstill_sim.compare.estimate import Estimate

from benchmarks.regimes import SENT, Cell, Figures, judge


def method(
    personal: float, everyone: float, *, sent: float = 1_000, devices: tuple[float, ...] = ()
) -> Figures:
    return Figures(
        personal=Estimate.of([personal, personal + 0.02]),
        everyone=Estimate.of([everyone, everyone]),
        mean=Estimate.of([(personal + everyone) / 2, (personal + 0.02 + everyone) / 2]),
        bytes=Estimate.of([sent, sent]),
        devices=devices,
    )


def test_the_mean_of_both_counts_and_the_best_is_one_caller() -> None:
    """Nobody can have local's personal and fedavg's global accuracy at once."""
    others = {"local": method(0.95, 0.30), SENT: method(0.80, 0.80, sent=10_000)}
    held, failed = (
        judge("cell", "fedstill", {"fedstill": method(0.85, everyone), **others})
        for everyone in (0.732, 0.728)
    )
    assert (held.best, held.misses) == (SENT, [])
    assert held.difference.mean == pytest.approx(-0.009)
    assert held.difference.half_width == pytest.approx(0.0, abs=1e-9)  # the seeds are pairs
    assert failed.misses == ["accuracy"]


def test_bytes_and_devices_that_are_left_behind_count() -> None:
    figures = {
        "fedstill": method(0.9, 0.9, sent=300, devices=(0.90, 0.84, *[0.9] * 8)),
        "local": method(0.9, 0.3, devices=(0.90, 0.90, *[0.9] * 8)),
        SENT: method(0.8, 0.8, sent=1_000),
    }
    judged = judge("cell", "fedstill", figures)
    assert (judged.bytes_ratio, judged.far_below) == (pytest.approx(0.3), pytest.approx(0.1))
    assert judged.misses == ["bytes"]  # one device of ten is the most that may be far below


def test_a_cell_is_a_data_set_of_the_simulator_or_the_benchmarks_or_a_folder() -> None:
    assert Cell.of("digits@0.1") == Cell(name="digits@0.1", dataset="digits", data=None, dirichlet=0.1)
    assert Cell.of("watch").dataset == "benchmarks.sets:watch"
    assert (Cell.of("my-fleet/").data, Cell.of("my-fleet/").name) == ("my-fleet/", "my-fleet")

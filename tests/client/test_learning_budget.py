"""Limits of a learning: seconds, steps, memory, and energy from counters or from a stated power."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from fedstill_client.learning import Budget, BudgetError, LearningCost, LearningSettings, SettingsError
from fedstill_client.learning.budget import Meter, resident_mb


def processor(powercap: Path, name: str, microjoules: int, counts_to: int = 1_000_000_000) -> Path:
    """The energy counter of a processor as Linux shows it."""
    folder = powercap / name
    folder.mkdir(parents=True)
    (folder / "max_energy_range_uj").write_text(f"{counts_to}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    return folder / "energy_uj"


def test_no_limit_is_never_reached(tmp_path: Path) -> None:
    meter = Meter(Budget(), powercap=tmp_path)

    assert meter.exhausted(10**9) is None
    assert meter.cost().joules is None


def test_steps_and_seconds_count_over_all_sittings(tmp_path: Path) -> None:
    meter = Meter(Budget(seconds=60, steps=5), before=LearningCost(seconds=59.99), powercap=tmp_path)

    assert "5 steps" in (meter.exhausted(5) or "")
    time.sleep(0.02)
    assert "60 seconds" in (meter.exhausted(4) or "")


def test_energy_is_that_of_all_processors_and_survives_a_full_counter(tmp_path: Path) -> None:
    first = processor(tmp_path, "intel-rapl:0", 900_000_000)
    second = processor(tmp_path, "intel-rapl:1", 0)
    processor(tmp_path, "intel-rapl:0:0", 7)  # a part of the first, counted in it
    meter = Meter(Budget(energy_joules=150), powercap=tmp_path)

    first.write_text("50000000")  # from 900 J through 1,000 J to 50 J: 150 J, less what is left of the range
    second.write_text("3000000")

    assert meter.cost().joules == pytest.approx(153)
    assert meter.cost().joules == pytest.approx(153)
    assert "150 joules" in (meter.exhausted(0) or "")


def test_energy_without_counters_is_the_stated_power(tmp_path: Path) -> None:
    meter = Meter(
        Budget(energy_joules=100, power_watts=1000), before=LearningCost(0, 99.9), powercap=tmp_path
    )

    time.sleep(0.01)  # 10 J

    assert 109 < (meter.cost().joules or 0) < 1000
    assert "100 joules" in (meter.exhausted(0) or "")


def test_energy_that_cannot_be_measured_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match="state the device's power_watts"):
        Meter(Budget(energy_joules=100), powercap=tmp_path)


def test_memory_is_that_of_the_process(tmp_path: Path) -> None:
    here = resident_mb()

    assert here > 10
    assert "MB of memory" in (Meter(Budget(memory_mb=here / 2), powercap=tmp_path).exhausted(0) or "")
    assert Meter(Budget(memory_mb=here * 10), powercap=tmp_path).exhausted(0) is None


@pytest.mark.parametrize("limit", ["seconds", "steps", "memory_mb", "energy_joules", "power_watts"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_a_limit_out_of_range_is_refused(limit: str, value: float) -> None:
    with pytest.raises(BudgetError, match=f"budget {limit} is"):
        Budget(**{limit: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", -1),
        ("temperature", 0),
        ("soft_weight", 1.5),
        ("check_every", 0),
        ("patience", 0),
        ("epochs", 2.5),
    ],
)
def test_a_setting_out_of_range_is_refused(name: str, value: float) -> None:
    with pytest.raises(SettingsError, match=f"learning setting {name} is"):
        LearningSettings(**{name: value})

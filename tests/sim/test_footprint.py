"""What a run takes of memory and disk, told before its first round."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from fedstill_sim.config import RunConfig, requested_data, resolve
from fedstill_sim.data.fleet import FleetData
from fedstill_sim.progress import SilentProgress
from fedstill_sim.request import RunRequest
from fedstill_sim.results.run_result import read_result
from fedstill_sim.runner import footprint as sizes
from fedstill_sim.runner.footprint import (
    FACTOR,
    FleetShape,
    FootprintError,
    check_footprint,
    footprint_of,
    student_widths,
)
from fedstill_sim.runner.run import continue_run, start_run

ASKED = {
    "dataset": "digits",
    "devices": 400,
    "examples_per_device": 4,
    "families": ("mlp-small",),
    "rounds": 2,
    "epochs": 1,
    "baselines": (),
    "processes": 0,
}


def resolved(**asked: object) -> tuple[RunConfig, FleetData]:
    request = RunRequest(**{**ASKED, **asked})  # type: ignore[arg-type]
    data = requested_data(request)
    return resolve(request, data), data


def test_students_are_two_slots_of_float32_for_those_who_keep_them() -> None:
    config, data = resolved()
    width = student_widths(config)["mlp-small"]
    shape = FleetShape.of(data, {"mlp-small": width})

    all_ = footprint_of(config, shape, processes=2)
    sampled = dataclasses.replace(config.simulation, evaluate_devices=100, keep_students="sample")
    some = footprint_of(RunConfig(fleet=config.fleet, simulation=sampled), shape, processes=2)
    by_messages = footprint_of(
        RunConfig(fleet=config.fleet, simulation=sampled), shape, processes=2, by_messages=True
    )

    assert width == 64 * 64 + 64 + 64 * 10 + 10
    assert all_.student_bytes == by_messages.student_bytes == 400 * 2 * 4 * width
    assert some.student_bytes == 100 * 2 * 4 * width
    assert all_.disk_bytes - some.disk_bytes == 300 * 2 * 4 * width
    assert all_.memory_bytes == all_.main_bytes + 2 * all_.worker_bytes


def test_a_million_devices_take_less_than_4_kb_each_in_the_main_process() -> None:
    config, data = resolved()
    shape = dataclasses.replace(
        FleetShape.of(data, {"mlp-small": 2_410}), families={"mlp-small": 1_000_000}, rows=21_000_000
    )

    found = footprint_of(config, shape, processes=2)

    assert found.main_bytes < 4_000 * 1_000_000
    assert found.memory_bytes < 4_000_000_000


def test_what_is_not_there_is_refused_with_what_to_do(tmp_path: Path) -> None:
    config, data = resolved()
    found = footprint_of(config, FleetShape.of(data, {"mlp-small": 1_000_000}), processes=2)

    with pytest.raises(FootprintError, match=r"3\.\d+ GB of disk.*students.*1 GB are free.*sample"):
        check_footprint(found, tmp_path, memory_bytes=10**12, disk_bytes=10**9)
    with pytest.raises(FootprintError, match=r"of memory in all processes, and 500 MB are free.*it has 2"):
        check_footprint(found, tmp_path, memory_bytes=500_000_000, disk_bytes=10**12)
    check_footprint(found, tmp_path / "not" / "there", memory_bytes=10**12, disk_bytes=10**12)
    assert "of it students" in str(found)


def test_a_run_is_refused_before_its_first_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start_run(RunRequest(**ASKED), tmp_path / "run", force=False)  # type: ignore[arg-type]
    monkeypatch.setattr(sizes, "free_disk_bytes", lambda folder: 0)

    with pytest.raises(FootprintError, match="of disk"):
        continue_run(tmp_path / "run", SilentProgress(), report=False)

    assert not list((tmp_path / "run" / "server" / "rounds").glob("*0001.json"))


def test_the_estimate_is_within_its_factor_of_a_run(tmp_path: Path) -> None:
    config, data = resolved()
    width = student_widths(config)
    start_run(RunRequest(**ASKED), tmp_path / "run", force=False)  # type: ignore[arg-type]
    alone = (
        "import pathlib, sys; from fedstill_sim.progress import SilentProgress; "
        "from fedstill_sim.runner.run import continue_run; "
        "continue_run(pathlib.Path(sys.argv[1]), SilentProgress(), report=False)"
    )  # in a process of its own: this one's peak is that of other tests, too
    subprocess.run([sys.executable, "-c", alone, str(tmp_path / "run")], check=True, timeout=300)

    found = footprint_of(config, FleetShape.of(data, width), processes=0)

    on_disk = sum(512 * path.lstat().st_blocks for path in (tmp_path / "run").rglob("*"))
    peak = read_result(tmp_path / "run" / "result.json").engine.peak_memory_mb * 1e6
    assert on_disk / FACTOR < found.disk_bytes < FACTOR * on_disk
    assert peak / FACTOR < found.main_bytes < FACTOR * peak

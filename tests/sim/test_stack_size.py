"""The stack size: measured once on a machine, chosen for the number of devices."""

import json
from pathlib import Path

import pytest
from fedstill_proto.messages import Optimizer
from fedstill_proto.package.artifact import TrainingArtifact
from fedstill_server.export.build import ArtifactOptions
from fedstill_server.export.stacks import stack_bytes
from fedstill_sim.folder import cache_folder
from fedstill_sim.runner import stack_size
from fedstill_sim.runner.stack_size import best_stack_size, built, step_seconds


def options(soft_labels: str = "none") -> ArtifactOptions:
    return ArtifactOptions(
        family="mlp-small",
        input_shape=(2, 2),
        classes=10,
        optimizer=Optimizer.SGD,
        soft_labels=soft_labels,
        k=0,
        stack_size=1,
        step_rows=4,
    )


def test_the_best_stack_size_counts_whole_stacks(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {1: 1.0, 8: 4.0, 16: 6.5, 32: 11.0, 64: 30.0}
    monkeypatch.setattr(stack_size, "step_seconds", lambda *_: seconds)
    # 3 devices: 3 x 1.0; 8: 1 x 4.0; 9: 1 x 6.5; 1000: 32 x 11.0 beats 63 x 6.5.
    # 100: 7 x 6.5 is nearly as fast as 4 x 11.0, and smaller.
    assert [best_stack_size(options(), devices=devices) for devices in (3, 8, 9, 100, 1000)] == [
        1,
        8,
        16,
        16,
        32,
    ]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEDSTILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(stack_size, "_LEAST_SECONDS", 0.001)
    monkeypatch.setattr(stack_size, "CANDIDATES", (1, 2, 4))
    return tmp_path / "cache"


def test_a_measurement_is_remembered(cache: Path) -> None:
    first = step_seconds(options(), 2)
    assert sorted(first) == [1, 2]
    assert min(first.values()) > 0
    assert step_seconds(options(), 2) == first
    assert step_seconds(options("dense"), 2) != first
    assert len(list(cache.rglob("*.json"))) == 2


def test_a_spoilt_memory_is_measured_again(cache: Path) -> None:
    step_seconds(options(), 2)
    (file,) = cache.rglob("*.json")
    for spoilt in ("not json", "[1]", json.dumps({"1": 0.001})):
        file.write_text(spoilt)
        assert sorted(step_seconds(options(), 2)) == [1, 2]


def sizes_tried(
    monkeypatch: pytest.MonkeyPatch, seconds: dict[int, float | None], *, devices: int
) -> list[int]:
    tried = []

    def measured(_: ArtifactOptions, size: int) -> float | None:
        tried.append(size)
        return seconds[size]

    monkeypatch.setattr(stack_size, "_measured", measured)
    step_seconds(options(), devices)
    return tried


def test_no_stack_is_tried_that_the_fleet_does_not_fill(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    faster: dict[int, float | None] = {1: 0.01, 2: 0.01, 3: 0.01, 4: 0.01}
    assert sizes_tried(monkeypatch, faster, devices=1) == [1]
    # What a smaller fleet has measured is not measured again.
    assert sizes_tried(monkeypatch, faster, devices=2) == [2]
    assert sizes_tried(monkeypatch, faster, devices=3) == [3]
    assert sizes_tried(monkeypatch, faster, devices=4) == [4]


def test_what_is_foreseen_to_be_too_large_is_not_even_built(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    real = stack_size.built

    def noted(of: ArtifactOptions, size: int, *, verify: bool = True) -> TrainingArtifact:
        made.append(size)
        return real(of, size, verify=verify)

    monkeypatch.setattr(stack_size, "built", noted)
    monkeypatch.setattr(stack_size, "_MOST_BYTES", stack_bytes(real(options(), 1, verify=False)))
    assert list(step_seconds(options(), 100)) == [1]
    assert set(made) == {1}


@pytest.mark.parametrize(
    ("seconds", "tried"),
    [
        pytest.param({1: 0.01, 2: 0.02}, [1, 2], id="no faster for a device than alone"),
        pytest.param({1: 0.2}, [1], id="a long step, of which a stack saves nothing"),
        pytest.param({1: 0.01, 2: None}, [1, 2], id="too large for the machine"),
    ],
)
def test_the_search_stops_where_larger_stacks_are_no_better(
    cache: Path, monkeypatch: pytest.MonkeyPatch, seconds: dict[int, float | None], tried: list[int]
) -> None:
    assert sizes_tried(monkeypatch, seconds, devices=100) == tried


def test_a_stack_takes_its_share_of_the_free_memory_at_most(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (stack_bytes(built(options(), size, verify=False)) for size in (1, 2))
    assert 1.8 * one < two < 2.2 * one
    monkeypatch.setattr(stack_size, "_MOST_BYTES", two)
    assert list(step_seconds(options(), 100)) == [1, 2]


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEDSTILL_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache_folder() == Path("/x/fedstill")
    monkeypatch.setenv("FEDSTILL_CACHE", "/y")
    assert cache_folder() == Path("/y")

"""Baselines that other processes make beside their run are those that the run makes itself."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from fedstill_server.families import build_student
from fedstill_server.training.networks import parameters_of
from fedstill_sim.config import requested_data, resolve
from fedstill_sim.progress import SilentProgress
from fedstill_sim.request import RunRequest
from fedstill_sim.results.run_result import without_times
from fedstill_sim.runner import beside, run
from fedstill_sim.runner.beside import processes_beside
from fedstill_sim.runner.export_students import GRAPHS_FOLDER, keep_graphs
from fedstill_sim.runner.run import continue_run, start_run

REQUEST = RunRequest(
    dataset="digits",
    method="class-logits",
    devices=3,
    families=("mlp-small",),
    rounds=2,
    epochs=1,
    baselines=("local", "fedavg"),
    seed=1,
)


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "usable_cores", lambda: 2)


class Noted(SilentProgress):
    """Knows whose rounds were done."""

    def __init__(self) -> None:
        self.rounds_of: list[str] = []

    def round_done(self, method: str, finished: object) -> None:
        self.rounds_of.append(method)


def result_of(folder: Path, progress: SilentProgress, **changes: Any) -> dict[str, Any]:
    start_run(dataclasses.replace(REQUEST, **changes), folder, force=False)
    found = dataclasses.asdict(continue_run(folder, progress, report=False))
    return {"final": found["final"], "baselines": without_times(found)["baselines"]}


def test_a_baseline_beside_its_run_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told, made_here = Noted(), []
    after_another = result_of(tmp_path / "after", SilentProgress(), processes=0)
    real = run.run_rounds

    def noted(*arguments: Any, label: str, **named: Any) -> Any:
        made_here.append((label, (arguments[0] / "engine.json").exists()))
        return real(*arguments, label=label, **named)

    monkeypatch.setattr(run, "run_rounds", noted)
    beside_it = result_of(tmp_path / "beside", told)

    assert made_here == [("class-logits", False), ("local", True), ("fedavg", True)]  # the latter were there
    assert beside_it == after_another
    assert sorted(told.rounds_of) == ["class-logits"] * 2 + ["fedavg"] * 2 + ["local"] * 2


def test_what_a_lost_process_leaves_the_run_does_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after_another = result_of(tmp_path / "after", SilentProgress(), processes=0, baselines=("local",))
    monkeypatch.setattr(run, "serve_baselines", _ends_at_once)

    assert result_of(tmp_path / "lost", SilentProgress(), baselines=("local",)) == after_another


@pytest.mark.parametrize(
    ("changes", "processes"),
    [({}, 1), ({"baselines": ()}, 0), ({"processes": 2}, 0), ({"devices": 900}, 0)],
)
def test_where_the_run_fills_the_cores_there_are_none(changes: dict[str, Any], processes: int) -> None:
    request = dataclasses.replace(REQUEST, **changes)
    data = requested_data(request)

    assert processes_beside(resolve(request, data), data) == processes


def _ends_at_once(pipe: object) -> None:
    raise SystemExit(3)


def test_the_graphs_that_a_run_exports_are_made_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDSTILL_CACHE", str(tmp_path / "cache"))
    request = dataclasses.replace(REQUEST, baselines=("local",))
    data = requested_data(request)
    fleet = resolve(request, data).fleet
    student = parameters_of(build_student("mlp-small", fleet.input_shape, fleet.classes))

    keep_graphs(fleet, {"mlp-small": student})

    (kept,) = (tmp_path / "cache" / GRAPHS_FOLDER).iterdir()
    before = kept.read_bytes()
    other = {name: array + 1 for name, array in student.items()}
    keep_graphs(fleet, {"mlp-small": other})
    assert kept.read_bytes() == before

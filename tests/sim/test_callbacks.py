"""Callbacks are told of a run's own rounds; TensorBoard and MLflow keep what they are told."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from fedstill_proto.system.extras import MissingExtra
from fedstill_sim.callbacks.interface import (
    Callback,
    CallbackProgress,
    RoundFunction,
    RunStart,
    round_figures,
)
from fedstill_sim.callbacks.mlflow import MLflow
from fedstill_sim.callbacks.tensorboard import TensorBoard
from fedstill_sim.progress import SilentProgress
from fedstill_sim.results.run_result import RoundResult, RunResult

from tests.sim.sample_results import sample_result

CONFIG = {"fleet": {"rounds": 3, "training": {"epochs": 2}}, "simulation": {"data": None}}
START = RunStart(method="public-logits", rounds=3, done=0, config=CONFIG)


class Recorded(Callback):
    """Keeps what it was told, in order."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def on_start(self, run: RunStart) -> None:
        self.events.append(("start", run.done))

    def on_round(self, result: RoundResult) -> None:
        self.events.append(("round", result.round))

    def on_finish(self, result: RunResult) -> None:
        self.events.append(("finish", len(result.rounds)))

    def on_error(self, error: BaseException) -> None:
        self.events.append(("error", type(error)))


@pytest.fixture
def result() -> RunResult:
    return sample_result(devices=2, rounds=3)


def followed(*callbacks: Callback) -> CallbackProgress:
    return CallbackProgress(SilentProgress(), callbacks, label="mine", start=START)


def follow(callback: Callback, result: RunResult) -> None:
    """A whole run, as a callback hears of it."""
    callback.on_start(START)
    for finished in result.rounds:
        callback.on_round(finished)
    callback.on_finish(result)


def test_only_the_run_s_own_rounds_are_told(result: RunResult) -> None:
    recorded = Recorded()
    progress = followed(recorded)
    with progress.watch():
        progress.rounds("mine", total=3, done=1)
        progress.round_done("mine", result.rounds[1])
        progress.rounds("fedavg", total=3, done=0)
        progress.round_done("fedavg", result.rounds[2])
        progress.finish(result)
    assert recorded.events == [("start", 1), ("round", 2), ("finish", 3)]


def test_a_run_whose_rounds_were_done_before_is_started_and_finished(result: RunResult) -> None:
    recorded = Recorded()
    followed(recorded).finish(result)
    assert recorded.events == [("start", 3), ("finish", 3)]


def test_a_run_that_stops_is_told_why() -> None:
    recorded = Recorded()
    with pytest.raises(KeyboardInterrupt), followed(recorded).watch():
        raise KeyboardInterrupt
    assert recorded.events == [("error", KeyboardInterrupt)]


def test_a_function_hears_of_each_round(result: RunResult) -> None:
    heard: list[RoundResult] = []
    follow(RoundFunction(heard.append), result)
    assert heard == list(result.rounds)


def test_what_was_not_measured_is_no_figure(result: RunResult) -> None:
    unmeasured = dataclasses.replace(result.rounds[0], personal_accuracy=None)
    assert "personal_accuracy" not in round_figures(unmeasured)
    assert round_figures(result.rounds[0])["global_accuracy"] == result.rounds[0].global_accuracy
    assert round_figures(result.rounds[0])["quarantined"] == 0.0


# TensorBoard


def scalars(folder: Path, name: str) -> list[tuple[int, float]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(name)]


def test_tensorboard_gets_the_run_and_its_baselines(result: RunResult, tmp_path: Path) -> None:
    follow(TensorBoard(tmp_path), result)
    for method, rounds in [("public-logits", result.rounds), ("fedavg", result.baselines["fedavg"].rounds)]:
        written = scalars(tmp_path / method, "global_accuracy")
        assert [step for step, _ in written] == [1, 2, 3]
        assert [value for _, value in written] == pytest.approx([one.global_accuracy for one in rounds])


# MLflow


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder in place of a tracking server."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return f"file:{tmp_path / 'mlruns'}"


def test_mlflow_gets_settings_rounds_and_baselines(result: RunResult, store: str) -> None:
    from mlflow.tracking import MlflowClient

    follow(MLflow(tracking_uri=store, experiment="digits"), result)
    client = MlflowClient(tracking_uri=store)
    experiment = client.get_experiment_by_name("digits")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params == {"fleet.rounds": "3", "fleet.training.epochs": "2", "simulation.data": "–"}
    history = client.get_metric_history(run.info.run_id, "global_accuracy")
    assert sorted((metric.step, metric.value) for metric in history) == [
        (finished.round, finished.global_accuracy) for finished in result.rounds
    ]
    assert run.data.metrics["fedavg.accepted"] == result.baselines["fedavg"].rounds[-1].accepted


def test_mlflow_says_that_a_run_failed(store: str) -> None:
    from mlflow.tracking import MlflowClient

    callback = MLflow(tracking_uri=store)
    callback.on_error(ValueError())  # before it began: nothing to end
    callback.on_start(START)
    callback.on_error(ValueError())
    client = MlflowClient(tracking_uri=store)
    experiment = client.get_experiment_by_name("fedstill")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FAILED"


# Without the extra


@pytest.mark.parametrize(
    ("extra", "make"), [("tensorboard", lambda: TensorBoard("logs")), ("mlflow", MLflow)]
)
def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, extra: str, make: Any) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=rf"pip install 'fedstill\[{extra}\]'"):
        make()

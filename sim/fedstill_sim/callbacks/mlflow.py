"""MLflow: a run's settings as parameters, its rounds as metrics (extra `mlflow`)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fedstill_proto.system.extras import explain_missing, require_extra

from fedstill_sim.callbacks.interface import Callback, RunStart, round_figures
from fedstill_sim.results.run_result import RoundResult, RunResult
from fedstill_sim.results.settings import setting_rows

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_PARAMETERS_AT_ONCE = 100  # in one request to a tracking server
_LONGEST_PARAMETER = 500  # characters, which every version takes


class MLflow(Callback):
    """Makes an MLflow run of each simulated run: settings as parameters, rounds as metrics by step.

    The final figures of baselines are metrics named <baseline>.<figure>.
    """

    def __init__(
        self, *, tracking_uri: str | None = None, experiment: str = "fedstill", run_name: str | None = None
    ) -> None:
        """Name the place.

        Args:
            tracking_uri: The tracking server or store; by default MLflow's own, $MLFLOW_TRACKING_URI.
            experiment: The experiment that the run belongs to, which is made if there is none.
            run_name: What MLflow calls the run; by default the method.

        Raises:
            MissingExtra: MLflow is not installed.
        """
        require_extra("mlflow", what="the MLflow callback")
        self._tracking_uri = tracking_uri
        self._experiment = experiment
        self._run_name = run_name
        self._client: MlflowClient | None = None
        self._run_id = ""

    def on_start(self, run: RunStart) -> None:
        """Make the MLflow run, with the settings as its parameters."""
        with explain_missing("the MLflow callback"):
            from mlflow.entities import Param
            from mlflow.tracking import MlflowClient

        client = MlflowClient(tracking_uri=self._tracking_uri)
        existing = client.get_experiment_by_name(self._experiment)
        experiment = existing.experiment_id if existing else client.create_experiment(self._experiment)
        self._client = client
        self._run_id = client.create_run(experiment, run_name=self._run_name or run.method).info.run_id
        parameters = [Param(name, value[:_LONGEST_PARAMETER]) for name, value in setting_rows(run.config)]
        for start in range(0, len(parameters), _PARAMETERS_AT_ONCE):
            client.log_batch(self._run_id, params=parameters[start : start + _PARAMETERS_AT_ONCE])

    def on_round(self, result: RoundResult) -> None:
        """Log the round's figures."""
        self._log(round_figures(result), step=result.round)

    def on_finish(self, result: RunResult) -> None:
        """Log the baselines' final figures, and end the MLflow run."""
        for name, baseline in result.baselines.items():
            figures = round_figures(baseline.rounds[-1])
            self._log(
                {f"{name}.{figure}": value for figure, value in figures.items()}, step=len(result.rounds)
            )
        self._end("FINISHED")

    def on_error(self, error: BaseException) -> None:
        """End the MLflow run as one that was stopped or failed."""
        self._end("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")

    def _log(self, figures: dict[str, float], *, step: int) -> None:
        from mlflow.entities import Metric

        assert self._client is not None
        now_ms = int(time.time() * 1000)
        metrics = [Metric(name, value, now_ms, step) for name, value in figures.items()]
        self._client.log_batch(self._run_id, metrics=metrics)

    def _end(self, status: str) -> None:
        if self._client is not None:
            self._client.set_terminated(self._run_id, status)
            self._client = None

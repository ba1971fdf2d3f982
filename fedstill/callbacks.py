"""What follows a run round by round, as `on_round` of `fedstill.simulate`, besides functions of your own.

    fs.simulate(fleet, students=["cnn"], on_round=[print, fs.callbacks.TensorBoard("logs")])

A function is called with the `RoundResult` of each round; a subclass of `Callback` hears more.
"""

from __future__ import annotations

from fedstill_sim.callbacks.interface import Callback, RunStart
from fedstill_sim.callbacks.mlflow import MLflow
from fedstill_sim.callbacks.tensorboard import TensorBoard

__all__ = ["Callback", "MLflow", "RunStart", "TensorBoard"]

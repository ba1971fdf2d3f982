"""Measures the students of a run that say several labels or numbers (see results/target_figures.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_client.model.label_means import softened
from fedstill_proto.arrays import FloatArray, Parameters
from fedstill_server.config.fleet import FleetConfig
from fedstill_server.tasks import training_of
from fedstill_server.training.networks import logits_of, one_deterministic_thread

from fedstill_sim.data.fleet import FleetData
from fedstill_sim.results.target_figures import Figures, label_figures, mean_figures, number_figures


def measured_target(
    fleet: FleetConfig,
    data: FleetData,
    own_students: Mapping[int, Parameters],
    fleet_students: Mapping[str, Parameters],
) -> dict[str, Any]:
    """The figures of devices' own students, by the device's number, and of the fleet's, by family."""
    target, training = data.target, training_of(fleet)
    global_x, global_y = np.array(data.global_x), np.array(data.global_y)

    def answers(family: str, student: Parameters, x: FloatArray) -> FloatArray:
        return logits_of(training.student(family, student), x)

    def figures(said: FloatArray, y: npt.NDArray[Any]) -> Figures:
        if target.is_regression:
            return number_figures(said, y, target)
        return label_figures(softened(said, 1.0)[..., 1], y)

    own_said, own_y, everyones = [], [], []
    with one_deterministic_thread():
        for device, student in own_students.items():
            family, rows = data.families[device], data.test[device]
            if len(rows):
                own_said.append(answers(family, student, np.array(data.x[rows])))
                own_y.append(np.array(data.y[rows]))
            everyones.append(figures(answers(family, student, global_x), global_y))
        of_fleet = [figures(answers(name, one, global_x), global_y) for name, one in fleet_students.items()]
    found: dict[str, Any] = {"target": target.kind.value}
    if own_said:
        found["personal"] = figures(np.concatenate(own_said), np.concatenate(own_y))
    if everyones:
        found["global"] = mean_figures(everyones)
    return found | {"fleet": mean_figures(of_fleet)}

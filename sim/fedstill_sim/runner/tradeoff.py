"""Personalizing without forgetting: how soft_weight trades a device's own accuracy against everyone's.

Each device starts from the fleet's final student and works for one round, at each weight, by the run's own
training artifacts. The devices' own students are not touched: this happens in a folder of its own.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from fedstill_proto.codec.task_codec import encode_task
from fedstill_proto.flower_records import RECORD, pack
from fedstill_proto.messages import RoundTask
from fedstill_proto.soft_labels.codec import SoftLabelCodec
from flwr.app import Error, MetricRecord, RecordDict

from fedstill_sim.data.fleet import FleetData
from fedstill_sim.engine.cohort import CohortEngine, Reply
from fedstill_sim.engine.shards import EvaluationCounts
from fedstill_sim.folder import ARTIFACTS_FOLDER, DATA_FOLDER
from fedstill_sim.results.run_result import TradeoffPoint
from fedstill_sim.runner.export_students import evenly_spaced

MOST_DEVICES = 200
_FEW_DEVICES = 100  # for which starting worker processes takes longer than the work


def tradeoff_curve(
    run_folder: Path,
    data: FleetData,
    tasks: Mapping[str, RoundTask],
    *,
    weights: Sequence[float],
    codec: SoftLabelCodec,
    stack_sizes: Mapping[str, int],
    owner_share: float,
    processes: int | None,
) -> tuple[TradeoffPoint, ...]:
    """Measure the fleet's final student as it is, then personalized at each weight.

    Args:
        run_folder: The run, whose data and training artifacts are used.
        data: The fleet's data.
        tasks: By family, a round's task with the fleet's final student and its soft targets.
        weights: The values of soft_weight.
        codec: How soft targets travel to devices.
        stack_sizes: Devices that one run of the training graph trains together, by family.
        owner_share: How much of its label prior a device adds to its answers.
        processes: Worker processes; None is one a core, or fewer.

    Returns:
        A point for the student as it is (soft_weight None), then one for each weight.
    """
    devices = evenly_spaced(range(data.devices), MOST_DEVICES)
    folder = _own_folder(run_folder)
    try:
        with CohortEngine(
            folder,
            stack_sizes=stack_sizes,
            owner_share=owner_share,
            processes=0 if len(devices) <= _FEW_DEVICES else processes,
        ) as engine:
            curve = _Curve(engine, data, devices, codec)
            points = [curve.point(tasks, soft_weight=None, round_=1)]
            for round_, weight in enumerate(weights, start=2):
                points.append(curve.point(tasks, soft_weight=weight, round_=round_))
    finally:
        shutil.rmtree(folder)
    return tuple(points)


class _Curve:
    """Asks the engine what a server would ask its devices."""

    def __init__(
        self, engine: CohortEngine, data: FleetData, devices: Sequence[int], codec: SoftLabelCodec
    ) -> None:
        self._engine, self._families, self._devices, self._codec = engine, data.families, devices, codec

    def point(
        self, tasks: Mapping[str, RoundTask], *, soft_weight: float | None, round_: int
    ) -> TradeoffPoint:
        """Train (unless soft_weight is None) and evaluate every device; a point is a round for the engine."""
        tasks = {
            family: dataclasses.replace(task, round=round_, replace_student=True)
            for family, task in tasks.items()
        }
        if soft_weight is not None:
            self._ask("train", {family: _weighed(task, soft_weight) for family, task in tasks.items()})
            tasks = {
                family: dataclasses.replace(task, parameters={}, replace_student=False)
                for family, task in tasks.items()
            }
        counts = np.array([_counts(reply) for reply in self._ask("evaluate", tasks)])  # [devices, 4]
        tested = counts[:, 1] > 0
        personal = counts[tested, 0] / counts[tested, 1]
        return TradeoffPoint(
            soft_weight=soft_weight,
            personal_accuracy=float(personal.mean()) if len(personal) else 0.0,
            global_accuracy=float((counts[:, 2] / np.maximum(counts[:, 3], 1)).mean()),
            worst_device_accuracy=float(personal.min(initial=1.0)),
        )

    def _ask(self, what: str, tasks: Mapping[str, RoundTask]) -> Sequence[Reply]:
        blobs = {family: encode_task(task, codec=self._codec) for family, task in tasks.items()}
        contents = [pack("RoundTask", blobs[self._families[device]]) for device in self._devices]
        handler: Callable[[Sequence[int], Sequence[RecordDict]], Sequence[Reply]] = self._engine.handlers[
            what
        ]
        return handler(self._devices, contents)


def _weighed(task: RoundTask, soft_weight: float) -> RoundTask:
    return dataclasses.replace(task, training=dataclasses.replace(task.training, soft_weight=soft_weight))


def _counts(reply: Reply) -> tuple[int, int, int, int]:
    """Read a device's counts of right answers and examples, personal and global; all 0 if it failed."""
    if isinstance(reply, Error):
        return 0, 0, 0, 0
    record = reply[RECORD]
    assert isinstance(record, MetricRecord)
    names = EvaluationCounts._fields[:4]
    correct, examples, global_correct, global_examples = (int(record[name]) for name in names)  # type: ignore[arg-type]
    return correct, examples, global_correct, global_examples


def _own_folder(run_folder: Path) -> Path:
    folder = run_folder / "tradeoff.partial"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in (DATA_FOLDER, ARTIFACTS_FOLDER):
        os.symlink(Path("..") / name, folder / name)
    return folder

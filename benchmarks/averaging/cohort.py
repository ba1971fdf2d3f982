"""The project's own engine: the training artifact over stacks of devices, in torch-free worker processes."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from fedstill_client.model.placed import computing_on
from fedstill_proto.codec.api import encode_task
from fedstill_proto.messages import RoundTask, SummaryKind, SummaryRequest
from fedstill_proto.package.artifact import load_artifact, save_artifact
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec
from fedstill_sim.data.fleet import save_fleet
from fedstill_sim.engine.averaging import WeightedSum, train_and_sum
from fedstill_sim.engine.groups import TaskGroup, split_group
from fedstill_sim.engine.shards import TaskShard
from fedstill_sim.folder import DATA_FOLDER, artifact_folder
from fedstill_sim.workers.pool import start_workers, usable_cores

from averaging.clock import Clock
from averaging.workload import Workload


def run(work: Workload, clock: Clock) -> None:
    """Run FedAvg rounds until the clock ends."""
    with computing_on(work.device), tempfile.TemporaryDirectory(prefix="fedstill-") as folder:
        _run(work, clock, Path(folder))


def _run(work: Workload, clock: Clock, folder: Path) -> None:
    data = work.data()
    save_fleet(data, folder / DATA_FOLDER)
    stack_size = _write_artifact(work, folder)
    manifest = load_artifact(artifact_folder(folder, work.family, stack_size)).manifest
    processes = usable_cores() if work.processes is None else work.processes
    executor = start_workers(processes)
    student, devices = work.student(), np.arange(work.users)
    while clock.start():
        task = RoundTask(
            "benchmark",
            1,
            work.family,
            work.plan(),
            SummaryRequest(SummaryKind.PARAMETERS),
            parameters=student,
            replace_student=True,
        )
        blob = encode_task(task, codec=SoftLabelCodec(Encoding.FLOAT32))
        parts = split_group(
            TaskGroup(blob, task, devices, devices),
            train_counts=data.train.counts,
            stack_size=stack_size,
            processes=processes,
        )
        jobs = [
            TaskShard(run_folder=folder, stack_size=stack_size, task=blob, devices=part.devices, slots=None)
            for part in parts
        ]
        futures = [executor.submit(train_and_sum, job, shuffle=False) for job in jobs]
        total = sum((future.result() for future in futures), start=WeightedSum.zero(manifest.parameter_count))
        student = total.result(manifest)
        clock.stop(student)
    executor.shutdown()


def _write_artifact(work: Workload, folder: Path) -> int:
    # These import torch.
    from fedstill_server.export.build import ArtifactOptions
    from fedstill_sim.runner.stack_size import best_stack_size, built

    options = ArtifactOptions(
        family=work.family,
        input_shape=(8, 8),
        classes=10,
        optimizer=work.plan().optimizer,
        soft_labels="none",
        k=0,
        stack_size=1,
        step_rows=work.plan().batch_size,
    )
    size = best_stack_size(options, devices=work.users)
    save_artifact(built(options, size), artifact_folder(folder, work.family, size))
    return size

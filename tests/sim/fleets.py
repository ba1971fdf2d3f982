"""Small runs on disk for the engine's tests: data, training artifacts and tasks."""

from pathlib import Path

import numpy as np
from fedstill_proto.codec.api import encode_task
from fedstill_proto.codec.told_labels import table_told
from fedstill_proto.messages import (
    ClassSoftLabels,
    Optimizer,
    PublicSoftLabels,
    RoundTask,
    SoftTargets,
    StartPlan,
    StartSource,
    SummaryKind,
    SummaryRequest,
    TrainingPlan,
)
from fedstill_proto.package.artifact import save_artifact
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec
from fedstill_proto.soft_labels.codec_spec import parse_codec
from fedstill_proto.soft_labels.label_arrays import DenseSoftLabels
from fedstill_server.export import ArtifactOptions, build_artifact
from fedstill_server.families import initial_parameters
from fedstill_sim.data.digits import load_digits
from fedstill_sim.data.fleet import FleetData, save_fleet
from fedstill_sim.folder import artifact_folder

CODEC = SoftLabelCodec(Encoding.FLOAT32)
TOLD = parse_codec("dense,8bit,log,entropy,delta")


def write_run(folder: Path, *, devices: int, stack_sizes: dict[str, int], seed: int = 0) -> FleetData:
    """A run folder with digits for these devices and an artifact for each family."""
    data = load_digits(devices=devices, families=tuple(stack_sizes), seed=seed)
    save_fleet(data, folder / "data")
    for family, stack_size in stack_sizes.items():
        write_artifact(folder, family, stack_size)
    return data


def write_artifact(folder: Path, family: str, stack_size: int) -> None:
    artifact = build_artifact(
        ArtifactOptions(
            family=family,
            input_shape=(8, 8),
            classes=10,
            optimizer=Optimizer.SGD,
            soft_labels="dense",
            stack_size=stack_size,
            step_rows=16,
        ),
        verify=False,
    )
    save_artifact(artifact, artifact_folder(folder, family, stack_size))


def even_class_labels() -> ClassSoftLabels:
    """Soft labels that lean to their own class: 0.55, and 0.05 for each other."""
    labels = np.full((10, 10), 0.05, np.float32) + 0.5 * np.eye(10, dtype=np.float32)
    return ClassSoftLabels(np.arange(10), DenseSoftLabels(labels))


def class_means_task(
    family: str,
    round_number: int,
    *,
    with_student: bool,
    student_scale: float = 1.0,
    replace_student: bool = False,
    soft_targets: SoftTargets | None = None,
    request: SummaryRequest | None = None,
) -> bytes:
    """Two epochs of batches of 16, then class means; the student's initial weights are scaled."""
    student = initial_parameters(family, (8, 8), 10, 0) if with_student else {}
    training = TrainingPlan(
        epochs=2,
        batch_size=16,
        learning_rate=0.1,
        optimizer=Optimizer.SGD,
        temperature=2.0,
        soft_weight=0.5,
        seed=7,
    )
    task = RoundTask(
        run="0123abcd",
        round=round_number,
        family=family,
        training=training,
        request=request or SummaryRequest(SummaryKind.CLASS_MEANS, CODEC),
        parameters={name: array * np.float32(student_scale) for name, array in student.items()},
        replace_student=replace_student,
        soft_targets=soft_targets,
    )
    return encode_task(task, codec=CODEC)


def public_start_task(source: StartSource, *, round_number: int = 1, base_round: int = 0) -> bytes:
    """A round on 40 public rows without weights: the start learns the rows' soft labels for three epochs.

    base_round: The round, which told the same soft labels, that these are coded against; 0 sends them whole.
    """
    rows = np.arange(40)
    labels = np.random.default_rng(5).dirichlet(np.ones(10), len(rows)).astype(np.float32)
    task = RoundTask(
        run="0123abcd",
        round=round_number,
        family="mlp-small",
        training=TrainingPlan(2, 8, 0.1, Optimizer.SGD, 2.0, 0.5, 7),
        request=SummaryRequest(SummaryKind.PUBLIC_SET, CODEC, rows[::2], relative=True),
        soft_targets=PublicSoftLabels(rows, DenseSoftLabels(labels)),
        start=StartPlan(source=source, epochs=3, learning_rate=0.1, input_noise=0.1),
    )
    told = table_told(task.soft_targets, TOLD)
    return encode_task(task, codec=TOLD, base_round=base_round, told=told if base_round else None)

"""A distilled student as a package: what `publish`, devices, and other distillations take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from fedstill_proto.arrays import Parameters
from fedstill_proto.package.artifact import StudentPackage, save_package

from fedstill_server.data.forms import Labels
from fedstill_server.distill.errors import DistillError
from fedstill_server.distill.tasks import DistillTask
from fedstill_server.export.int8 import quantize_student
from fedstill_server.export.opened import logits_of_graph
from fedstill_server.export.student import export_student
from fedstill_server.families import build_student
from fedstill_server.publish.package import LARGEST_DIFFERENCE, assemble_package, with_frozen_apart
from fedstill_server.publish.probing import probe_package
from fedstill_server.publish.text import as_text_package
from fedstill_server.publish.weights_apart import MANY_WEIGHTS, with_weights_apart
from fedstill_server.training.networks import load_parameters, logits_of

_ROWS_COMPARED, _VALUES_COMPARED = 256, 1 << 22  # examples at most, and logits


def pack_student(
    folder: Path,
    task: DistillTask,
    family: str,
    parameters: Parameters,
    *,
    quality: Mapping[str, float],
    trainable: bool = False,
) -> None:
    """Write the package. Only what the student's own module holds goes in: no adapters, no peers."""
    shape, classes = task.input_shape, task.classes
    network = load_parameters(build_student(family, shape, classes), parameters)
    manifest, graph = export_student(family=family, input_shape=shape, classes=classes, parameters=parameters)
    manifest = replace(manifest, input_rule=task.input_rule, class_names=task.class_names)
    x = task.test.x[: max(1, min(_ROWS_COMPARED, _VALUES_COMPARED // (task.classes * task.places)))]
    difference = float(np.abs(logits_of_graph(graph, x) - logits_of(network, x)).max())
    if not difference <= LARGEST_DIFFERENCE:
        raise DistillError(
            f"{family}: logits of ONNX Runtime and torch differ by {difference:.2g}, more than "
            f"{LARGEST_DIFFERENCE:g}; nothing is written"
        )
    package = StudentPackage(
        replace(manifest, subwords=task.files.subwords),
        graph,
        parameters,
        vocabulary=task.files.vocabulary,
        lexicon=task.files.lexicon,
        tokenizer=task.files.tokenizer,
        constraints=task.files.constraints,
    )
    eight_bit = quantize_student(graph, parameters)
    if eight_bit is not None:
        package = replace(
            package,
            manifest=replace(package.manifest, quantized=eight_bit.quantized),
            int8_graph=eight_bit.graph,
        )
    if task.form.labels is Labels.EACH_PLACE:
        package = as_text_package(package)
    elif task.files.subwords is not None and sum(a.size for a in parameters.values()) >= MANY_WEIGHTS:
        package = with_weights_apart(package)
    if trainable:
        package = _trainable(package, task, quality)
    else:
        described = replace(package.manifest, quality=tuple(sorted(quality.items())))
        package = replace(package, manifest=described)
    probe_package(package, x)
    save_package(folder, package)


def _trainable(package: StudentPackage, task: DistillTask, quality: Mapping[str, float]) -> StudentPackage:
    """With the training step for a device."""
    # The exporter takes seconds to import.
    from fedstill_proto.messages import Optimizer

    from fedstill_server.export.build import ArtifactOptions, build_artifact

    step = task.device_step()
    artifact = build_artifact(
        ArtifactOptions(
            family=package.manifest.family,
            input_shape=task.input_shape,
            classes=task.classes,
            optimizer=Optimizer.SGD,
            soft_labels=step.soft_labels,
            k=step.k,
            stack_size=1,
            step_rows=step.rows,
            step_vocabulary=step.vocabulary,
        )
    )
    if artifact.frozen:
        package = with_frozen_apart(package)
    return assemble_package(artifact, package, package_version=1, public_x=task.public.x, quality=quality)

"""The final students, exported as a device installs them and compared with torch, logit by logit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from fedstill_client.model.predictor import Predictor
from fedstill_client.model.targets import right_answers
from fedstill_proto.arrays import FloatArray, IntArray, Parameters
from fedstill_proto.package.artifact import (
    CONSTRAINTS_FILE,
    INFERENCE_FILE,
    PARAMETERS_FILE,
    StudentManifest,
    StudentPackage,
    load_student,
    save_package,
)
from fedstill_proto.system.files import SHARED, replace_file
from fedstill_server.config.fleet import FleetConfig
from fedstill_server.export.student import export_student
from fedstill_server.families import build_student
from fedstill_server.training.networks import load_parameters, logits_of, one_deterministic_thread

from fedstill_sim.data.fleet import FleetData
from fedstill_sim.folder import STUDENTS_FOLDER, cache_folder
from fedstill_sim.results.run_result import StudentResult

GRAPHS_FOLDER = "graphs"
PERSONAL_STUDENTS = 4  # devices of each family whose own weights are checked as well

PersonalStudents = Callable[[Sequence[int]], Parameters]
"""(devices of one family) -> their students [devices, *shape]."""


def export_students(
    run_folder: Path,
    data: FleetData,
    students: Mapping[str, Parameters],
    *,
    with_student: IntArray,
    personal: PersonalStudents,
    constraints: bytes | None = None,
) -> dict[str, StudentResult]:
    """Export each family's final student into <run>/students/<family>, and compare it with torch there.

    The fleet's student and some devices' own are compared, on the global test set.

    Args:
        run_folder: The run.
        data: The fleet's data.
        students: The fleet's final student by family.
        with_student: The devices that have a student of their own [n].
        personal: Reads the devices' own students.
        constraints: constraints.json of the packages; None for none.

    Returns:
        What was exported, and how far it is from torch, by family.
    """
    families = data.families
    if constraints is not None:  # a student that is distilled from the run's teacher has them, too
        replace_file(run_folder / CONSTRAINTS_FILE, constraints, mode=SHARED)
    return {
        family: _exported(
            run_folder / STUDENTS_FOLDER / family,
            data,
            family=family,
            student=student,
            devices=families.counts()[family],
            members=with_student[families.is_of(family)[with_student]].tolist(),
            personal=personal,
            constraints=constraints,
        )
        for family, student in students.items()
    }


def keep_graphs(fleet: FleetConfig, students: Mapping[str, Parameters]) -> None:
    """Make the graphs of a fleet's families, which `export_students` then finds in the cache of this machine.

    Args:
        fleet: The fleet.
        students: Any students by family; their weights are no matter of what is kept.
    """
    for family, student in students.items():
        export_student(
            family=family,
            input_shape=fleet.input_shape,
            classes=fleet.classes,
            parameters=student,
            target=fleet.target,
            cache=cache_folder() / GRAPHS_FOLDER,
        )


def _exported(
    folder: Path,
    data: FleetData,
    *,
    family: str,
    student: Parameters,
    devices: int,
    members: Sequence[int],
    personal: PersonalStudents,
    constraints: bytes | None,
) -> StudentResult:
    manifest, graph = export_student(
        family=family,
        input_shape=data.input_shape,
        classes=data.classes,
        parameters=student,
        target=data.target,
        cache=cache_folder() / GRAPHS_FOLDER,
    )
    described = replace(
        manifest, input_rule=data.input_rule, class_names=data.class_names, columns=data.columns
    )
    save_package(folder, StudentPackage(described, graph, student, constraints=constraints))
    package = load_student(folder)  # what is checked is what lies on the disk
    x, labels = np.array(data.global_x), np.array(data.global_y)  # copies: torch takes no read-only memory
    in_onnx, in_torch = _both_logits(package, x)
    difference, largest = _largest(in_onnx - in_torch), _largest(in_torch)
    chosen = evenly_spaced(members, PERSONAL_STUDENTS)
    for own in _one_by_one(personal(chosen)) if chosen else ():
        of_device = StudentPackage(package.manifest, package.inference_graph, own)
        on_device, reference = _both_logits(of_device, x)
        difference = max(difference, _largest(on_device - reference))
        largest = max(largest, _largest(reference))
    digests = {part.name: part for part in package.manifest.parts}
    return StudentResult(
        family=family,
        devices=devices,
        parameters=package.manifest.parameter_count,
        opset=package.manifest.opset,
        inference_bytes=digests[INFERENCE_FILE].size_bytes,
        inference_sha256=digests[INFERENCE_FILE].sha256,
        parameters_sha256=digests[PARAMETERS_FILE].sha256,
        global_accuracy=float(right_answers(data.target, in_onnx, labels).mean()),
        torch_global_accuracy=float(right_answers(data.target, in_torch, labels).mean()),
        personal_students_checked=len(chosen),
        max_abs_logit=largest,
        max_abs_logit_difference=difference,
    )


def evenly_spaced(members: Sequence[int], most: int) -> list[int]:
    """Choose at most so many members, evenly spaced from the first to the last."""
    if len(members) <= most:
        return list(members)
    return [members[round(place)] for place in np.linspace(0, len(members) - 1, most)]


def _both_logits(package: StudentPackage, x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Compute logits [n, classes] in ONNX Runtime and in torch."""
    return Predictor(package).logits_of_inputs(x), _torch_logits(package.manifest, package.parameters, x)


def _torch_logits(manifest: StudentManifest, parameters: Parameters, x: FloatArray) -> FloatArray:
    with one_deterministic_thread():
        student = build_student(
            manifest.family, manifest.input_shape, manifest.classes, target=manifest.target
        )
        return logits_of(load_parameters(student, parameters), x)


def _one_by_one(stack: Parameters) -> Iterator[Parameters]:
    for device in range(len(next(iter(stack.values())))):
        yield {name: array[device] for name, array in stack.items()}


def _largest(values: FloatArray) -> float:
    """The largest magnitude; that of a student with infinite numbers is the largest that JSON can hold."""
    largest = float(np.abs(values).max(initial=0.0))
    return largest if np.isfinite(largest) else float(np.finfo(np.float32).max)

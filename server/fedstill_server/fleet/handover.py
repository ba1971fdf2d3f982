"""Hands over to a fleet a student that was made elsewhere, by fedstill-server distill for instance.

Its weights become those of its family's starting student: devices that join start from them, the next rounds
go on from them, and the next packages are made of them, with the fleet's own training graphs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from fedstill_proto.arrays import Parameters, parameter_specs
from fedstill_proto.errors import FieldError
from fedstill_proto.package.artifact import MANIFEST_FILE, StudentPackage, load_student
from fedstill_proto.package.constraints.union import united

from fedstill_server.config.fleet import FleetConfig
from fedstill_server.fleet.folder import FleetFolder
from fedstill_server.publish.constraints import constraints_of, suppress_in_fleet
from fedstill_server.publish.errors import PublishError
from fedstill_server.rounds.run_store import RunStore, RunStoreError
from fedstill_server.run_folder import read_fleet_config
from fedstill_server.state import FleetState
from fedstill_server.tasks import task_of

DISTILLED = "student"
"""The package in the folder that fedstill-server distill writes."""


def hand_over(fleet: Path, packages: Sequence[Path]) -> list[str]:
    """Make students of these folders the fleet's.

    Args:
        fleet: The fleet's folder.
        packages: Folders of student packages, or of distillations.

    Returns:
        The families that were replaced.

    Raises:
        PublishError: The fleet has no such family, or one with other shapes or words.
        FleetError: The fleet is up.
    """
    given = given_students(fleet, packages)
    students = {name: one.parameters for name, one in given.items()}
    inherit_constraints(fleet, given.values())
    with ExitStack() as stack:
        if FleetFolder.is_at(fleet):
            stack.enter_context(FleetFolder.open(fleet).held())
        replace_students(fleet, students)
    return list(students)


def given_students(fleet: Path, packages: Sequence[Path]) -> dict[str, StudentPackage]:
    """The students of these folders, by family; raises PublishError where the fleet cannot have one."""
    config = read_fleet_config(fleet)
    students: dict[str, StudentPackage] = {}
    for folder in packages:
        package = _read(folder)
        _check(fleet, config, package, where=folder)
        family = package.manifest.family
        if family in students:
            raise PublishError(
                f"--package {folder}: a second student of {family!r}; give one of each family."
            )
        students[family] = package
    return students


def inherit_constraints(fleet: Path, packages: Iterable[StudentPackage]) -> None:
    """What these packages suppress, the fleet suppresses from now on."""
    lists = [constraints_of(package) for package in packages]
    suppress_in_fleet(fleet, replace(united(*lists), lifted=()))


def _read(folder: Path) -> StudentPackage:
    student = folder if (folder / MANIFEST_FILE).is_file() else folder / DISTILLED
    try:
        return load_student(student)
    except FieldError as error:
        raise PublishError(f"--package {folder}: {error}") from None


def _check(fleet: Path, config: FleetConfig, package: StudentPackage, *, where: Path) -> None:
    manifest = package.manifest
    if manifest.family not in config.families:
        raise PublishError(
            f"--package {where}: its student is of the family {manifest.family!r}, and the fleet has "
            f"{', '.join(config.families)}; prepare a fleet with --families {manifest.family}."
        )
    ours = {"input shape": config.input_shape, "classes": config.classes}
    theirs = {"input shape": manifest.input_shape, "classes": manifest.classes}
    if manifest.class_names:
        ours["names of classes"], theirs["names of classes"] = config.class_names, manifest.class_names
    if manifest.columns is not None:
        ours["columns"], theirs["columns"] = config.columns, manifest.columns
    for what, expected in ours.items():
        if theirs[what] != expected:
            raise PublishError(f"--package {where}: {what} {theirs[what]}, the fleet's is {expected}.")
    if not manifest.input_rule.reads_as(config.input_rule):
        found, known = (rule.notice() or "as they are" for rule in (manifest.input_rule, config.input_rule))
        raise PublishError(f"--package {where}: its student reads {found}; the fleet's read {known}.")
    if stranger := task_of(config).stranger(fleet, config, package):
        raise PublishError(f"--package {where}: {stranger}.")


def replace_students(fleet: Path, students: Mapping[str, Parameters]) -> None:
    """Have the fleet's rounds go on from these students; no run may be going on."""
    store = RunStore(fleet)
    try:
        checkpoint = store.latest()
        if checkpoint is None:
            raise RunStoreError(f"{fleet}: no students yet; run: fedstill-server prepare {fleet}")
        state: FleetState = checkpoint.state
        for family, student in students.items():
            if parameter_specs(student) != parameter_specs(state.students[family]):
                raise PublishError(
                    f"{family}: the package's parameters are not those of the fleet's student."
                )
        store.replace_state(checkpoint.round, state.replace(students={**state.students, **students}))
    finally:
        store.close()

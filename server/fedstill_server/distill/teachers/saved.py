"""Teachers that fedstill itself has saved: those of runs, and student packages."""

from __future__ import annotations

from pathlib import Path

from fedstill_proto.package.artifact import MANIFEST_FILE, load_student
from fedstill_proto.package.input_rule import InputRule

from fedstill_server.distill.teachers.torch_module import TorchTeacher
from fedstill_server.families import build_student
from fedstill_server.publish.students import newest_state
from fedstill_server.run_folder import CONFIG_FILE, read_fleet_config
from fedstill_server.tasks import training_of
from fedstill_server.training.networks import load_parameters


def saved_rule(folder: Path) -> InputRule | None:
    """How a saved teacher reads its inputs; None where the folder holds neither a package nor a run."""
    if (folder / MANIFEST_FILE).is_file():
        return load_student(folder).manifest.input_rule
    return read_fleet_config(folder).input_rule if (folder / CONFIG_FILE).is_file() else None


def teacher_of_run(folder: Path) -> TorchTeacher:
    """The newest teacher of a run (a folder with config.json and server/)."""
    config = read_fleet_config(folder)
    return TorchTeacher(training_of(config).teacher(newest_state(folder).teacher), name=str(folder))


def teacher_of_package(folder: Path) -> TorchTeacher:
    """A student package as a teacher: a torch module built from its family's name and its weights."""
    package = load_student(folder)
    manifest = package.manifest
    network = build_student(manifest.family, manifest.input_shape, manifest.classes)
    return TorchTeacher(load_parameters(network, package.parameters), name=str(folder))

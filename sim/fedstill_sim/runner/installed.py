"""What simulated devices have in their packages: the students of before the first round."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fedstill_proto.arrays import Parameters
from fedstill_proto.package.artifact import encode_parameters
from fedstill_proto.system.files import replace_file
from fedstill_server.rounds.run_store import RunStore

from fedstill_sim.folder import installed_file


def install_students(run_folder: Path, students: Mapping[str, Parameters]) -> None:
    """Put each family's student where its devices find it."""
    for family, student in students.items():
        replace_file(installed_file(run_folder, family), encode_parameters(student))


def install_prepared(run_folder: Path) -> None:
    """The same of a run that is prepared and has no round yet; one with rounds did so before the first."""
    store = RunStore(run_folder)
    try:
        checkpoint = store.latest()
    finally:
        store.close()
    if checkpoint is not None and checkpoint.round == 0:
        install_students(run_folder, checkpoint.state.students)

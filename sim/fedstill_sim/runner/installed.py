"""What simulated devices have in their packages: the students of before the first round."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fedstill_proto.arrays import Parameters
from fedstill_proto.package.artifact import encode_parameters
from fedstill_proto.system.files import replace_file
from fedstill_server.rounds.events import Event, RunPrepared, subscribe
from fedstill_server.rounds.run_store import RunStore

from fedstill_sim.folder import installed_file


@contextmanager
def packages_installed(run_folder: Path) -> Iterator[None]:
    """Give the devices of a run their packages: now, or as soon as the server has prepared the run."""

    def follow(event: Event) -> None:
        if isinstance(event, RunPrepared):
            install_students(run_folder, event.students)

    _install_prepared(run_folder)
    with subscribe(follow):
        yield


def install_students(run_folder: Path, students: Mapping[str, Parameters]) -> None:
    """Put each family's student where its devices find it."""
    for family, student in students.items():
        replace_file(installed_file(run_folder, family), encode_parameters(student))


def _install_prepared(run_folder: Path) -> None:
    """Do so for a run without rounds yet; one that has some did so before the first."""
    store = RunStore(run_folder)
    try:
        checkpoint = store.latest()
    finally:
        store.close()
    if checkpoint is not None and checkpoint.round == 0:
        install_students(run_folder, checkpoint.state.students)

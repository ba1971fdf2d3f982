"""Which files of a run its workers read, and do not write: what a machine of a cluster needs a copy of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fedstill_sim.engine.kept_students import KEPT_FILE
from fedstill_sim.folder import (
    ARTIFACTS_FOLDER,
    BASELINES_FOLDER,
    CONFIG_FILE,
    DATA_FOLDER,
    DEVICES_FOLDER,
    INSTALLED_FOLDER,
    POISONED_FOLDER,
    PREFIXED_FOLDER,
    training_data_folder,
)

_OWN = (ARTIFACTS_FOLDER, INSTALLED_FOLDER, f"{DEVICES_FOLDER}/starts")


def top_folder(run_folder: Path) -> Path:
    """The folder whose copy holds a run's: a baseline names its data from where it lies in its run."""
    parent = run_folder.parent
    return parent.parent if parent.name == BASELINES_FOLDER else run_folder


def run_files(run_folder: Path) -> dict[str, Path]:
    """Return the files by their places in the copy of the top folder."""
    top = top_folder(run_folder)
    own = run_folder.relative_to(top)
    files = dict(_below(top / DATA_FOLDER, Path(DATA_FOLDER)))
    for folder in (DATA_FOLDER, POISONED_FOLDER, *_OWN):
        files |= _below(run_folder / folder, own / folder)
    prefixed = training_data_folder(run_folder).resolve().parent / PREFIXED_FOLDER
    files |= _below(prefixed, own / PREFIXED_FOLDER)
    for name in (CONFIG_FILE, f"{DEVICES_FOLDER}/{KEPT_FILE}"):
        if (run_folder / name).is_file():
            files[(own / name).as_posix()] = run_folder / name
    return files


def _below(folder: Path, place: Path) -> Iterator[tuple[str, Path]]:
    if folder.is_dir():
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix != ".new":
                yield (place / path.relative_to(folder)).as_posix(), path

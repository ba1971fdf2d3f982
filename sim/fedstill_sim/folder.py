"""The folder of a run: what lies where, and who may write there; and this machine's cache."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from fedstill_proto.errors import FedstillError

CONFIG_FILE = "config.json"
DATA_FOLDER = "data"
POISONED_FOLDER = "poisoned"  # the same data, where an attack alters what adversaries train on
BASELINES_FOLDER = "baselines"
STUDENTS_FOLDER = "students"
ARTIFACTS_FOLDER = "artifacts"
INSTALLED_FOLDER = "installed"
DEVICES_FOLDER = "devices"
PREFIXED_FOLDER = "prefixed"
CACHE_VARIABLE = "FEDSTILL_CACHE"


class FolderError(FedstillError):
    """A folder holds something else than what is needed."""


def file_name(name: str) -> str:
    """The name of a method or data set as one of files: that of one's own, module:name, has a colon."""
    return name.replace(":", ".")


def training_data_folder(run_folder: Path) -> Path:
    """Where devices' examples lie: the run's data, or what an attack made of them before it began."""
    poisoned = run_folder / POISONED_FOLDER
    return poisoned if poisoned.exists() else run_folder / DATA_FOLDER


def artifact_folder(run_folder: Path, family: str, stack_size: int) -> Path:
    """Where a run keeps the training artifact of a family for stacks of this many devices."""
    return run_folder / ARTIFACTS_FOLDER / f"{family}-c{stack_size}"


def installed_file(run_folder: Path, family: str) -> Path:
    """Where a run keeps the student that the devices of a family have in their packages."""
    return run_folder / INSTALLED_FOLDER / f"{family}.safetensors"


def prefixed_folder(run_folder: Path, name: str) -> Path:
    """Where what students' frozen first parts make of a run's examples lies: beside these, for all who share
    them.
    """
    data = training_data_folder(run_folder).resolve()
    return data.parent / PREFIXED_FOLDER / f"{data.name}-{name}"


def cache_folder() -> Path:
    """What runs on this machine can use again: $FEDSTILL_CACHE, or fedstill in the user's cache folder."""
    if CACHE_VARIABLE in os.environ:
        return Path(os.environ[CACHE_VARIABLE])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fedstill"


def check_claim(folder: Path, *, force: bool) -> None:
    """Check that a new run may write here: in an empty folder, or by force in an earlier run's.

    Raises:
        FolderError: The folder holds something that must not be replaced.
    """
    if folder.exists() and not folder.is_dir():
        raise FolderError(f"--out {folder} is a file; name a folder")
    entries = list(folder.iterdir()) if folder.exists() else []
    if not entries:
        return
    if not (folder / CONFIG_FILE).is_file():
        raise FolderError(
            f"--out {folder} holds other files ({entries[0].name}, ...); name a new or empty folder"
        )
    if not force:
        raise FolderError(
            f"--out {folder} holds a run already; go on with it (fedstill-sim resume {folder}), name "
            "another folder, or replace it with --force"
        )


def claim_folder(folder: Path, *, force: bool) -> None:
    """Make an empty folder for a new run; what an earlier run left is removed by force.

    Raises:
        FolderError: As for `check_claim`.
    """
    check_claim(folder, force=force)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        clear_folder(folder)
    except OSError as error:
        raise FolderError(f"--out {folder}: cannot be made: {error.strerror or error}") from None


def clear_folder(folder: Path) -> None:
    """Remove what a folder holds; what its links point to stays."""
    for entry in list(folder.iterdir()):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def require_run(folder: Path) -> None:
    """Check that a run was started in a folder.

    Raises:
        FolderError: None was.
    """
    if not (folder / CONFIG_FILE).is_file():
        raise FolderError(
            f"{folder} holds no run (no {CONFIG_FILE}); start one with: fedstill-sim run digits --method "
            f"public-logits --out {folder}"
        )

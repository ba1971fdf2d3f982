"""Folders and files that a command names, checked before anything heavy is loaded."""

from __future__ import annotations

import difflib
from pathlib import Path

from fedstill_proto.errors import FedstillError


def check_one_folder(*folders: Path | None) -> None:
    """Raises FedstillError where two of --home, --device and --student are given."""
    if sum(folder is not None for folder in folders) > 1:
        raise FedstillError("give one of --home FOLDER, --device FOLDER and --student FOLDER.")


def check_device_folder(folder: Path) -> None:
    """Raises FedstillError unless this may be a plain device folder."""
    if not folder.is_dir():
        raise _missing(folder, "there is no such folder; a device folder holds device.json and artifact/")
    if not (folder / "device.json").is_file():
        raise FedstillError(f"{folder}: there is no device.json; is it a device folder?")


def check_student_folder(folder: Path) -> None:
    """Raises FedstillError unless there is such a folder."""
    if not folder.is_dir():
        raise _missing(folder, "there is no such student folder")


def check_file(file: Path) -> None:
    """Raises FedstillError unless there is such a file."""
    if not file.exists():
        raise _missing(file, "there is no such file")


def check_suffix(file: Path, suffixes: tuple[str, ...], what: str) -> None:
    """Raises FedstillError unless the file's name ends in one of the suffixes; `what` is written there."""
    if file.suffix.lower() not in suffixes:
        raise FedstillError(f"{file}: {what} are written as {' or '.join(suffixes)}; choose one of them.")


def _missing(path: Path, problem: str) -> FedstillError:
    """The error for a path that is not there; it names what stands beside it and is spelled alike."""
    try:
        beside = [other.name for other in path.parent.iterdir()]
    except OSError:
        beside = []
    alike = difflib.get_close_matches(path.name, beside, n=2, cutoff=0.6)
    meant = " or ".join(str(path.parent / name) for name in alike)
    return FedstillError(f"{path}: {problem}" + (f"; did you mean {meant}?" if alike else "."))

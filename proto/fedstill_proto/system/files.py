"""Files that stay whole: after a power cut a reader finds the old content or the new one."""

from __future__ import annotations

import os
from pathlib import Path

PRIVATE, SHARED = 0o600, 0o666
"""Permissions of a new file, less the process's umask: its owner's alone, or whatever the umask allows."""


def replace_file(file: Path, content: bytes, *, mode: int = PRIVATE) -> None:
    """Write a file so that a reader, now or after a power cut, finds the old content or the new one.

    For one writer at a time: what a killed writer leaves beside the file, the next one writes over.

    Args:
        file: The file; folders that it lacks are made.
        content: Its new content.
        mode: The permissions of a new file, less the process's umask: PRIVATE, SHARED, or others.

    Raises:
        OSError: Where it cannot be written; the old content is kept.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.partial")
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
        partial.replace(file)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(file.parent)


def sync_folder(folder: Path) -> None:
    """Put on the disk which files are in a folder, and under which names."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

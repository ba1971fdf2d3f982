"""Backups of a fleet: one file with everything that another machine needs to go on, private keys included.

A backup is a .tar.gz whose first member, BACKUP.json, names the digest of every other. It is taken while the
fleet is up: files are replaced whole, and the newest round's record, which names the digests of what belongs
to it, is read first. A fleet goes on from its last committed round.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import fedstill_proto
from fedstill_proto.system.files import PRIVATE, sync_folder

from fedstill_server.fleet.errors import FleetError
from fedstill_server.fleet.folder import FleetFolder
from fedstill_server.operations.replica import is_of_this_machine

CONTENTS = "BACKUP.json"
FORMAT = 1
_TRIES = 5


@dataclass(frozen=True, kw_only=True)
class Backup:
    """What a backup holds."""

    run: str
    made_at: float
    version: str
    files: int
    size_bytes: int


def back_up(fleet: FleetFolder, out: Path) -> Backup:
    """Write a backup of a fleet, which may be up; the file holds private keys, and has mode 0600.

    Raises:
        FleetError: It cannot be written.
    """
    contents = _consistent(fleet)
    described = {
        "format": FORMAT,
        "run": fleet.run,
        "made_at": round(time.time(), 3),
        "version": fedstill_proto.__version__,
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
    }
    partial = out.with_name(f".{out.name}.partial")
    try:
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE)
        with os.fdopen(handle, "wb") as file:
            with (
                gzip.GzipFile(fileobj=file, mode="wb", mtime=0) as packed,
                tarfile.open(fileobj=packed, mode="w") as archive,
            ):
                _add(archive, CONTENTS, json.dumps(described, indent=1).encode())
                for name, content in contents.items():
                    _add(archive, name, content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(out)
        sync_folder(out.parent)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise FleetError(f"{out}: the backup cannot be written: {error.strerror}.") from None
    size = sum(map(len, contents.values()))
    return Backup(
        run=fleet.run,
        made_at=float(str(described["made_at"])),
        version=fedstill_proto.__version__,
        files=len(contents),
        size_bytes=size,
    )


def restore(backup: Path, folder: Path) -> Backup:
    """Make a fleet's folder of a backup; every file is checked before the folder is there.

    Raises:
        FleetError: The folder exists, or the backup is damaged or none; nothing is left behind.
    """
    if folder.exists():
        raise FleetError(f"{folder}: exists already; a fleet is restored into a new folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        described = _unpack(backup, made)
        made.chmod(0o700)
        for name in ("keys", "certificates", "devices", "logs"):
            (made / name).mkdir(mode=0o700, exist_ok=True)
            (made / name).chmod(0o700)
        opened = FleetFolder.open(made)
        if opened.run != described.run:
            raise FleetError(f"{backup}: it is said to be of fleet {described.run}, and is of {opened.run}.")
        made.rename(folder)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise
    sync_folder(folder.parent)
    return described


def _unpack(backup: Path, folder: Path) -> Backup:
    try:
        with tarfile.open(backup, "r:gz") as archive:
            first = archive.next()
            if first is None or first.name != CONTENTS:
                raise FleetError(f"{backup}: not a backup of fedstill-server backup.")
            described = json.loads(_content(archive, first))
            expected: dict[str, str] = dict(described["sha256"])
            size = 0
            while (member := archive.next()) is not None:
                name = member.name
                inside = not Path(name).is_absolute() and ".." not in Path(name).parts
                if not member.isfile() or not inside or name not in expected:
                    raise FleetError(f"{backup}: holds {name!r:.80}, which no backup does.")
                content = _content(archive, member)
                if hashlib.sha256(content).hexdigest() != expected.pop(name):
                    raise FleetError(f"{backup}: {name} is damaged (SHA-256); take another backup.")
                file = folder / name
                file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE), "wb") as opened:
                    opened.write(content)
                size += len(content)
        if expected:
            raise FleetError(f"{backup}: {min(expected)} is missing; take another backup.")
        return Backup(
            run=str(described["run"]),
            made_at=float(described["made_at"]),
            version=str(described["version"]),
            files=len(described["sha256"]),
            size_bytes=size,
        )
    except FileNotFoundError:
        raise FleetError(f"{backup}: no such file.") from None
    except (OSError, EOFError, tarfile.TarError, ValueError, KeyError, TypeError) as error:
        raise FleetError(f"{backup}: cannot be read as a backup: {str(error)[:100]}") from None


def _consistent(fleet: FleetFolder) -> dict[str, bytes]:
    """The files of the folder, all of one moment: read again where a round was committed meanwhile."""
    for _ in range(_TRIES):
        before = _newest_round(fleet)
        try:
            contents = {name: (fleet.folder / name).read_bytes() for name in sorted(_names(fleet.folder))}
        except FileNotFoundError:
            continue
        if _newest_round(fleet) == before:
            return contents
    raise FleetError(f"{fleet.folder}: changes all the time; try again, or pause its rounds.")


def _newest_round(fleet: FleetFolder) -> tuple[str, int]:
    newest = max((fleet.folder / "server" / "rounds").glob("round-*.json"), default=None)
    return ("", 0) if newest is None else (newest.name, newest.stat().st_mtime_ns)


def _names(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        inside = path.relative_to(folder)
        if path.is_file() and not is_of_this_machine(inside):
            yield inside.as_posix()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), PRIVATE
    archive.addfile(member, io.BytesIO(content))


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    opened = archive.extractfile(member)
    return b"" if opened is None else opened.read()

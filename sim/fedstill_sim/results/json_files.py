"""JSON files of a run folder: written whole, with a digest of it, read with errors that name the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fedstill_proto.errors import FedstillError
from fedstill_proto.system.sealed import DamagedFile, read_sealed_json, write_sealed_json

Json = Any  # what json.load returns


class ResultError(FedstillError):
    """A file of a run folder is missing, or is not what this version writes."""


def write_json(path: Path, document: Json) -> None:
    """Write a JSON file whole: a reader sees the old file or the new one, never a part.

    Raises:
        ValueError: The document holds NaN or infinity, which JSON does not have.
    """
    write_sealed_json(path, document)


def read_json(path: Path) -> Json:
    """Read a JSON file.

    Raises:
        ResultError: There is no such file, or its bytes are not those that were written.
    """
    try:
        return read_sealed_json(path, remedy="delete it, or run again")
    except FileNotFoundError:
        raise ResultError(f"{path}: no such file") from None
    except DamagedFile as error:
        raise ResultError(str(error)) from None

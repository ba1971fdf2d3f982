"""JSON files of a run folder, written whole and read with errors that name the file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from fedstill_proto.errors import FedstillError

Json = Any  # what json.load returns


class ResultError(FedstillError):
    """A file of a run folder is missing, or is not what this version writes."""


def write_json(path: Path, document: Json) -> None:
    """Write a JSON file whole: a reader sees the old file or the new one, never a part.

    Raises:
        ValueError: The document holds NaN or infinity, which JSON does not have.
    """
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as file:
        json.dump(document, file, indent=1, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def read_json(path: Path) -> Json:
    """Read a JSON file.

    Raises:
        ResultError: There is no such file, or it holds no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ResultError(f"{path}: no such file") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ResultError(f"{path}: not a JSON file ({error})") from None

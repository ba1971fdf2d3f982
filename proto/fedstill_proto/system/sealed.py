"""Files that answer for themselves: each holds the SHA-256 of its own bytes, checked on every reading.

The digest stands in the file, as 64 hexadecimal digits, and is taken over the file with zeros in their place.
So there is one file to replace, and a single changed bit anywhere in it is found: in the content, in the
spaces between, in the digest or in its name. JSON files hold it as their first member, safetensors files in
their metadata.

A digest finds damage. It is no signature: who may write the folder can write a digest, too.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fedstill_proto.errors import FedstillError
from fedstill_proto.system.files import SHARED, replace_file

SEAL = "sha256"
"""The member that holds the digest."""
BLANK = "0" * 64
"""What stands in its place while it is taken."""
_CONTENT = "content"  # holds what is no JSON object
_JSON_SEAL = re.compile(rb'\{\n "sha256": "([0-9a-f]{64})"')
_HEADER_SEAL = re.compile(rb'"sha256":"([0-9a-f]{64})"')
_RESTORE = "restore it from a backup"


class DamagedFile(FedstillError):
    """A file is not what was written; the text names it, and what to do."""


def sealed_json(document: Any) -> bytes:
    """Return a JSON document as a file with its digest.

    Args:
        document: What the file is to hold; an object gets the digest as its first member, anything else is
            put beside it, as "content".

    Raises:
        ValueError: The document holds NaN or infinity, which JSON does not have.
    """
    members = document if isinstance(document, Mapping) else {_CONTENT: document}
    text = json.dumps({SEAL: BLANK, **members}, indent=1, allow_nan=False) + "\n"
    return sealed(text.encode())


def sealed(blob: bytes) -> bytes:
    """Return bytes that hold BLANK as the value of SEAL, with the digest in its place."""
    place = _seal_of(blob)
    if place is None or place.group(1) != BLANK.encode():
        raise ValueError("there is no place for a digest")
    start, end = place.span(1)
    return blob[:start] + hashlib.sha256(blob).hexdigest().encode() + blob[end:]


def seal_of(blob: bytes, *, where: object, remedy: str = _RESTORE) -> str:
    """Check the digest that bytes hold, and return it.

    Args:
        blob: The content of a file.
        where: The file, for the error.
        remedy: What to do where it is damaged.

    Raises:
        DamagedFile: There is none, or it is that of other bytes.
    """
    place = _seal_of(blob)
    if place is None:
        raise DamagedFile(
            f"{where}: damaged, or written by hand or an earlier release: it holds no digest of itself "
            f"({SEAL}). {_by_hand(blob, where, 'If it is as it should be')}{remedy}."
        )
    start, end = place.span(1)
    if hashlib.sha256(blob[:start] + BLANK.encode() + blob[end:]).hexdigest().encode() != place.group(1):
        raise DamagedFile(
            f"{where}: damaged: its bytes are not those that were written (SHA-256). "
            f"{_by_hand(blob, where, 'If you have changed it yourself')}{remedy}."
        )
    return place.group(1).decode()


def write_sealed_json(path: Path, document: Any, *, mode: int = SHARED) -> None:
    """Write a JSON file with its digest: whole, or not at all; raises OSError where it cannot be."""
    replace_file(path, sealed_json(document), mode=mode)


def read_sealed_json(path: Path, *, remedy: str = _RESTORE) -> Any:
    """Read what `write_sealed_json` wrote.

    Args:
        path: The file.
        remedy: What to do where it is damaged.

    Raises:
        DamagedFile: Its bytes are not those that were written, or it cannot be read.
        FileNotFoundError: There is none.
    """
    try:
        blob = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DamagedFile(f"{path}: cannot be read: {error.strerror}; {remedy}.") from None
    seal_of(blob, where=path, remedy=remedy)
    return json_in(blob)


def json_in(blob: bytes) -> Any:
    """Return the document of a sealed JSON file, without checking its digest."""
    document = json.loads(blob)
    del document[SEAL]
    return document[_CONTENT] if document.keys() == {_CONTENT} else document


def seal_by_hand(path: Path) -> None:
    """Give a JSON file that somebody has changed a digest of what it holds now.

    Raises:
        DamagedFile: It holds no JSON.
    """
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DamagedFile(f"{path}: not a JSON file that can be read ({error}).") from None
    if isinstance(document, dict):
        document.pop(SEAL, None)
    write_sealed_json(path, document)


def _by_hand(blob: bytes, where: object, condition: str) -> str:
    """What to do with a JSON file that somebody has changed, before what to do with any other."""
    is_json = str(where).endswith(".json") or blob[:1] == b"{"
    return f"{condition}, run: fedstill-server seal {where}; else " if is_json else "What to do: "


def _seal_of(blob: bytes) -> re.Match[bytes] | None:
    """Find the digest: a JSON file begins with it, and a safetensors file has it in its header."""
    if blob[:1] == b"{":
        return _JSON_SEAL.match(blob)
    return _HEADER_SEAL.search(blob, 8, 8 + int.from_bytes(blob[:8], "little"))

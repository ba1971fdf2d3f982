"""A call on its way to another machine: what lies in the object store, and paths, are only named.

Ray writes and reads the rest, as it does for all calls of its drivers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from fedstill_sim.cluster.handles import StoredHandle
from fedstill_sim.workers.calls import Work

LARGE_BYTES = 1 << 16  # from here on, the same bytes in many calls are stored once


@runtime_checkable
class SentLater(Protocol):
    """An argument that is made when its call is sent: calls that wait do not hold it."""

    def made_now(self) -> Any:
        """Return the argument."""


@dataclass(frozen=True)
class StoredBytes:
    """Bytes that lie in the object store."""

    name: str


@dataclass(frozen=True)
class CopiedPath:
    """A path in the copy of a sent folder, by the copy's number."""

    number: int
    place: str


def write_call(
    work: Work,
    *,
    of_handle: Callable[[StoredHandle], Any],
    of_bytes: Callable[[bytes], tuple[str, Any]],
    of_path: Callable[[Path], tuple[int, str] | None],
) -> tuple[Work, dict[str, Any]]:
    """Return a call as it is sent, and the objects that it names, by name.

    Args:
        work: The call.
        of_handle: Returns the object that a handle names.
        of_bytes: Stores bytes, unless they are stored, and returns their name and the object.
        of_path: Returns the number of the copy that a path lies in and its place there, if it does.
    """
    stored: dict[str, Any] = {}

    def sent(value: Any) -> Any:
        if isinstance(value, StoredHandle):
            stored[value.name] = of_handle(value)
        elif isinstance(value, bytes) and len(value) >= LARGE_BYTES:
            name, stored[name] = of_bytes(value)
            return StoredBytes(name)
        elif isinstance(value, Path) and (inside := of_path(value)) is not None:
            return CopiedPath(*inside)
        return value

    return _mapped(work, sent), stored


def read_call(work: Work, *, bytes_of: Callable[[str], bytes], path_of: Callable[[int, str], Path]) -> Work:
    """Return the call that `write_call` was given.

    Args:
        work: The call as it was sent.
        bytes_of: Returns stored bytes by name.
        path_of: Returns a path in a copy.
    """

    def read(value: Any) -> Any:
        if isinstance(value, StoredBytes):
            return bytes_of(value.name)
        if isinstance(value, CopiedPath):
            return path_of(value.number, value.place)
        return value

    found: Work = _mapped(work, read)
    return found


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """Change the values in dataclasses, lists, tuples and dictionaries, to any depth."""
    if isinstance(value, SentLater) and not isinstance(value, type):
        value = value.made_now()
    changed = change(value)
    if changed is not value:
        return changed
    if isinstance(value, dict):
        return {name: _mapped(each, change) for name, each in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_mapped(each, change) for each in value)
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    own = {one.name: getattr(value, one.name) for one in dataclasses.fields(value) if one.init}
    new = {name: _mapped(each, change) for name, each in own.items()}
    different = {name: each for name, each in new.items() if each is not own[name]}
    return dataclasses.replace(value, **different) if different else value

"""A call as bytes for another machine: what lies in the object store, and paths, are written as names.

Pickle is for one's own machines only: a Ray cluster runs what its driver sends in any case.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fedstill_sim.cluster.handles import StoredHandle
from fedstill_sim.workers.calls import Work

LARGE_BYTES = 1 << 16  # from here on, the same bytes in many calls are stored once


@dataclass(frozen=True)
class Payload:
    """A call that is sent: pickled, its arrays' memory apart, and the objects that it names, by name."""

    head: bytes
    buffers: list[Any]
    stored: dict[str, Any]


def write_call(
    work: Work,
    *,
    of_handle: Callable[[StoredHandle], Any],
    of_bytes: Callable[[bytes], tuple[str, Any]],
    of_path: Callable[[Path], tuple[int, str] | None],
) -> Payload:
    """Write a call.

    Args:
        work: The call.
        of_handle: Returns the object that a handle names.
        of_bytes: Stores bytes, unless they are stored, and returns their name and the object.
        of_path: Returns the number of the sent folder that a path lies in and its place there, if it does.
    """
    file, buffers, stored = io.BytesIO(), [], {}

    class Writer(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            if isinstance(value, StoredHandle):
                stored[value.name] = of_handle(value)
                return "handle", value.name
            if type(value) is bytes and len(value) >= LARGE_BYTES:
                name, stored[name] = of_bytes(value)
                return "bytes", name
            if isinstance(value, Path) and (inside := of_path(value)) is not None:
                return "path", *inside
            return None

    Writer(
        file, 5, buffer_callback=lambda buffer: buffers.append(np.frombuffer(buffer.raw(), np.uint8))
    ).dump(work)
    return Payload(file.getvalue(), buffers, stored)


def read_call(
    head: bytes,
    buffers: Sequence[Any],
    *,
    bytes_of: Callable[[str], bytes],
    path_of: Callable[[int, str], Path],
) -> Work:
    """Read a call that `write_call` wrote.

    Args:
        head: What it pickled.
        buffers: The memory of its arrays.
        bytes_of: Returns stored bytes by name.
        path_of: Returns a path in the copy of a sent folder.
    """

    class Reader(pickle.Unpickler):
        def persistent_load(self, name: Any) -> Any:
            kind, *rest = name
            if kind == "handle":
                return StoredHandle(*rest)
            return bytes_of(*rest) if kind == "bytes" else path_of(*rest)

    work: Work = Reader(io.BytesIO(head), buffers=buffers).load()
    return work

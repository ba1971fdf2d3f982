"""What a round may take of a device, whatever its task says: time, and memory beyond what the process has."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedstill_client.agent_types import Stop

_STATUS = Path("/proc/self/status")


def stopping_after(seconds: float, stop: Stop | None) -> Stop:
    """What to ask while working: `stop`'s reason, or that the time is over."""
    end = time.monotonic() + seconds

    def ask() -> str | None:
        if time.monotonic() > end:
            return f"most_seconds: the round takes longer than {seconds:g} s"
        return None if stop is None else stop()

    return ask


@contextmanager
def memory_limited(most_mb: int) -> Iterator[None]:
    """Let this process take so much more memory within, and no more: what asks for it fails then.

    Where the system does not tell what the process has, nothing is limited.
    """
    held = _data_bytes()
    before, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if held is None:
        yield
        return
    limit = held + (most_mb << 20)
    for other in (before, hard):
        limit = limit if other == resource.RLIM_INFINITY else min(limit, other)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (before, hard))


def _data_bytes() -> int | None:
    """Writable memory of this process that no other shares, in bytes: what RLIMIT_DATA counts."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    sizes = [line.split()[1] for line in lines if line.startswith("VmData:")]
    return int(sizes[0]) << 10 if sizes else None

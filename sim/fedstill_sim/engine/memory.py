"""The peak memory of a process."""

from __future__ import annotations

import resource
import sys
from pathlib import Path


def peak_memory_mb(process: int | None = None) -> float:
    """Return the peak resident memory in megabytes (10^6 bytes) of a process, by default this one.

    A process that has ended has 0.
    """
    status = Path(f"/proc/{process or 'self'}/status")
    if status.exists():
        # Not getrusage: a process that was forked from a large one inherits its maximum there.
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
        return 0.0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6 if process is None else 0.0

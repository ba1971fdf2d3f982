"""What an operator may change from the page, where the console was started with --allow-changes.

Each is one of fedstill-server's own commands, run as its user: it does, refuses and notes in the audit log
what it does on the command line, and nothing else can be run.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from fedstill_server.console.errors import ConsoleError

CHANGES: Mapping[str, tuple[str, ...]] = {
    "pause": ("pause",),
    "resume": ("resume",),
    "release-pause": ("release", "pause"),
    "release-resume": ("release", "resume"),
    "release-rollback": ("release", "rollback"),
    "kill": ("kill",),
    "revive": ("revive",),
}
_WITHIN_S = 120.0


def change(folder: Path, what: str) -> None:
    """Run one of the commands on a fleet.

    Args:
        folder: The fleet's.
        what: One of CHANGES.

    Raises:
        ConsoleError: There is no such command, or it refused; the text is its own.
    """
    if what not in CHANGES:
        raise ConsoleError(f"what: {what!r} is none of {', '.join(CHANGES)}")
    command = [sys.executable, "-P", "-m", "fedstill_server.cli", *CHANGES[what], str(folder.resolve())]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_WITHIN_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConsoleError(f"{what}: {error}") from None
    if done.returncode:
        raise ConsoleError(f"{what}: {(done.stderr.strip() or 'it failed').splitlines()[-1][:300]}")

"""Whether this agent is new enough for a package."""

from __future__ import annotations

import fedstill_proto
from fedstill_proto.package.manifest import StudentManifest

from fedstill_client.packages.errors import PackageError


def check_agent_version(manifest: StudentManifest) -> None:
    """Raises PackageError for a package that needs a newer agent than this one."""
    needed, own = manifest.lowest_agent_version, fedstill_proto.__version__
    if needed and _numbers(needed) > _numbers(own):
        raise PackageError(
            "agent-version",
            f"package {manifest.package_version} of {manifest.family!r} needs fedstill {needed}, "
            f"this is {own}; update the agent",
        )


def _numbers(text: str) -> tuple[int, ...]:
    """0.1.0 as (0, 1, 0, 0); what follows the numbers (rc1, +local) does not count."""
    numbers = []
    for piece in text.split(".")[:4]:
        digits = piece[: len(piece) - len(piece.lstrip("0123456789"))]
        numbers.append(int(digits or 0))
    return tuple(numbers + [0] * (4 - len(numbers)))

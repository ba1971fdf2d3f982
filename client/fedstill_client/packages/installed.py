"""What the private store remembers of an installed package."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fedstill_proto.checks import MAX_UINT32, check_integer, check_name


@dataclass(frozen=True)
class InstalledPackage:
    """A package in the agent's home. `manifest_sha256`, in hexadecimal, answers for all of its files."""

    version: int
    family: str
    folder: Path
    manifest_sha256: str

    def __post_init__(self) -> None:
        check_integer("version", self.version, 0, MAX_UINT32)
        check_name("family", self.family)


class InstallationRecord(Protocol):
    """The part of the private store that an installation needs."""

    def record_installation(self, installed: InstalledPackage) -> None:
        """Make this the package in use; durable when it returns."""

    def installed(self) -> InstalledPackage | None:
        """The package in use."""

    def installations(self) -> Sequence[InstalledPackage]:
        """All that were ever in use, first to last."""

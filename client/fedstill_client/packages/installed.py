"""What the private store remembers of an installed package."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from fedstill_proto.arrays import ParameterSpec
from fedstill_proto.checks import MAX_UINT32, check_integer, check_name


@dataclass(frozen=True)
class InstalledPackage:
    """A package in the agent's home.

    Attributes:
        version: Its version.
        family: Of its student.
        folder: Where its files are.
        manifest_sha256: In hexadecimal; it answers for all of its files.
        anew: Why the owner's student did not go on when it was installed; "" where it did, or there was none.
        tokenizer: What texts become under it, where its student reads sub-words; the store does not give it.
    """

    version: int
    family: str
    folder: Path
    manifest_sha256: str
    anew: str = field(default="", compare=False)
    tokenizer: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        check_integer("version", self.version, 0, MAX_UINT32)
        check_name("family", self.family)


@dataclass(frozen=True)
class KeptStudent:
    """What of a device's own goes on under the next package.

    Attributes:
        version: Of the package whose students go on.
        parameters: What they consist of, under both packages.
        same_generation: Whether both packages are of one generation: then what the fleet taught goes on, too.
    """

    version: int
    parameters: Sequence[ParameterSpec]
    same_generation: bool


class InstallationRecord(Protocol):
    """The part of the private store that an installation needs."""

    def record_installation(
        self, installed: InstalledPackage, *, keeping: KeptStudent | None = None, owners: int = 0
    ) -> None:
        """Make this the package in use, and go on with the students of the one before; durable when it
        returns. Until then, or later, an earlier package, of the version `owners`, may answer the owner.
        """

    def forget_kept_answers(self) -> None:
        """Send no noised answer again that was sent before; it stays paid for."""

    def installed(self) -> InstalledPackage | None:
        """The package in use."""

    def owners(self) -> InstalledPackage | None:
        """An earlier package that still answers the owner; None where the one in use does."""

    def installations(self) -> Sequence[InstalledPackage]:
        """All that were ever in use, first to last."""

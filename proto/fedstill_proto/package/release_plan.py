"""The release plan of a fleet: which packages its devices may use, as its keys sign it.

    {"format": 1, "version": 7, "candidate": {...}, "withdrawn": [3], "rounds_off": false, "paused": false}

The plan is a target of the fleet's repository, and small: a device reads it whenever it looks for news. A
candidate is a package for some of the devices. Each finds out by its own key whether it is one of them, so
that nobody has to be told, and a larger share of the same candidate always contains the smaller one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from fedstill_proto.checks import MAX_UINT32, check_integer, check_name, check_number
from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.generation import FIRST_GENERATION, check_generation

FORMAT = 1
RELEASE_PLAN_TARGET = "release-plan.json"
"""The plan in a fleet's repository."""
PLAN_LIMIT_BYTES = 64 << 10
MOST_WITHDRAWN = 4096


def candidate_path(family: str) -> str:
    """Where the repository offers the manifest of a family's candidate; the stable one is under students/."""
    check_name("family", family)
    return f"candidates/{family}.json"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A release on its way to all devices.

    Attributes:
        package_version: Of its packages.
        share: Of the devices that may use it, 0 to 1.
        salt: Makes the choice of devices that of this release; the share may grow while it stays.
        generation: Of the fleet's configuration that its packages belong to.
    """

    package_version: int
    share: float
    salt: str
    generation: int = FIRST_GENERATION

    def __post_init__(self) -> None:
        check_integer("package_version", self.package_version, 1, MAX_UINT32)
        check_number("share", self.share, 0, 1)
        check_name("salt", self.salt)
        check_generation(self.generation)

    def takes(self, public_key: str) -> bool:
        """Whether the device with this key, as OpenSSH writes it, is among those that may use it."""
        key = " ".join(public_key.split()[:2])  # without the comment, which people change
        digest = hashlib.sha256(f"{self.salt} {key}".encode()).digest()
        return int.from_bytes(digest[:8], "big") < self.share * 2**64


@dataclass(frozen=True, kw_only=True)
class ReleasePlan:
    """What devices may use, and whether they take part.

    Attributes:
        version: Grows with each change; a device never goes back.
        candidate: The release that is on its way; None where all devices use the stable packages.
        withdrawn: Package versions that no device may go on answering from, in growing order.
        rounds_off: The kill switch: no device takes part in a round.
        paused: Whether the candidate's share stays as it is; devices need not know, people want to.
    """

    version: int
    candidate: Candidate | None = None
    withdrawn: tuple[int, ...] = ()
    rounds_off: bool = False
    paused: bool = False

    def __post_init__(self) -> None:
        check_integer("version", self.version, 1, MAX_UINT32)
        for number in self.withdrawn:
            check_integer("withdrawn", number, 1, MAX_UINT32)
        if list(self.withdrawn) != sorted(set(self.withdrawn)) or len(self.withdrawn) > MOST_WITHDRAWN:
            raise InvalidValue("withdrawn", f"not up to {MOST_WITHDRAWN} versions in growing order")
        for name in ("rounds_off", "paused"):
            if type(getattr(self, name)) is not bool:
                raise InvalidValue(name, f"{getattr(self, name)!r} is neither true nor false")
        if self.candidate is not None and self.candidate.package_version in self.withdrawn:
            raise InvalidValue("candidate", f"package {self.candidate.package_version} is withdrawn")

    def takes(self, public_key: str) -> bool:
        """Whether the device with this key uses the candidate."""
        return self.candidate is not None and self.candidate.takes(public_key)

    def to_bytes(self) -> bytes:
        """The plan as JSON."""
        return (json.dumps({"format": FORMAT, **asdict(self)}, sort_keys=True) + "\n").encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> ReleasePlan:
        """Read `to_bytes`; raises WireError for anything else."""
        if len(content) > PLAN_LIMIT_BYTES:
            raise WireError(RELEASE_PLAN_TARGET, f"{len(content)} bytes, more than {PLAN_LIMIT_BYTES}")
        try:
            document = json.loads(content.decode("utf-8"))
            if not isinstance(document, Mapping) or document.get("format") != FORMAT:
                raise WireError(RELEASE_PLAN_TARGET, f"not a plan of format {FORMAT}")
            fields = {name: value for name, value in document.items() if name != "format"}
            candidate = fields.pop("candidate")
            return cls(
                **{**fields, "withdrawn": tuple(fields["withdrawn"])},
                candidate=None if candidate is None else Candidate(**candidate),
            )
        except InvalidValue as error:
            raise WireError(error.field, error.problem) from None
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise WireError(RELEASE_PLAN_TARGET, f"cannot be read: {str(error)[:100]}") from None

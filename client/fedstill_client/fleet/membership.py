"""Which fleet a device belongs to: its home's fleet.json, written when it has enrolled."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from fedstill_proto.checks import check_name
from fedstill_proto.errors import FedstillError
from fedstill_proto.system.enrolment import check_address
from fedstill_proto.system.files import replace_file

from fedstill_client.home import AgentHome


class MembershipError(FedstillError):
    """The device is in no fleet, or cannot join one."""


@dataclass(frozen=True, kw_only=True)
class Membership:
    """The fleet, as the device knows it."""

    run: str  # 8 hex digits
    address: str  # host:port
    repository: str  # https://..., or an absolute folder

    def __post_init__(self) -> None:
        check_name("run", self.run)
        check_address("address", self.address)

    @classmethod
    def read(cls, home: AgentHome) -> Membership:
        """Read it from a home; raises MembershipError for a device that has not enrolled."""
        try:
            fields = json.loads(home.fleet.read_bytes())
            return cls(**fields)
        except FileNotFoundError:
            raise MembershipError(
                f"{home.folder}: this device is in no fleet; run: fedstill-agent enrol FILE --name NAME "
                f"--home {home.folder}"
            ) from None
        except (OSError, ValueError, TypeError) as error:
            raise MembershipError(f"{home.fleet}: cannot be used: {error}") from None

    def write(self, home: AgentHome) -> None:
        """Write it into a home."""
        replace_file(home.fleet, (json.dumps(asdict(self), indent=1) + "\n").encode())


def authority_file(home: AgentHome) -> Path:
    """The certificate authority of the fleet's server."""
    return home.trust / "ca.pem"


def device_key(home: AgentHome) -> Path:
    """The device's private key; its public one is beside it, with .pub."""
    return home.device_key

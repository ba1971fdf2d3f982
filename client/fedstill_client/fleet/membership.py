"""Which fleet a device belongs to: its home's fleet.json, written when it has enrolled."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from fedstill_proto.checks import check_name
from fedstill_proto.errors import FedstillError
from fedstill_proto.system.enrolment import check_address

from fedstill_client.home import AgentHome


class FleetError(FedstillError):
    """A device that is in no fleet, or cannot join one."""


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
        """Raises FleetError for a device that has not enrolled."""
        try:
            fields = json.loads(home.fleet.read_text(encoding="utf-8"))
            return cls(**fields)
        except FileNotFoundError:
            raise FleetError(
                f"{home.folder}: this device is in no fleet; run: fedstill-agent enrol FILE --name NAME "
                f"--home {home.folder}"
            ) from None
        except (OSError, ValueError, TypeError) as error:
            raise FleetError(f"{home.fleet}: cannot be used: {error}") from None

    def write(self, home: AgentHome) -> None:
        write_whole(home.fleet, (json.dumps(asdict(self), indent=1) + "\n").encode())


def authority_file(home: AgentHome) -> Path:
    """The certificate authority of the fleet's server."""
    return home.trust / "ca.pem"


def device_key(home: AgentHome) -> Path:
    """The device's private key; its public one is beside it, with .pub."""
    return home.keys / "device"


def write_whole(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Replace `path`: after a power cut it holds the old bytes or the new ones."""
    partial = path.with_name(path.name + ".partial")
    with os.fdopen(os.open(partial, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)

"""A relay's folder: that of a fleet, without a run of its own, and what it knows of the server above.

keys/relay.pem, relay.pub   the relay's key, by which the server above knows it
certificates/above.json     the enrolment that the operator of the server above wrote
node                        the node that the relay is to the server above, or was last
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from fedstill_proto.checks import device_name
from fedstill_proto.system.enrolment import Enrolment
from fedstill_proto.system.files import SHARED, replace_file
from fedstill_proto.system.flower_node import NodeAccess

from fedstill_server.fleet.certificates import authority_file, create_authority, renew_server_certificate
from fedstill_server.fleet.errors import FleetError
from fedstill_server.fleet.folder import REPOSITORY_PATH, FleetFolder, FleetSettings
from fedstill_server.relay.letters import LETTERS_LIMIT_BYTES


class RelayFolder:
    """The folder of a relay; `open` checks that it is one."""

    def __init__(self, fleet: FleetFolder) -> None:
        self.fleet = fleet

    @classmethod
    def create(cls, folder: Path, settings: FleetSettings, above: Enrolment, *, name: str) -> RelayFolder:
        """Make a relay: its folder, its certificate authority, and its key.

        Args:
            folder: The folder, which is made.
            settings: How its devices reach it.
            above: The enrolment of the server above, or of a relay.
            name: The relay's name there.

        Raises:
            FleetError: There is a fleet or relay already, or its devices could not fetch packages.
            InvalidValue: The name is none.
        """
        name = device_name("name", name)
        if "/" in name:
            raise FleetError(f"name: {name!r}: a relay's name holds no slash.")
        if not settings.proxy and not above.repository.startswith("/"):
            raise FleetError(
                f"--without-proxy: devices would have to fetch packages from {above.repository}, and do not "
                "know that server; leave it out, and the relay's nginx hands packages on."
            )
        fleet = FleetFolder.create(folder, settings, run=above.run)
        create_authority(fleet)
        renew_server_certificate(fleet)
        key = ec.generate_private_key(ec.SECP384R1())
        private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        made = cls(fleet)
        fleet.digests.write(made._key, private)
        fleet.digests.write(made.public_key, public + f" {name}\n".encode(), mode=SHARED)
        fleet.digests.write(made._above, above.to_json().encode(), mode=SHARED)
        return made

    @classmethod
    def open(cls, folder: Path) -> RelayFolder:
        """Open a relay's folder; raises FleetError where it is none."""
        opened = cls(FleetFolder.open(folder))
        _ = opened.above
        return opened

    @classmethod
    def is_at(cls, folder: Path) -> bool:
        """Whether the folder is a relay's."""
        return cls(FleetFolder(folder))._above.exists()

    @property
    def above(self) -> Enrolment:
        """The server above, as its operator has written it down."""
        try:
            return Enrolment.from_json(self._above.read_text())
        except FileNotFoundError:
            raise FleetError(
                f"{self.fleet.folder}: a fleet, and no relay; make one with: fedstill-server init-relay"
            ) from None

    @property
    def public_key(self) -> Path:
        """What the operator of the server above registers."""
        return self.fleet.keys / "relay.pub"

    @property
    def access(self) -> NodeAccess:
        """Where the relay connects, and as whom."""
        above = self.above
        return NodeAccess(
            address=above.address,
            authority=above.certificate_authority.encode(),
            key=self._key.read_bytes(),
            message_limit_bytes=LETTERS_LIMIT_BYTES,
        )

    def enrolment(self) -> Enrolment:
        """What the relay's devices join with: the fleet's run and packages, at the relay's address."""
        above, settings = self.above, self.fleet.settings
        served = f"https://{settings.address}{REPOSITORY_PATH}" if settings.proxy else above.repository
        return Enrolment(
            run=above.run,
            address=settings.address,
            repository=served,
            families=above.families,
            certificate_authority=authority_file(self.fleet).read_text(),
            package_root=above.package_root,
        )

    def repository_location(self) -> str:
        """What nginx does with requests for packages: hands them on, and keeps answers for some seconds."""
        above = self.above
        if above.repository.startswith("/"):
            return f"      alias {Path(above.repository)}/;\n"
        host = urlsplit(above.repository).hostname or ""
        file = self.fleet.folder.resolve() / "nginx" / "above.pem"
        # nginx does not match addresses; a fleet's certificate is good for localhost, too.
        name = "localhost" if host.replace(".", "").isdigit() or ":" in host else host
        return _HANDED_ON.format(repository=above.repository.rstrip("/"), authority=file, name=name)

    def write_authority(self) -> None:
        """Write the certificate authority of the server above where nginx reads it."""
        file = self.fleet.folder / "nginx" / "above.pem"
        file.parent.mkdir(exist_ok=True, mode=0o700)
        replace_file(file, self.above.certificate_authority.encode(), mode=SHARED)

    def node(self) -> int | None:
        """The node that the relay was last; None before its first start."""
        try:
            return int(self._node.read_text())
        except (OSError, ValueError):
            return None

    def write_node(self, node: int) -> None:
        """Keep the node that the relay is now."""
        replace_file(self._node, f"{node}\n".encode())

    @property
    def _key(self) -> Path:
        return self.fleet.keys / "relay.pem"

    @property
    def _above(self) -> Path:
        return self.fleet.certificates / "above.json"

    @property
    def _node(self) -> Path:
        return self.fleet.folder / "node"


_HANDED_ON = """\
      proxy_pass {repository}/;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_ssl_trusted_certificate {authority};
      proxy_ssl_verify on;
      proxy_ssl_name {name};
      proxy_cache repository;
      proxy_cache_valid 200 404 10s;
      proxy_cache_lock on;  # a thousand devices at once are one request to the server above
      proxy_cache_use_stale error timeout updating http_500 http_502 http_503 http_504;
"""

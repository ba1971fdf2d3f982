"""A fleet's folder, and where each thing stands in it.

fleet.json      where devices reach the fleet (FleetSettings)
config.json     what its run does ("fleet": FleetConfig), public.npz, test.npz
digests.json    digests of the keys, certificates and data; other files hold their own
server/         the run's memory (rounds/run_store.py)
keys/           private keys: of the certificate authority, the server, the packages; mode 0700
certificates/   ca.pem, server.pem
repository/     signed student packages, as devices read them
devices/        <name>.json of each registered device: its public key
revoked.json    the devices that were let in once, and are no more (devices.py)
operations.db   what is known of the devices, and what happened (operations/database.py)
audit.jsonl     what operators did (operations/audit.py)
enrolled.json   the list of them that repository/ offers, where the run sums what devices answer (enrolled.py)
schedule.json   when rounds begin (config/schedule.py); the usual schedule where it is not there
rounds.json     whether a round runs, or what the next one waits for (rounds/rounds_status.py)
nodes.json      the Flower node of each, and when it last came up (nodes.py)
superlink.db    Flower's messages on their way
alarms.json     which alarms are raised, and since when (console/alarms.py)
reply-limit     the most bytes of a reply; each run writes it, for the SuperLink (reply_limit.py)
flower/         Flower's own files
nginx/          the reverse proxy's configuration
logs/           the output of each process
"""

from __future__ import annotations

import fcntl
import ipaddress
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from fedstill_proto.system.enrolment import check_address, read_host
from fedstill_proto.system.folder_digests import DIGESTS_FILE, FolderDigests
from fedstill_proto.system.sealed import read_sealed_json, write_sealed_json

from fedstill_server.config.schedule import SCHEDULE_FILE
from fedstill_server.fleet.errors import FleetError
from fedstill_server.rounds.rounds_status import STATUS_FILE

REPOSITORY_PATH = "/repository"
"""Under which devices find the signed packages at the fleet's address."""


@dataclass(frozen=True, kw_only=True)
class FleetSettings:
    """How the fleet is reached; ports are TCP.

    Attributes:
        host: The name or address by which devices reach the server.
        port: The proxy's.
        superlink_port: That of Flower's SuperLink, on loopback; never open it to a network.
        proxy: Whether nginx is in front; without it, only devices of this machine reach the SuperLink.
    """

    host: str
    port: int
    superlink_port: int
    proxy: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "host", read_host("host", self.host))
        check_address("host", self.address)
        for name in ("port", "superlink_port"):
            value = getattr(self, name)
            if type(value) is not int or not 0 < value < 1 << 16:
                raise FleetError(f"{name}: {value!r} is not a port from 1 to 65535.")
        if self.proxy and self.port == self.superlink_port:
            raise FleetError(f"superlink_port: {self.port} is the proxy's port; choose another.")
        if not self.proxy and not self.is_loopback:
            raise FleetError(
                f"host: {self.host!r}: without the proxy everybody who reaches the server may control it; "
                "use 127.0.0.1 to try a fleet out on this machine, or the proxy."
            )

    @property
    def address(self) -> str:
        """host:port for devices."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port if self.proxy else self.superlink_port}"

    @property
    def is_loopback(self) -> bool:
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


@dataclass(frozen=True)
class FleetFolder:
    """The folder of a fleet, and the paths in it; `open` checks that it is one."""

    folder: Path

    @classmethod
    def create(cls, folder: Path, settings: FleetSettings, *, run: str = "") -> FleetFolder:
        """Make a folder that only its operator's user can read.

        Args:
            folder: The folder.
            settings: How the fleet is reached.
            run: The run's name; empty draws one, which a relay does not: it is the one of the server above.

        Raises:
            FleetError: There is a fleet already.
        """
        created = cls(folder)
        if created._settings_file.exists():
            raise FleetError(f"{folder}: there is a fleet already.")
        for path in (created.keys, created.certificates, created.devices, created.logs):
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
        # The name that the run's rounds go by, on every device and for ever.
        write_sealed_json(created._settings_file, {**asdict(settings), "run": run or secrets.token_hex(4)})
        return created

    @classmethod
    def open(cls, folder: Path) -> FleetFolder:
        """Open a fleet's folder; raises FleetError where it is none."""
        opened = cls(folder)
        _ = opened.settings, opened.run
        return opened

    @classmethod
    def is_at(cls, folder: Path) -> bool:
        """Whether the folder is a real fleet's; a simulated one has no fleet.json."""
        return cls(folder)._settings_file.exists()

    @property
    def settings(self) -> FleetSettings:
        """How the fleet is reached; raises FleetError where its file is damaged."""
        document = self._document()
        names = {field.name for field in fields(FleetSettings)}
        try:
            return FleetSettings(**{name: document[name] for name in names})
        except KeyError as missing:
            raise FleetError(f"{self._settings_file}: no field {missing}.") from None

    @property
    def run(self) -> str:
        """The run's name, 8 hex digits."""
        return str(self._document().get("run"))

    @property
    def keys(self) -> Path:
        return self.folder / "keys"

    @property
    def certificates(self) -> Path:
        return self.folder / "certificates"

    @property
    def devices(self) -> Path:
        return self.folder / "devices"

    @property
    def nodes(self) -> Path:
        return self.folder / "nodes.json"

    @property
    def digests(self) -> FolderDigests:
        """The digests of keys, certificates and data, which do not hold their own."""
        return FolderDigests(self.folder)

    def digested_files(self) -> list[Path]:
        """The files of the folder that do not hold their own digest, and that nothing else vouches for."""
        keys = (path for folder in (self.keys, self.certificates) for path in folder.rglob("*"))
        data = (path for path in self.folder.iterdir() if path.suffix in (".npz", ".txt", ".json"))
        own = {"fleet.json", "config.json", "nodes.json", "revoked.json", "alarms.json"}
        own |= {SCHEDULE_FILE, STATUS_FILE, DIGESTS_FILE}
        found = {path for path in (*keys, *data) if path.is_file() and path.name not in own}
        return sorted(path for path in found if not path.name.startswith("."))

    @property
    def repository(self) -> Path:
        return self.folder / "repository"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def _settings_file(self) -> Path:
        return self.folder / "fleet.json"

    @contextmanager
    def held(self) -> Iterator[None]:
        """A context in which no other process serves the fleet; raises FleetError where one does."""
        with (self.keys / ".up.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise FleetError(f"{self.folder}: this fleet is up already.") from None
            yield

    def _document(self) -> dict[str, Any]:
        try:
            document = read_sealed_json(self._settings_file)
        except FileNotFoundError:
            raise FleetError(
                f"{self.folder}: no fleet here (no fleet.json); run: fedstill-server init {self.folder}"
            ) from None
        if not isinstance(document, dict):
            raise FleetError(f"{self._settings_file}: not a JSON object.")
        return document

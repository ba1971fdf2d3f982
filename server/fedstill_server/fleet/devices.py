"""Registered devices: whose keys the fleet knows, under which name, and whose it knows no more."""

from __future__ import annotations

import base64
import functools
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
    load_ssh_public_key,
)
from fedstill_proto.checks import check_integer, device_name
from fedstill_proto.errors import InvalidValue
from fedstill_proto.system.sealed import read_sealed_json, write_sealed_json

from fedstill_server.fleet.errors import FleetError

_KEY_LIMIT_BYTES = 4096
_MOST_REMEMBERED = 1 << 17
MOST_RELAY_DEVICES = 1_000_000


@dataclass(frozen=True)
class RegisteredDevice:
    """A device, or a relay, which brings devices of its own.

    Attributes:
        name: Its name.
        public_key: Its public key as OpenSSH writes it.
        registered_at: When it was registered, in seconds since 1970; 0 where an earlier release did.
        relay_devices: How many devices it may bring; 0 where it is no relay.
    """

    name: str
    public_key: str
    registered_at: float = 0.0
    relay_devices: int = 0

    def __post_init__(self) -> None:
        check_integer("relay_devices", self.relay_devices, 0, MOST_RELAY_DEVICES)
        if self.relay_devices and "/" in self.name:
            raise InvalidValue("name", f"{self.name!r}: a relay's name holds no slash")

    @property
    def fingerprint(self) -> str:
        """The fingerprint as `ssh-keygen -l` shows it."""
        return _fingerprint(self.public_key)

    @property
    def key_bytes(self) -> bytes:
        """The key as Flower has it: PEM."""
        return _pem(self.public_key)


@dataclass(frozen=True, kw_only=True)
class RevokedDevice:
    """A device that its operator took back: its name and key, when, in seconds since 1970, and why."""

    name: str
    public_key: str
    revoked_at: float
    reason: str = ""

    @property
    def fingerprint(self) -> str:
        """The fingerprint as `ssh-keygen -l` shows it."""
        return _fingerprint(self.public_key)

    @property
    def key_bytes(self) -> bytes:
        """The key as Flower has it: PEM."""
        return _pem(self.public_key)


class DeviceRegister:
    """The folder devices/, one JSON file a device, and revoked.json beside it."""

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.folder, self._clock = folder, clock
        self._revoked_file = folder.parent / "revoked.json"

    def add(
        self, key_file: Path, name: str | None = None, *, again: bool = False, relay_devices: int = 0
    ) -> RegisteredDevice:
        """Register a device, or a relay.

        Args:
            key_file: Its public key.
            name: Its name; None takes the comment of the key.
            again: Whether a key may come back that was revoked.
            relay_devices: How many devices it may bring; 0 where it is no relay.

        Raises:
            FleetError: The key is none, the name or key is taken, or the key was revoked.
            InvalidValue: The name is none.
        """
        public_key, comment = _read_key(key_file)
        device = RegisteredDevice(
            device_name("name", name or comment), public_key, round(self._clock(), 3), relay_devices
        )
        for other in self.all():
            if other.name == device.name and other.public_key != public_key:
                raise FleetError(
                    f"{device.name}: another key is registered by this name ({other.fingerprint}); remove it "
                    f"first: fedstill-server unregister {self.folder.parent} {device.name}"
                )
            if other.public_key == public_key and other.name != device.name:
                raise FleetError(f"{key_file}: this key is registered already, as {other.name!r}.")
            if other.public_key == public_key and other.relay_devices == relay_devices:
                return other
        self._allow(key_file, public_key, again=again)
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_sealed_json(self._file(device.name), vars(device))
        return device

    def remove(self, name: str, *, reason: str = "") -> RevokedDevice:
        """Take a device's registration back; raises FleetError where there is none of this name."""
        for device in self.all():
            if device.name == name:
                revoked = RevokedDevice(
                    name=name,
                    public_key=device.public_key,
                    revoked_at=round(self._clock(), 3),
                    reason=reason,
                )
                others = [one for one in self.revoked() if one.public_key != device.public_key]
                write_sealed_json(self._revoked_file, [vars(one) for one in (*others, revoked)])
                self._file(name).unlink()
                return revoked
        registered = ", ".join(device.name for device in self.all()) or "none"
        raise FleetError(f"{name!r}: no such device; registered are: {registered}.")

    def all(self) -> list[RegisteredDevice]:
        """All devices, by name."""
        devices = []
        for path in sorted(self.folder.glob("*.json")):
            try:
                state = path.stat()
                devices.append(_read_device(path, state.st_mtime_ns, state.st_ino))
            except (OSError, TypeError) as error:
                raise FleetError(f"{path}: cannot be read: {error}") from None
        return sorted(devices, key=lambda device: device.name)

    def revoked(self) -> list[RevokedDevice]:
        """The devices that were taken back, first to last."""
        try:
            return [RevokedDevice(**one) for one in read_sealed_json(self._revoked_file)]
        except FileNotFoundError:
            return []
        except TypeError as error:
            raise FleetError(f"{self._revoked_file}: cannot be read: {error}") from None

    def changed_at(self) -> tuple[int, int]:
        """A pair of numbers that differs after each change of either list."""
        found = []
        for path in (self.folder, self._revoked_file):
            try:
                found.append(path.stat().st_mtime_ns)
            except FileNotFoundError:
                found.append(0)
        return found[0], found[1]

    def _allow(self, key_file: Path, public_key: str, *, again: bool) -> None:
        """Let a revoked key come back only where that is asked for."""
        revoked = self.revoked()
        before = next((one for one in revoked if one.public_key == public_key), None)
        if before is None:
            return
        if not again:
            when = f"{datetime.fromtimestamp(before.revoked_at, UTC):%Y-%m-%d}"
            why = f" ({before.reason})" if before.reason else ""
            raise FleetError(
                f"{key_file}: this key was revoked on {when}, as {before.name!r}{why}; to let it in all the "
                "same: --again"
            )
        write_sealed_json(self._revoked_file, [vars(one) for one in revoked if one is not before])

    def _file(self, name: str) -> Path:
        # A name may hold what a file's may not.
        return self.folder / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.json"


@functools.lru_cache(_MOST_REMEMBERED)
def _read_device(path: Path, written_ns: int, file: int) -> RegisteredDevice:
    """The device of a file, which is read again where it was written anew: up looks every two seconds."""
    again = "register the device again: fedstill-server register"
    return RegisteredDevice(**read_sealed_json(path, remedy=again))


def _fingerprint(public_key: str) -> str:
    digest = hashlib.sha256(base64.b64decode(public_key.split()[1])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


@functools.lru_cache(_MOST_REMEMBERED)
def _pem(public_key: str) -> bytes:
    key = load_ssh_public_key(public_key.encode())
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _read_key(path: Path) -> tuple[str, str]:
    """The key "ecdsa-sha2-nistp384 AAAA..." of a .pub file, and its comment."""
    try:
        content = path.read_bytes()[: _KEY_LIMIT_BYTES + 1]
    except OSError as error:
        raise FleetError(f"{path}: cannot be read: {error.strerror}.") from None
    try:
        text = content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig").strip()
        key = (load_pem_public_key if text.startswith("-----") else load_ssh_public_key)(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp384r1":
        raise FleetError(
            f"{path}: not a public key of the curve P-384; take the .pub file of fedstill-agent enrol."
        )
    parts = [] if text.startswith("-----") else text.split(None, 2)
    if len(parts) == 3 and "\n" in parts[2]:
        raise FleetError(f"{path}: more than one line; give the file of one device's key.")
    public_key = key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return public_key, parts[2] if len(parts) == 3 else ""

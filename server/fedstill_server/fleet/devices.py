"""Registered devices: whose keys the fleet knows, and under which name."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
    load_ssh_public_key,
)
from fedstill_proto.checks import device_name
from fedstill_proto.system.sealed import read_sealed_json, write_sealed_json

from fedstill_server.fleet.errors import FleetError

_KEY_LIMIT_BYTES = 4096


@dataclass(frozen=True)
class RegisteredDevice:
    """A device's name, and its public key as OpenSSH writes it."""

    name: str
    public_key: str

    @property
    def fingerprint(self) -> str:
        """The fingerprint as `ssh-keygen -l` shows it."""
        digest = hashlib.sha256(base64.b64decode(self.public_key.split()[1])).digest()
        return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")

    @property
    def key_bytes(self) -> bytes:
        """The key as Flower has it: PEM."""
        key = load_ssh_public_key(self.public_key.encode())
        return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


class DeviceRegister:
    """The folder devices/: one JSON file a device."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, key_file: Path, name: str | None = None) -> RegisteredDevice:
        """Register a device.

        Args:
            key_file: Its public key.
            name: Its name; None takes the comment of the key.

        Raises:
            FleetError: The key is none, or the name or key is taken.
            InvalidValue: The name is none.
        """
        public_key, comment = _read_key(key_file)
        device = RegisteredDevice(device_name("name", name or comment), public_key)
        for other in self.all():
            if other.name == device.name and other.public_key != public_key:
                raise FleetError(
                    f"{device.name}: another key is registered by this name ({other.fingerprint}); remove it "
                    f"first: fedstill-server unregister {self.folder.parent} {device.name}"
                )
            if other.public_key == public_key and other.name != device.name:
                raise FleetError(f"{key_file}: this key is registered already, as {other.name!r}.")
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_sealed_json(self._file(device.name), vars(device))
        return device

    def remove(self, name: str) -> RegisteredDevice:
        """Remove a device; raises FleetError where there is none of this name."""
        for device in self.all():
            if device.name == name:
                self._file(name).unlink()
                return device
        registered = ", ".join(device.name for device in self.all()) or "none"
        raise FleetError(f"{name!r}: no such device; registered are: {registered}.")

    def all(self) -> list[RegisteredDevice]:
        """All devices, by name."""
        devices = []
        for path in sorted(self.folder.glob("*.json")):
            try:
                again = "register the device again: fedstill-server register"
                devices.append(RegisteredDevice(**read_sealed_json(path, remedy=again)))
            except (OSError, TypeError) as error:
                raise FleetError(f"{path}: cannot be read: {error}") from None
        return sorted(devices, key=lambda device: device.name)

    def _file(self, name: str) -> Path:
        # A name may hold what a file's may not.
        return self.folder / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.json"


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

"""The signed list of a fleet's devices: whose keys a sum may be with.

    {"format": 1, "version": 7, "devices": [["kitchen", "ecdsa-sha2-nistp384 AAAA..."], ...]}

The operator registers a device's key once (ECDSA, P-384), and the fleet's repository offers the list of all
as a target that is signed as packages are. Devices believe nobody else about who is a device: a server that
makes up devices, or says that a key is another device's, is refused. A device's place is that in the list.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from fedstill_proto.checks import MAX_UINT32, check_integer
from fedstill_proto.errors import InvalidValue, WireError
from fedstill_proto.secure_sums.graph import MOST_MEMBERS
from fedstill_proto.secure_sums.sizes import SIGNATURE_BYTES

FORMAT = 1
ENROLLED_TARGET = "devices/enrolled.json"
"""The list in a fleet's repository."""
LIST_LIMIT_BYTES = 32 << 20
_NUMBER_BYTES = 48
_NAME_LIMIT, _KEY_LIMIT = 128, 400


@dataclass(frozen=True)
class EnrolledDevice:
    """A device's name, and its public key as OpenSSH writes it, without a comment."""

    name: str
    public_key: str

    def __post_init__(self) -> None:
        if not (
            isinstance(self.name, str) and 1 <= len(self.name) <= _NAME_LIMIT and self.name.isprintable()
        ):
            raise InvalidValue(
                "devices", f"{self.name!r} is no printable name of 1 to {_NAME_LIMIT} characters"
            )
        if not isinstance(self.public_key, str) or len(self.public_key) > _KEY_LIMIT:
            raise InvalidValue("devices", f"{self.name}: no public key")


@dataclass(frozen=True)
class EnrolledDevices:
    """The list, which is sorted by name.

    Attributes:
        version: Grows with each publication.
        devices: The devices; no name and no key is there twice.
    """

    version: int
    devices: tuple[EnrolledDevice, ...]

    def __post_init__(self) -> None:
        check_integer("version", self.version, 0, MAX_UINT32)
        names = [device.name for device in self.devices]
        if names != sorted(set(names)):
            raise InvalidValue("devices", "not sorted by name, or a name is there twice")
        if len({device.public_key for device in self.devices}) != len(names):
            raise InvalidValue("devices", "two devices have one key")
        if len(names) > MOST_MEMBERS:
            raise InvalidValue("devices", f"{len(names)} of them, more than {MOST_MEMBERS}")

    @classmethod
    def of(cls, devices: Sequence[EnrolledDevice], *, version: int) -> EnrolledDevices:
        """The list of these devices, in any order."""
        return cls(version, tuple(sorted(devices, key=lambda device: device.name)))

    @functools.cached_property
    def digest(self) -> bytes:
        """SHA-256 of the list's bytes."""
        return hashlib.sha256(self.to_bytes()).digest()

    def place_of(self, public_key: str) -> int | None:
        """The place of the device with this key; None where it is not in the list."""
        return self._places.get(public_key)

    @functools.cached_property
    def _places(self) -> dict[str, int]:
        return {device.public_key: place for place, device in enumerate(self.devices)}

    def to_bytes(self) -> bytes:
        """The list as JSON."""
        devices = [[device.name, device.public_key] for device in self.devices]
        document = {"format": FORMAT, "version": self.version, "devices": devices}
        return (json.dumps(document, separators=(",", ":")) + "\n").encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> EnrolledDevices:
        """Read `to_bytes`; raises WireError for anything else."""
        try:
            document = json.loads(content.decode("utf-8"))
            if set(document) != {"format", "version", "devices"} or document["format"] != FORMAT:
                raise WireError("enrolled devices", f"not a list of format {FORMAT}")
            return cls(document["version"], tuple(EnrolledDevice(*each) for each in document["devices"]))
        except InvalidValue as error:
            raise WireError(error.field, error.problem) from None
        except (ValueError, TypeError, RecursionError) as error:
            raise WireError("enrolled devices", f"cannot be read: {str(error)[:100]}") from None


def sign(key: ec.EllipticCurvePrivateKey, statement: bytes) -> bytes:
    """A device's signature of a statement: r and s, 48 bytes each."""
    r, s = decode_dss_signature(key.sign(statement, ec.ECDSA(SHA384())))
    return r.to_bytes(_NUMBER_BYTES, "big") + s.to_bytes(_NUMBER_BYTES, "big")


@functools.lru_cache(maxsize=1 << 16)
def is_signed(public_key: str, signature: bytes, statement: bytes) -> bool:
    """Whether the device of this key has signed the statement.

    What was found is kept: a simulator asks the same for each of a device's neighbours.
    """
    key = _loaded(public_key)
    if key is None or len(signature) != SIGNATURE_BYTES:
        return False
    r, s = (int.from_bytes(half, "big") for half in (signature[:_NUMBER_BYTES], signature[_NUMBER_BYTES:]))
    try:
        key.verify(encode_dss_signature(r, s), statement, ec.ECDSA(SHA384()))
    except InvalidSignature:
        return False
    return True


@functools.lru_cache(maxsize=1 << 13)
def _loaded(public_key: str) -> ec.EllipticCurvePublicKey | None:
    try:
        key = load_ssh_public_key(public_key.encode())
    except (ValueError, UnsupportedAlgorithm):
        return None
    is_p384 = isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == "secp384r1"
    return key if is_p384 and isinstance(key, ec.EllipticCurvePublicKey) else None

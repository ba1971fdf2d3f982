"""What an operator hands to a person who enrols a device: where the fleet is, and whom to trust there.

It holds no secret, but a device believes it: hand it over as you would a password's fingerprint.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from fedstill_proto.checks import check_name
from fedstill_proto.errors import FedstillError, FieldError

FORMAT = 1
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?", re.ASCII)
SIZE_LIMIT_BYTES = 1 << 20
_FIELDS = {"format", "run", "address", "repository", "families", "certificate_authority", "package_root"}


class EnrolmentError(FedstillError):
    """A text that is no enrolment of a fleet."""


@dataclass(frozen=True, kw_only=True)
class Enrolment:
    """A fleet, as a device needs to know it.

    Attributes:
        run: The run's name, 8 hex digits.
        address: host:port of the fleet's routes, over TLS.
        repository: Where the signed student packages are: https://..., or an absolute folder.
        families: The student families that a device may choose from.
        certificate_authority: PEM of the certificate that signs the server's.
        package_root: TUF root metadata (JSON): the keys that sign packages.
    """

    run: str
    address: str
    repository: str
    families: tuple[str, ...]
    certificate_authority: str
    package_root: str

    def __post_init__(self) -> None:
        check_name("run", self.run)
        check_address("address", self.address)
        if urlsplit(self.repository).scheme != "https" and not self.repository.startswith("/"):
            raise EnrolmentError(f"repository: {self.repository!r} is no https:// address and no folder.")
        if not self.families:
            raise EnrolmentError("families: there are none; the fleet has published no student yet.")
        for family in self.families:
            check_name("families", family)
        if "-----BEGIN CERTIFICATE-----" not in self.certificate_authority:
            raise EnrolmentError("certificate_authority: not a certificate as PEM.")
        if not self.package_root.lstrip().startswith("{"):
            raise EnrolmentError("package_root: not root metadata as JSON.")

    def to_json(self) -> str:
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Enrolment:
        """Read `to_json`, also as an editor saved it: with a byte order mark, or as UTF-16.

        Raises:
            EnrolmentError: It is no enrolment; the text names the field.
        """
        try:
            fields = json.loads(text)
        except UnicodeDecodeError:
            raise EnrolmentError("no enrolment, it is not even text.") from None
        except (ValueError, RecursionError) as error:
            raise EnrolmentError(f"not JSON: {error}.") from None
        if not isinstance(fields, dict) or fields.keys() != _FIELDS:
            raise EnrolmentError(f"it must hold the fields {', '.join(sorted(_FIELDS))}, and no other.")
        if fields.pop("format") != FORMAT:
            raise EnrolmentError(f"format: this version of fedstill reads format {FORMAT} only; update it.")
        families = fields.pop("families")
        if not isinstance(families, list) or not all(isinstance(family, str) for family in families):
            raise EnrolmentError("families: not a list of names.")
        for name, value in fields.items():
            if not isinstance(value, str):
                raise EnrolmentError(f"{name}: {value!r} is not a text.")
        try:
            return cls(families=tuple(families), **fields)
        except FieldError as error:
            raise EnrolmentError(str(error)) from None


def read_host(field: str, text: str) -> str:
    """Return the name or address that a person gave for a server, an IPv6 address without its brackets.

    Args:
        field: Where it was given, for the error.
        text: Such as fleet.example.org, 192.168.1.20 or [::1].

    Raises:
        EnrolmentError: No device could reach a server by it; the text says what to give instead.
    """

    def refused(problem: str) -> EnrolmentError:
        return EnrolmentError(f"{field}: {text[:80]!r} {problem}.")

    host = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if "://" in text or "/" in text:
        raise refused("is an address of the web; give the name alone, such as fleet.example.org")
    if re.fullmatch(r"[^:\[\]]+:\d+|\[[^\]]*\]:\d+", text):
        raise refused("has a port; give the name here, and the port with --port")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return _read_name(host, refused)
    if address.is_unspecified or address.is_multicast or getattr(address, "scope_id", None):
        raise refused("is no address that a device can reach; give that of this server in its network")
    return str(address)


def _read_name(host: str, refused: Callable[[str], EnrolmentError]) -> str:
    """A name in the DNS: labels of letters, digits, '-' and '_', the last one no number."""
    if not host.isascii():
        try:
            raise refused(f"is not written in ASCII; give {host.encode('idna').decode()}")
        except UnicodeError:
            raise refused("is no name of a server") from None
    labels = host.split(".")
    if ":" in host or labels[-1].isdecimal():
        raise refused("is no address: of IPv4 it has four numbers from 0 to 255, of IPv6 hexadecimal ones")
    if len(host) > 253 or not all(map(_LABEL.fullmatch, labels)):
        raise refused("is no name of a server: letters, digits, '-' and '_', divided by single dots")
    return host


def read_enrolment(file: Path) -> Enrolment:
    """The enrolment that the operator wrote; raises EnrolmentError."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise EnrolmentError(f"{file}: cannot be read: {error.strerror}.") from None
    if len(content) > SIZE_LIMIT_BYTES:
        raise EnrolmentError(f"{file}: {len(content)} bytes; an enrolment has {SIZE_LIMIT_BYTES} at most.")
    try:
        return Enrolment.from_json(content)
    except EnrolmentError as error:
        raise EnrolmentError(f"{file}: {error}") from None


def check_address(field: str, address: str) -> tuple[str, int]:
    """Host and port of host:port; an IPv6 host stands in brackets. Raises EnrolmentError."""
    host, colon, port = address.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port) or not 0 < int(port) < 1 << 16:
        raise EnrolmentError(f"{field}: {address[:80]!r} is not host:port.")
    if ":" in host and not host.startswith("["):
        raise EnrolmentError(f"{field}: {address[:80]!r} is not host:port; an IPv6 host stands in brackets.")
    return read_host(field, host), int(port)

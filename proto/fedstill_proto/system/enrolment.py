"""What an operator hands to a person who enrols a device: where the fleet is, and whom to trust there.

It holds no secret, but a device believes it: hand it over as you would a password's fingerprint.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from urllib.parse import urlsplit

from fedstill_proto.checks import check_name
from fedstill_proto.errors import FedstillError, FieldError

FORMAT = 1
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]{2,45}")  # a name, or an address of either kind
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
    def from_json(cls, text: str) -> Enrolment:
        """Raises EnrolmentError, naming the field."""
        try:
            fields = json.loads(text)
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


def check_address(field: str, address: str) -> tuple[str, int]:
    """Host and port of host:port; an IPv6 host stands in brackets. Raises EnrolmentError."""
    try:
        parts = urlsplit(f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port or address != parts.netloc or "@" in address or not _HOST.fullmatch(host):
        raise EnrolmentError(f"{field}: {address!r} is not host:port.")
    return host, port

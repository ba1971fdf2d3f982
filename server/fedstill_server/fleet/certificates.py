"""The fleet's own certificate authority, and the server's certificate that it signs.

Devices trust this authority and no other, so that no public one has to know a fleet, and none can forge it.
"""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from fedstill_proto.system.files import SHARED

from fedstill_server.fleet.errors import FleetError
from fedstill_server.fleet.folder import FleetFolder

_AUTHORITY_LIFE = timedelta(days=3650)
_SERVER_LIFE = timedelta(days=397)
_RENEW_BEFORE = timedelta(days=90)
_ROUND_THE_CLOCKS = timedelta(days=1)  # a device's clock may be behind


def authority_file(fleet: FleetFolder) -> Path:
    """The certificate that devices trust."""
    return fleet.certificates / "ca.pem"


def server_files(fleet: FleetFolder) -> tuple[Path, Path]:
    """The server's certificate and its private key."""
    return fleet.certificates / "server.pem", fleet.keys / "server.pem"


def create_authority(fleet: FleetFolder) -> None:
    """A new authority, good for ten years; its key stays in the fleet's folder."""
    key, now = ec.generate_private_key(ec.SECP384R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"fedstill fleet {fleet.run}")])
    certificate = (
        _builder(name, name, key.public_key(), now, _AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA384())
    )
    _write_key(fleet, _authority_key(fleet), key)
    fleet.digests.write(authority_file(fleet), certificate.public_bytes(Encoding.PEM), mode=SHARED)


def renew_server_certificate(fleet: FleetFolder, *, now: datetime | None = None) -> bool:
    """Make a certificate for the fleet's host, if there is none or it expires in 90 days.

    Returns:
        Whether it is new.
    """
    now = now or datetime.now(UTC)
    host, (file, key_file) = fleet.settings.host, server_files(fleet)
    if file.exists() and key_file.exists() and _is_good(file, host, now):
        return False
    authority = _read_certificate(authority_file(fleet))
    signer, key = _read_key(_authority_key(fleet)), ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])])
    # Loopback is where the proxy finds the SuperLink, which shows the same certificate.
    names = {_general_name(name) for name in (host, "localhost", "127.0.0.1")}
    certificate = (
        _builder(name, authority.subject, key.public_key(), now, _SERVER_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(sorted(names, key=repr)), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .sign(signer, hashes.SHA384())
    )
    _write_key(fleet, key_file, key)
    fleet.digests.write(file, certificate.public_bytes(Encoding.PEM), mode=SHARED)
    return True


def _builder(
    name: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _ROUND_THE_CLOCKS)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _is_good(file: Path, host: str, now: datetime) -> bool:
    certificate = _read_certificate(file)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return _general_name(host) in names and now + _RENEW_BEFORE < certificate.not_valid_after_utc


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _authority_key(fleet: FleetFolder) -> Path:
    return fleet.keys / "ca.pem"


def _write_key(fleet: FleetFolder, path: Path, key: ec.EllipticCurvePrivateKey) -> None:
    fleet.digests.write(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _read_key(path: Path) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        raise FleetError(f"{path}: not a private key as PEM: {error}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise FleetError(f"{path}: not an elliptic curve's private key.")
    return key


def _read_certificate(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise FleetError(f"{path}: not a certificate as PEM: {error}") from None

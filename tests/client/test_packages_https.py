"""A repository behind a web server with TLS, as a fleet serves it."""

from __future__ import annotations

import functools
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fedstill_client.packages import PackageError, PackageSource
from fedstill_client.packages import fetchers as fetchers_module

from tests.client.package_samples import Fleet
from tests.client.samples import FAMILY


def certificate(folder: Path, name: str = "server") -> Path:
    """A certificate for 127.0.0.1 that is its own authority, with its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]), datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = folder / f"{name}.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + built.public_bytes(serialization.Encoding.PEM))
    return file


class QuietHandler(SimpleHTTPRequestHandler):
    """/moved sends elsewhere."""

    def do_GET(self) -> None:
        if self.path.startswith("/moved"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/moved"))
            self.end_headers()
        else:
            super().do_GET()

    def log_message(self, *_: object) -> None:
        """Nothing on the tests' output."""


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet.at(tmp_path)


@pytest.fixture
def address(fleet: Fleet, tmp_path: Path) -> Iterator[str]:
    handler = functools.partial(QuietHandler, directory=str(fleet.repository.folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(tmp_path))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_package_comes_over_tls(fleet: Fleet, address: str, tmp_path: Path) -> None:
    source = PackageSource.of(address, fleet.home.trust, ca=tmp_path / "server.pem")
    assert source.fetch(FAMILY).manifest.package_version == 1
    with pytest.raises(PackageError, match="no such file"):
        source.fetch("cnn")


def test_another_authority_is_not_believed(fleet: Fleet, address: str, tmp_path: Path) -> None:
    source = PackageSource.of(address, fleet.home.trust, ca=certificate(tmp_path, "other"))
    with pytest.raises(PackageError, match="does not answer") as caught:
        source.fetch(FAMILY)
    assert caught.value.check == "unreachable"


def test_a_redirection_is_not_followed(fleet: Fleet, address: str, tmp_path: Path) -> None:
    source = PackageSource.of(f"{address}/moved", fleet.home.trust, ca=tmp_path / "server.pem")
    with pytest.raises(PackageError, match="302"):
        source.fetch(FAMILY)


def test_a_file_that_holds_no_authority_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(PackageError, match=r"ca\.pem: not a file of CA certificates"):
        PackageSource.of("https://127.0.0.1:1", tmp_path, ca=tmp_path / "ca.pem")


def test_a_server_that_is_not_there_is_unreachable(
    fleet: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetchers_module, "_RETRIES", 0)
    source = PackageSource.of("https://127.0.0.1:9", fleet.home.trust)
    with pytest.raises(PackageError) as caught:
        source.fetch(FAMILY)
    assert caught.value.check == "unreachable"

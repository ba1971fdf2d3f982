"""A repository behind a web server with TLS, as a fleet serves it."""

from __future__ import annotations

import contextlib
import functools
import socket
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import ClassVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fedstill_client.packages import PackageError, PackageSource
from fedstill_client.packages import fetchers as fetchers_module

from tests.client.package_samples import Fleet
from tests.client.samples import FAMILY


def certificate(folder: Path, name: str = "server", *, hours_ahead: int = 0) -> Path:
    """A certificate for 127.0.0.1 that is its own authority, with its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]), datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(hours=hours_ahead - 1))
        .not_valid_after(now + timedelta(hours=hours_ahead + 1))
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


@contextlib.contextmanager
def served(folder: Path, certificate_file: Path) -> Iterator[str]:
    """The address of a web server with TLS."""
    handler = functools.partial(QuietHandler, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate_file)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def address(fleet: Fleet, tmp_path: Path) -> Iterator[str]:
    with served(fleet.repository.folder, certificate(tmp_path)) as address:
        yield address


def test_a_package_comes_over_tls(fleet: Fleet, address: str, tmp_path: Path) -> None:
    source = PackageSource.of(address, fleet.home.trust, ca=tmp_path / "server.pem")
    assert source.fetch(FAMILY).manifest.package_version == 1
    with pytest.raises(PackageError, match="no such file"):
        source.fetch("cnn")


def test_another_authority_is_not_believed(fleet: Fleet, address: str, tmp_path: Path) -> None:
    source = PackageSource.of(address, fleet.home.trust, ca=certificate(tmp_path, "other"))
    with pytest.raises(PackageError, match="its certificate is not the fleet's") as caught:
        source.fetch(FAMILY)
    assert caught.value.check == "trust"


def test_a_certificate_of_another_time_names_the_device_s_date(fleet: Fleet, tmp_path: Path) -> None:
    tomorrow = certificate(tmp_path, hours_ahead=24)  # a board without a clock wakes up in the past
    with served(fleet.repository.folder, tomorrow) as address:
        source, today = PackageSource.of(address, fleet.home.trust, ca=tomorrow), datetime.now(UTC).date()
        with pytest.raises(PackageError, match=f"not valid at this device's date, {today}") as caught:
            source.fetch(FAMILY)
        assert caught.value.check == "expired"


class Tunnels(BaseHTTPRequestHandler):
    """A proxy that knows CONNECT."""

    asked: ClassVar[list[str]] = []

    def do_CONNECT(self) -> None:
        self.asked.append(f"{self.path} {self.headers.get('Proxy-Authorization', '')}".strip())
        host, _, port = self.path.partition(":")
        with socket.create_connection((host, int(port))) as far:
            self.send_response(200)
            self.end_headers()
            for source, sink in ((far, self.connection), (self.connection, far)):
                threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()
            self.ended.wait(10)

    def setup(self) -> None:
        super().setup()
        self.ended = threading.Event()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while content := source.recv(1 << 16):
                sink.sendall(content)
        self.ended.set()

    def log_message(self, *_: object) -> None:
        """Nothing on the tests' output."""


def test_the_proxy_that_the_environment_names_is_asked(
    fleet: Fleet, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = PackageSource.of(address, fleet.home.trust, ca=tmp_path / "server.pem")
    with ThreadingHTTPServer(("127.0.0.1", 0), Tunnels) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:secret@127.0.0.1:{proxy.server_address[1]}")
        assert source.newest_version(FAMILY) == 1
        asked = list(Tunnels.asked)
        assert set(asked) == {f"{address.removeprefix('https://')} Basic bWU6c2VjcmV0"}
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        assert source.fetch(FAMILY).manifest.package_version == 1
        assert Tunnels.asked == asked
        proxy.shutdown()
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.setattr(fetchers_module, "_RETRIES", 0)
    monkeypatch.setenv("HTTPS_PROXY", "127.0.0.1:9")
    with pytest.raises(PackageError, match=r"through the proxy 127\.0\.0\.1, which HTTPS_PROXY names"):
        PackageSource.of(address, fleet.home.trust, ca=tmp_path / "server.pem").fetch(FAMILY)


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

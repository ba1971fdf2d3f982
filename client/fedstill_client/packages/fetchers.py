"""How a repository's files come to the device: over HTTPS, or from a folder."""

from __future__ import annotations

import contextlib
import math
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import urllib3
import urllib3.connection
from fedstill_proto.errors import InvalidValue
from fedstill_proto.system.proxies import proxy_of
from fedstill_proto.system.tls_errors import certificate_error, in_words, is_of_dates
from tuf.api.exceptions import DownloadError, DownloadHTTPError, SlowRetrievalError
from tuf.ngclient import FetcherInterface

from fedstill_client.packages.errors import PackageError

_CHUNK_BYTES = 1 << 16
_RETRIES = 2


@dataclass(frozen=True, kw_only=True)
class DownloadLimits:
    """How slow a repository may be before the device hangs up; a dribble of bytes does not begin them anew.

    Attributes:
        answer_s: Seconds to connect and to begin to answer.
        least_rate: Bytes a second that a file must come with, on average.
        grace_s: Seconds of a file before that counts.
        metadata_s: Seconds for all metadata together; other processes wait for them.
        package_s: Seconds for all files of a package together.
    """

    answer_s: float = 30.0
    least_rate: float = 1024.0
    grace_s: float = 15.0
    metadata_s: float = 120.0
    package_s: float = 3600.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 < value < math.inf:
                raise InvalidValue(name, f"{value!r} is not a number above 0")


class HttpsFetcher(FetcherInterface):
    """Over TLS, with the fleet's own certificate authority where there is one."""

    def __init__(self, ca: Path | None, limits: DownloadLimits | None = None) -> None:
        """Open no connection yet.

        Args:
            ca: A PEM file of the certificate authorities to trust instead of the system's.
            limits: How slow the repository may be; None takes the default.

        Raises:
            PackageError: `ca` holds no certificates.
        """
        try:
            context = ssl.create_default_context(cafile=None if ca is None else str(ca))
        except (OSError, ssl.SSLError) as error:
            raise PackageError("trust", f"{ca}: not a file of CA certificates: {error}") from None
        self.limits = limits or DownloadLimits()
        self._until = math.inf
        self._connections: list[socket.socket] = []
        self._context = context
        self._pools: dict[str, urllib3.PoolManager] = {}  # by proxy; "" is none

    def allow(self, seconds: float) -> None:
        """Let all that is fetched from now on take so many seconds together."""
        self._until = time.monotonic() + seconds

    def _fetch(self, url: str) -> Iterator[bytes]:
        watch = _Watch(self.limits, self._connections, until=self._until)
        try:
            response = self._pool(url).request(
                "GET", url, preload_content=False, redirect=False, headers={"Accept-Encoding": "identity"}
            )
        except urllib3.exceptions.HTTPError as error:
            watch.end()
            watch.raise_if_slow(url)
            raise _failed(url, error, proxy=proxy_of(url)) from error
        if response.status != 200:
            watch.end()
            response.release_conn()
            raise DownloadHTTPError(f"{url}: HTTP status {response.status}", response.status)
        watch.answered()
        return _chunks(response, url, watch)

    def _pool(self, url: str) -> urllib3.PoolManager:
        """Connections straight to the repository, or through the proxy that the environment names."""
        proxy = proxy_of(url)
        if proxy not in self._pools:
            settings: dict[str, Any] = {
                "ssl_context": self._context,
                "timeout": urllib3.Timeout(self.limits.answer_s),
                "retries": urllib3.Retry(_RETRIES, redirect=0),
            }
            pool = _through(proxy, settings) if proxy else urllib3.PoolManager(**settings)
            pool.pool_classes_by_scheme = {
                **({} if not proxy else pool.pool_classes_by_scheme),
                "https": _pool_class(self._connections),
            }
            self._pools[proxy] = pool
        return self._pools[proxy]


def _through(proxy: str, settings: dict[str, Any]) -> urllib3.ProxyManager:
    parts = urlsplit(proxy)
    if parts.scheme not in ("http", "https"):
        raise DownloadError(f"HTTPS_PROXY: {parts.scheme}:// is none of http:// and https://")
    return urllib3.ProxyManager(proxy, proxy_headers=proxy_headers(proxy), **settings)


def proxy_headers(proxy: str) -> dict[str, str]:
    """The headers by which a proxy knows the name and password that stand in its address, if they do."""
    parts = urlsplit(proxy)
    if parts.username is None:
        return {}
    secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return dict(urllib3.make_headers(proxy_basic_auth=secret))


def _failed(url: str, error: Exception, *, proxy: str) -> DownloadError:
    """What an error of the connection means."""
    certificate = certificate_error(error)
    if certificate is not None:
        return NotTrusted(url, certificate)
    through = f" (through the proxy {urlsplit(proxy).hostname}, which HTTPS_PROXY names)" if proxy else ""
    return DownloadError(f"{url}{through}: {error}")


class NotTrusted(DownloadError):
    """The server's certificate is not one that the device believes; `is_date` tells whether for its dates."""

    def __init__(self, url: str, error: ssl.SSLCertVerificationError) -> None:
        super().__init__(f"{url}: {in_words(error)}")
        self.is_date = is_of_dates(error)


def _chunks(response: urllib3.BaseHTTPResponse, url: str, watch: _Watch) -> Iterator[bytes]:
    try:
        # What there is at a time, not what was asked for: a file that dribbles in is to be seen to do so. And
        # as it was sent: nothing is unpacked before its size is checked.
        while chunk := response.read1(_CHUNK_BYTES, decode_content=False):
            watch.received += len(chunk)
            yield chunk
        watch.raise_if_slow(url)
    except urllib3.exceptions.TimeoutError as error:
        raise SlowRetrievalError(f"{url}: nothing came for {watch.limits.answer_s:.0f} s") from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        watch.raise_if_slow(url)
        raise DownloadError(f"{url}: {error}") from error
    finally:
        watch.end()
        response.release_conn()


class _Watch:
    """Hangs up on a repository that is too slow with one file, whatever the reader waits for just then."""

    def __init__(self, limits: DownloadLimits, connections: list[socket.socket], *, until: float) -> None:
        self.limits, self._connections, self._until = limits, connections, until
        self.received = 0
        self._slow = ""
        self._asked_at = time.monotonic()
        self._answered_at: float | None = None
        self._ended = threading.Event()
        threading.Thread(target=self._look, name="download watch", daemon=True).start()

    def answered(self) -> None:
        """The file has begun to come."""
        self._answered_at = time.monotonic()

    def end(self) -> None:
        """The file is here, or is not waited for any more."""
        self._ended.set()

    def raise_if_slow(self, url: str) -> None:
        """Raise SlowRetrievalError where the connection was ended for being slow."""
        if self._slow:
            raise SlowRetrievalError(f"{url}: {self._slow}")

    def _look(self) -> None:
        every = min(1.0, self.limits.grace_s / 4, self.limits.answer_s / 4)
        while not self._ended.wait(every):
            self._slow = self._slow or self._too_slow()
            if self._slow:  # and so is each connection that is tried after this one
                for connection in list(self._connections):
                    with contextlib.suppress(OSError):
                        connection.shutdown(socket.SHUT_RDWR)

    def _too_slow(self) -> str:
        """Why the repository is too slow; empty if it is not."""
        now, limits = time.monotonic(), self.limits
        if now > self._until:
            return "the whole download takes too long"
        if self._answered_at is None:
            return "no answer" if now - self._asked_at > limits.answer_s else ""
        seconds = now - self._answered_at
        if seconds > limits.grace_s and self.received < limits.least_rate * seconds:
            return f"{self.received} bytes in {seconds:.0f} s are less than {limits.least_rate:.0f} a second"
        return ""


def _pool_class(connections: list[socket.socket]) -> type[urllib3.HTTPSConnectionPool]:
    """A pool whose connections can be ended from another thread, also before TLS has begun."""

    class Connection(urllib3.connection.HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            made = super()._new_conn()
            # TLS takes the socket over; a second handle of it stays ours.
            while connections:
                connections.pop().close()
            connections.append(made.dup())
            return made

    class Pool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Connection

    return Pool


class FolderFetcher(FetcherInterface):
    """Reads files of a folder, such as a mounted stick; only from inside it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def _fetch(self, url: str) -> Iterator[bytes]:
        file = Path(unquote(urlsplit(url).path)).resolve()
        if not file.is_relative_to(self._folder) or not file.is_file():
            raise DownloadHTTPError(f"{file}: no such file", 404)
        return _file_chunks(file)


def _file_chunks(file: Path) -> Iterator[bytes]:
    try:
        with file.open("rb") as opened:
            while chunk := opened.read(_CHUNK_BYTES):
                yield chunk
    except OSError as error:
        raise DownloadError(f"{file}: {error.strerror}") from error

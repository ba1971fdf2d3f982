"""How a repository's files come to the device: over HTTPS, or from a folder."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import urllib3
from tuf.api.exceptions import DownloadError, DownloadHTTPError, SlowRetrievalError
from tuf.ngclient import FetcherInterface

from fedstill_client.packages.errors import PackageError

_CHUNK_BYTES = 1 << 16
_TIMEOUT_S = 30.0  # to connect, and between two chunks
_RETRIES = 2


class HttpsFetcher(FetcherInterface):
    """Over TLS, with the fleet's own certificate authority where there is one."""

    def __init__(self, ca: Path | None) -> None:
        try:
            context = ssl.create_default_context(cafile=None if ca is None else str(ca))
        except (OSError, ssl.SSLError) as error:
            raise PackageError("trust", f"{ca}: not a file of CA certificates: {error}") from None
        self._pool = urllib3.PoolManager(
            ssl_context=context,
            timeout=urllib3.Timeout(_TIMEOUT_S),
            retries=urllib3.Retry(_RETRIES, redirect=0),
        )

    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            response = self._pool.request("GET", url, preload_content=False, redirect=False)
        except urllib3.exceptions.HTTPError as error:
            raise DownloadError(f"{url}: {error}") from error
        if response.status != 200:
            response.release_conn()
            raise DownloadHTTPError(f"{url}: HTTP status {response.status}", response.status)
        return _chunks(response, url)


def _chunks(response: urllib3.BaseHTTPResponse, url: str) -> Iterator[bytes]:
    try:
        yield from response.stream(_CHUNK_BYTES)
    except urllib3.exceptions.TimeoutError as error:
        raise SlowRetrievalError(f"{url}: nothing came for {_TIMEOUT_S:.0f} s") from error
    except urllib3.exceptions.HTTPError as error:
        raise DownloadError(f"{url}: {error}") from error
    finally:
        response.release_conn()


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

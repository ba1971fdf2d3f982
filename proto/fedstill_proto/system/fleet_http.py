"""Requests to Flower's Fleet API: protobuf in the bodies of HTTP over TLS, each signed by the node's key.

Flower's own client loads its whole package, and FastAPI and httpx besides: 60 MB for a process that waits
most of its life. This one takes Python's http.client. A server can send no more bytes than a limit, however
slowly, and is followed nowhere else.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import ssl
import time
from base64 import b64encode
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Protocol, TypeVar
from urllib.parse import unquote, urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key
from google.protobuf.message import DecodeError, Message

from fedstill_proto.errors import FedstillError, WireError
from fedstill_proto.system.proxies import proxy_of
from fedstill_proto.system.steering import CLOCK, REFUSED_HEADER, REVOKED, UNREGISTERED, Heard
from fedstill_proto.system.tls_errors import in_words

_RESPONSE_LIMIT_BYTES = 32 << 20  # Flower's chunks have 5 MiB
_RESPONSE_WITHIN_S = 600.0  # of a server that sends a byte now and then
_ANSWER_WITHIN_S = 30.0
_READ_BYTES = 1 << 16
_MEDIA_TYPE = "application/protobuf"

_Response = TypeVar("_Response", bound=Message)


class Request(Protocol):
    """A protobuf message: of fleet.proto, or Flower's own of the same name."""

    def SerializeToString(self) -> bytes:
        """Write it."""


class NodeError(FedstillError):
    """A request to the server came to nothing."""


class NotReached(NodeError):
    """The server did not answer, or could not yet: it is worth another try."""


class NotBelieved(NodeError):
    """Another server answers: its certificate is not the fleet's."""


class AnsweredError(NodeError):
    """The server answered with an error."""

    def __init__(self, status: int, headers: Mapping[str, str], text: str) -> None:
        super().__init__(f"the server answered with status {status}: {text}"[:500])
        self.status, self.headers = status, headers


class NotLetIn(FedstillError):
    """The server does not let a node in; `why` is a word of system/steering.py, or empty."""

    def __init__(self, why: str) -> None:
        self.why = why if why in (UNREGISTERED, REVOKED, CLOCK) else ""
        super().__init__(f"the server does not let this node in ({self.why or 'it says no reason'})")

    def __reduce__(self) -> tuple[type[NotLetIn], tuple[str]]:
        return type(self), (self.why,)


def read_key(content: bytes) -> ec.EllipticCurvePrivateKey:
    """A node's private key, as OpenSSH writes it."""
    key = load_ssh_private_key(content, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)  # enrolment made it
    return key


def public_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The public key, as the server knows the node by it."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


class FleetClient:
    """A client of the Fleet API; threads may share it."""

    def __init__(self, address: str, *, authority: bytes, key: ec.EllipticCurvePrivateKey) -> None:
        """Make one; it connects when it is asked.

        Args:
            address: host:port of the server.
            authority: PEM of the certificate authority that signs the server's certificate.
            key: The node's private key.
        """
        self._address, self._key = address, key
        self.heard = Heard()  # what the answers have said beside what they were asked
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.load_verify_locations(cadata=authority.decode("ascii"))
        self._idle: deque[http.client.HTTPSConnection] = deque(maxlen=1)

    def call(
        self, route: str, request: Request, response: type[_Response], *, within_s: float = _ANSWER_WITHIN_S
    ) -> _Response:
        """Send a request.

        Args:
            route: What is asked for, such as "pull-messages".
            request: The message to send.
            response: The type of the message that is the answer.
            within_s: How long the server may send nothing.

        Raises:
            NotReached: Nobody answers, or the server is too busy.
            NotBelieved: Another server answers.
            NotLetIn: The server does not let this node in.
            AnsweredError: The server refuses.
            WireError: The answer is no such message, or larger than a limit.
        """
        status, headers, body = self._send(route, request.SerializeToString(), within_s)
        if status == 401:
            raise NotLetIn(headers.get(REFUSED_HEADER, ""))
        if status in (502, 503, 504):
            raise NotReached(f"the server is busy (status {status})")
        if status != 200:
            raise AnsweredError(status, headers, body[:500].decode("utf-8", "replace"))
        self.heard.hear(headers)
        try:
            return response.FromString(body)
        except DecodeError:
            raise WireError("response", f"is no {response.DESCRIPTOR.name}") from None

    def close(self) -> None:
        """End the connection."""
        while self._idle:
            self._idle.pop().close()

    def __enter__(self) -> FleetClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, route: str, body: bytes, within_s: float) -> tuple[int, dict[str, str], bytes]:
        """Send a body over the connection that is there, or over a new one where the server has ended it."""
        connection = self._taken()
        if connection is not None:
            with contextlib.suppress(NotReached):
                return self._sent(connection, route, body, within_s)
        return self._sent(self._opened(within_s), route, body, within_s)

    def _sent(
        self, connection: http.client.HTTPSConnection, route: str, body: bytes, within_s: float
    ) -> tuple[int, dict[str, str], bytes]:
        keep = False
        try:
            with _as_node_errors(self._address):
                connection.timeout = within_s
                if connection.sock is not None:
                    connection.sock.settimeout(within_s)
                connection.request("POST", f"/v1/fleet/{route}", body, signed_headers(self._key))
                answer = connection.getresponse()
                content = _bounded(answer)
            keep = not answer.will_close
            headers = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, headers, content
        finally:
            if keep and not self._idle:
                self._idle.append(connection)
            else:
                connection.close()

    def _taken(self) -> http.client.HTTPSConnection | None:
        with contextlib.suppress(IndexError):
            return self._idle.pop()
        return None

    def _opened(self, within_s: float) -> http.client.HTTPSConnection:
        proxy = proxy_of(f"https://{self._address}")
        if not proxy:
            return http.client.HTTPSConnection(self._address, timeout=within_s, context=self._context)
        parts = urlsplit(proxy)
        if parts.scheme != "http" or not parts.hostname:
            raise NodeError("HTTPS_PROXY: give http://host:port")
        connection = http.client.HTTPSConnection(
            parts.hostname, parts.port or 80, timeout=within_s, context=self._context
        )
        headers = {}
        if parts.username is not None:
            secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            headers["Proxy-Authorization"] = f"Basic {b64encode(secret.encode()).decode()}"
        target = urlsplit(f"//{self._address}")
        connection.set_tunnel(target.hostname or "", target.port, headers)
        return connection


def signed_headers(key: ec.EllipticCurvePrivateKey) -> dict[str, str]:
    """Who asks, and when, signed: Flower's servers take no request that is minutes old."""
    timestamp = datetime.now(UTC).isoformat()
    signature = key.sign(timestamp.encode("ascii"), ec.ECDSA(hashes.SHA256()))
    return {
        "content-type": _MEDIA_TYPE,
        "accept": _MEDIA_TYPE,
        "accept-encoding": "identity",  # nothing that grows when it is unpacked
        "flwr-package-name": "flwr",
        "flwr-package-version": _flower_version(),
        "flwr-component-name": "SuperNode",
        "flwr-public-key": b64encode(public_pem(key)).decode(),
        "flwr-timestamp": timestamp,
        "flwr-signature": b64encode(signature).decode(),
    }


@functools.cache
def _flower_version() -> str:
    return version("flwr")


def _bounded(answer: http.client.HTTPResponse) -> bytes:
    """Read the body of an answer, no further than a limit of bytes and of time."""
    if answer.getheader("content-encoding", "identity") != "identity":
        raise WireError("response", "packed, which was not asked for")
    end = time.monotonic() + _RESPONSE_WITHIN_S
    body = bytearray()
    while chunk := answer.read1(_READ_BYTES):
        body += chunk
        if len(body) > _RESPONSE_LIMIT_BYTES:
            raise WireError("response", f"more than the limit of {_RESPONSE_LIMIT_BYTES} bytes")
        if time.monotonic() > end:
            raise WireError("response", f"not there after {_RESPONSE_WITHIN_S:g} s")
    if answer.length:
        raise http.client.IncompleteRead(bytes(body), answer.length)
    answer.read()  # nothing: the connection is free for the next request
    return bytes(body)


@contextlib.contextmanager
def _as_node_errors(address: str) -> Iterator[None]:
    try:
        yield
    except ssl.SSLCertVerificationError as error:
        raise NotBelieved(in_words(error)) from error
    except (OSError, http.client.HTTPException) as error:
        raise NotReached(f"{address}: {type(error).__name__}: {error}") from error

"""The connection of a node to Flower's Fleet API: takes messages and sends replies, within limits.

A device has one, and so has a relay, which is a node to the server above it. The wire is protobuf over HTTP
and TLS; each request is signed by the node's key. A server can send no more bytes than the node lets it.

This module uses names which Flower keeps for itself: with another release of Flower, look here. Those of 1.41
and 1.42 are the same.
"""

from __future__ import annotations

import contextlib
import functools
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx

# Before flwr: it switches flwr's telemetry and update check off.
import fedstill_proto  # noqa: F401  # isort: skip
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key
from flwr.app import Message
from flwr.common.serde import message_from_proto, message_to_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    DeactivateNodeRequest,
    PullMessagesRequest,
    PushMessagesRequest,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedRequest,
    ObjectTree,
    PullObjectRequest,
    PushObjectRequest,
)
from flwr.proto.node_pb2 import Node
from flwr.proto.run_pb2 import GetRunRequest
from flwr.supercore.heartbeat import HeartbeatSender
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
from flwr.supercore.protobuf.client import ProtobufRequestContext
from flwr.supercore.retry import make_simple_http_retry_invoker
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from fedstill_proto.errors import FedstillError, WireError
from fedstill_proto.flower_objects import Gathering, TakenApart
from fedstill_proto.system.steering import CLOCK, REFUSED_HEADER, REVOKED, UNREGISTERED, Heard

_LEAST_HEARTBEAT_S, _MOST_HEARTBEAT_S = 30.0, 1800.0  # Flower takes no longer ones
_HEARTBEAT_CALL_S = 5.0
_OBJECT_WITHIN_S, _OBJECT_AGAIN_S = 60.0, 1.0
_RESPONSE_LIMIT_BYTES = 32 << 20  # Flower's chunks have 5 MiB
_RESPONSE_WITHIN_S = 600.0  # of a server that sends a byte now and then


@dataclass(frozen=True, kw_only=True)
class NodeAccess:
    """Where a node connects, and as whom.

    Attributes:
        address: host:port of the server.
        authority: PEM of the certificate authority that signs the server's certificate.
        key: The node's private key, as OpenSSH writes it.
        message_limit_bytes: The most bytes of a message's array that the node takes.
    """

    address: str
    authority: bytes
    key: bytes
    message_limit_bytes: int

    def private_key(self) -> ec.EllipticCurvePrivateKey:
        """The key, read."""
        key = load_ssh_private_key(self.key, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)  # enrolment made it
        return key

    def client(self) -> FleetHttpClient:
        """A client of the Fleet API that signs as this node."""
        key = self.private_key()
        return _Client.from_server_address(
            server_address=self.address,
            insecure=False,
            root_certificates=self.authority,
            interceptors=[
                RuntimeVersionHttpInterceptor(component_name="SuperNode"),
                NodeAuthHttpInterceptor(key, key.public_key()),
            ],
        )

    def check(self) -> None:
        """Ask the server for something that changes nothing, to see whether it lets this key in.

        Raises:
            NotLetIn: It does not.
            httpx.HTTPError: It does not answer.
        """
        # There is no such run: a key that is let in is told that.
        with self.client() as client, contextlib.suppress(httpx.HTTPStatusError):
            client.GetRun(GetRunRequest(run_id=0))

    def deactivate(self, node: int) -> bool:
        """Have the server forget that a node of this key is there; whether it answered that it did.

        A SuperLink takes a node for present until its heartbeats have been missing for a minute, and lets no
        second one of the same key in. So one that is back after ten seconds would wait for its own ghost to
        pass away.

        Raises:
            NotLetIn: The server does not let this key in.
        """
        # Where the server does not answer, or knows of no ghost, activation finds out by itself.
        with self.client() as client, contextlib.suppress(httpx.HTTPError, RuntimeError, WireError):
            client.DeactivateNode(DeactivateNodeRequest(node_id=node))
            return True
        return False


class NotLetIn(FedstillError):
    """The server does not let a node in; `why` is a word of system/steering.py, or empty."""

    def __init__(self, why: str) -> None:
        self.why = why if why in (UNREGISTERED, REVOKED, CLOCK) else ""
        super().__init__(f"the server does not let this node in ({self.why or 'it says no reason'})")

    def __reduce__(self) -> tuple[type[NotLetIn], tuple[str]]:
        return type(self), (self.why,)


class _Client(FleetHttpClient):
    """Flower's client of the Fleet API, which reads no further than a limit and follows no redirection.

    A status of 401 is NotLetIn, before Flower sees it, which would end the process.
    """

    @functools.cached_property
    def heard(self) -> Heard:
        """What the server's answers have said beside what they were asked."""
        return Heard()

    def _send(self, context: ProtobufRequestContext, *, stream: bool = False) -> httpx.Response:
        call: Callable[[ProtobufRequestContext], httpx.Response] = self._bounded
        for interceptor in reversed(self._interceptors):
            call = functools.partial(interceptor.intercept, call_next=call)
        return call(context)

    def _bounded(self, context: ProtobufRequestContext) -> httpx.Response:
        context.request.headers["accept-encoding"] = "identity"  # nothing that grows when it is unpacked
        end = time.monotonic() + _RESPONSE_WITHIN_S
        response = self._client.send(context.request, stream=True, follow_redirects=False)
        body = bytearray()
        try:
            if response.headers.get("content-encoding", "identity") != "identity":
                raise WireError("response", "packed, which was not asked for")
            for chunk in response.iter_raw():
                body += chunk
                if len(body) > _RESPONSE_LIMIT_BYTES:
                    raise WireError("response", f"more than the limit of {_RESPONSE_LIMIT_BYTES} bytes")
                if time.monotonic() > end:
                    raise WireError("response", f"not there after {_RESPONSE_WITHIN_S:g} s")
        finally:
            response.close()
        if response.status_code == httpx.codes.UNAUTHORIZED:
            raise NotLetIn(response.headers.get(REFUSED_HEADER, ""))
        if response.is_success:
            self.heard.hear(response.headers)
        return httpx.Response(
            response.status_code, headers=response.headers, content=bytes(body), request=context.request
        )


class _Heartbeats(HeartbeatSender):
    """Flower's heartbeats, as much apart as the fleet is large."""

    def __init__(self, send: Callable[[], bool], interval_s: Callable[[], float]) -> None:
        super().__init__(send)
        self._interval_s = interval_s

    def _run(self) -> None:
        while not self._stop_event.is_set():
            self._retry_invoker.invoke(self._heartbeat)
            self._stop_event.wait((self._interval_s() - _HEARTBEAT_CALL_S) * random.uniform(0.7, 0.9))


@dataclass(frozen=True)
class Received:
    """A message without its content, and the tree of its objects."""

    message: Message
    tree: ObjectTree

    @property
    def run(self) -> int:
        return int(self.message.metadata.run_id)

    @property
    def name(self) -> str:
        return str(self.message.metadata.message_id)


class FleetConnection:
    """The connection of a node that is active; each call is tried again while nobody answers."""

    def __init__(self, client: FleetHttpClient, node: Node, *, message_limit_bytes: int) -> None:
        self._client, self._node, self._message_limit_bytes = client, node, message_limit_bytes
        self.heard = client.heard if isinstance(client, _Client) else Heard()
        self._invoke = make_simple_http_retry_invoker().invoke

    @classmethod
    @contextlib.contextmanager
    def of(cls, access: NodeAccess) -> Iterator[FleetConnection]:
        """Become a node, and be it no more when the block ends."""
        with access.client() as client:
            public = access.private_key().public_key()
            public_key = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            request = ActivateNodeRequest(public_key=public_key, heartbeat_interval=_LEAST_HEARTBEAT_S)
            activated = make_simple_http_retry_invoker().invoke(client.ActivateNode, request)
            node = Node(node_id=activated.node_id)
            connection = cls(client, node, message_limit_bytes=access.message_limit_bytes)
            heartbeat = _Heartbeats(connection._send_heartbeat, connection._heartbeat_s)
            heartbeat.start()
            try:
                yield connection
            finally:
                heartbeat.stop()
                with contextlib.suppress(httpx.HTTPError, RuntimeError, FedstillError):
                    client.DeactivateNode(DeactivateNodeRequest(node_id=activated.node_id))

    @property
    def node(self) -> int:
        return int(self._node.node_id)

    def receive(self) -> Received | None:
        """The next message, if there is one."""
        response = self._invoke(self._client.PullMessages, PullMessagesRequest(node=self._node))
        if not response.messages_list or not response.message_object_trees:
            return None
        return Received(message_from_proto(response.messages_list[0]), response.message_object_trees[0])

    def bundle_of(self, run: int) -> str:
        """The digest of a run's bundle; the bundle itself is never asked for."""
        response = self._invoke(self._client.GetRun, GetRunRequest(node=self._node, run_id=run))
        return str(response.run.fab_hash)

    def objects_of(self, received: Received) -> dict[str, bytes]:
        """The objects of a message; raises WireError where they are too many, too large, or missing."""
        gathering = Gathering(received.tree, size_limit_bytes=self._message_limit_bytes)
        gathering.pull(functools.partial(self._pull, received.run))
        confirmation = ConfirmMessageReceivedRequest(
            node=self._node, run_id=received.run, message_object_id=received.name
        )
        self._invoke(self._client.ConfirmMessageReceived, confirmation)
        return gathering.objects

    def send(self, reply: TakenApart, *, seconds: float) -> None:
        """Send a reply, and how long it took to make it."""
        run = reply.message.metadata.run_id
        request = PushMessagesRequest(
            node=self._node,
            messages_list=[message_to_proto(reply.message)],
            message_object_trees=[reply.tree],
            clientapp_runtime_list=[seconds],
        )
        asked = self._invoke(self._client.PushMessages, request)
        for name in reply.objects.keys() & set(asked.objects_to_push):
            pushed = PushObjectRequest(
                node=self._node,
                run_id=run,
                object_id=name,
                object_content=reply.objects[name],
                session_id=asked.session_id,
            )
            self._invoke(self._client.PushObject, pushed)

    def _pull(self, run: int, name: str) -> bytes:
        end = time.monotonic() + _OBJECT_WITHIN_S
        while True:
            request = PullObjectRequest(node=self._node, run_id=run, object_id=name)
            response = self._invoke(self._client.PullObject, request)
            if response.object_found and response.object_available:
                return bytes(response.object_content)
            if not response.object_found or time.monotonic() > end:
                raise WireError("message", "an object of it is not there")
            time.sleep(_OBJECT_AGAIN_S)

    def _heartbeat_s(self) -> float:
        """Seconds between two heartbeats: twice those between two looks, as far as Flower allows."""
        return min(max(2 * self.heard.look_after_s, _LEAST_HEARTBEAT_S), _MOST_HEARTBEAT_S)

    def _send_heartbeat(self) -> bool:
        request = SendNodeHeartbeatRequest(node=self._node, heartbeat_interval=self._heartbeat_s())
        try:
            return bool(self._client.SendNodeHeartbeat(request).success)
        except (httpx.HTTPError, FedstillError, ValueError):
            return False  # a node that is not let in any more hears it when it asks for messages

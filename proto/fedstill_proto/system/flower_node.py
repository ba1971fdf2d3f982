"""The connection of a node to Flower's Fleet API: takes messages and sends replies, within limits.

A device has one, and so has a relay, which is a node to the server above it. A server can send no more bytes
than the node lets it. The wire (see fleet_http.py) is that of Flower 1.41 and 1.42.
"""

from __future__ import annotations

import contextlib
import functools
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from google.protobuf.message import Message as AnyMessage

from fedstill_proto.errors import FedstillError, WireError
from fedstill_proto.message_pieces import Gathering, TakenApart
from fedstill_proto.system.fleet_http import (
    AnsweredError,
    FleetClient,
    NodeError,
    NotLetIn,
    NotReached,
    public_pem,
    read_key,
)
from fedstill_proto.system.steering import Heard
from fedstill_proto.v1 import fleet_pb2

if TYPE_CHECKING:
    from flwr.app import Message

_LEAST_HEARTBEAT_S, _MOST_HEARTBEAT_S = 30.0, 1800.0  # Flower takes no longer ones
_HEARTBEAT_CALL_S = 5.0
_OBJECT_WITHIN_S, _OBJECT_AGAIN_S = 60.0, 1.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 20.0  # between two tries, while nobody answers
_RUN_OVER = 403

_Response = TypeVar("_Response", bound=AnyMessage)


class RunOver(FedstillError):
    """The run that a message is of has ended: nobody waits for its reply."""


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

    def client(self) -> FleetClient:
        """A client of the Fleet API that signs as this node."""
        return FleetClient(self.address, authority=self.authority, key=read_key(self.key))

    def check(self, node: int | None) -> None:
        """Ask the server for something that changes nothing, to see whether it lets this key in.

        Args:
            node: The number of the node that it was last; None where it never was one.

        Raises:
            NotLetIn: It does not.
            NodeError: It does not answer.
        """
        request = fleet_pb2.GetRunRequest(node=fleet_pb2.Node(node_id=node or 0), run_id=0)
        try:
            # There is no such run: a key that is let in is told that.
            with self.client() as client, contextlib.suppress(AnsweredError):
                client.call("get-run", request, fleet_pb2.GetRunResponse)
        except NotLetIn as refusal:
            if node is not None or refusal.why:
                raise  # and not by Flower, which has a node for the key, and another one

    def deactivate(self, node: int) -> bool:
        """Have the server forget that a node of this key is there; whether it answered that it did.

        A SuperLink takes a node for present until its heartbeats have been missing for a minute, and lets no
        second one of the same key in. So one that is back after ten seconds would wait for its own ghost to
        pass away.

        Raises:
            NotLetIn: The server does not let this key in.
        """
        # Where the server does not answer, or knows of no ghost, activation finds out by itself.
        with self.client() as client, contextlib.suppress(NodeError, WireError):
            _deactivate(client, node)
            return True
        return False


@dataclass(frozen=True)
class Received:
    """A message without its content, and the tree of its objects."""

    head: fleet_pb2.Message
    tree: fleet_pb2.ObjectTree

    @property
    def run(self) -> int:
        return self.head.metadata.run_id

    @property
    def name(self) -> str:
        return self.head.metadata.message_id

    @functools.cached_property
    def message(self) -> Message:
        """The same as Flower's own; a device that waits for rounds does without it."""
        from fedstill_proto.flower_objects import flower_message

        return flower_message(self.head)


class FleetConnection:
    """The connection of a node that is active; each call is tried again while nobody answers."""

    def __init__(self, client: FleetClient, node: int, *, message_limit_bytes: int) -> None:
        self._client, self._message_limit_bytes = client, message_limit_bytes
        self._node = fleet_pb2.Node(node_id=node)

    @classmethod
    @contextlib.contextmanager
    def of(cls, access: NodeAccess) -> Iterator[FleetConnection]:
        """Become a node, and be it no more when the block ends."""
        with access.client() as client:
            key = public_pem(read_key(access.key))
            request = fleet_pb2.ActivateNodeRequest(public_key=key, heartbeat_interval=_LEAST_HEARTBEAT_S)
            activated = call_again(client, "activate-node", request, fleet_pb2.ActivateNodeResponse)
            connection = cls(client, activated.node_id, message_limit_bytes=access.message_limit_bytes)
            ended = threading.Event()
            heartbeats = threading.Thread(target=connection._beat, args=(ended,), daemon=True)
            heartbeats.start()
            try:
                yield connection
            finally:
                ended.set()
                heartbeats.join()
                with contextlib.suppress(FedstillError):
                    _deactivate(client, activated.node_id)

    @property
    def node(self) -> int:
        return self._node.node_id

    @property
    def heard(self) -> Heard:
        """What the server's answers have said beside what they were asked."""
        return self._client.heard

    def receive(self) -> Received | None:
        """The next message, if there is one."""
        request = fleet_pb2.PullMessagesRequest(node=self._node)
        response = self._call("pull-messages", request, fleet_pb2.PullMessagesResponse)
        if not response.messages_list or not response.message_object_trees:
            return None
        return Received(response.messages_list[0], response.message_object_trees[0])

    def bundle_of(self, run: int) -> str:
        """The digest of a run's bundle; the bundle itself is never asked for."""
        request = fleet_pb2.GetRunRequest(node=self._node, run_id=run)
        return self._call("get-run", request, fleet_pb2.GetRunResponse).run.fab_hash

    def objects_of(self, received: Received) -> dict[str, bytes]:
        """The objects of a message; raises WireError where they are too many, too large, or missing."""
        gathering = Gathering(received.tree, size_limit_bytes=self._message_limit_bytes)
        gathering.pull(functools.partial(self._pull, received.run))
        confirmation = fleet_pb2.ConfirmMessageReceivedRequest(
            node=self._node, run_id=received.run, message_object_id=received.name
        )
        self._call("confirm-message-received", confirmation, fleet_pb2.ConfirmMessageReceivedResponse)
        return gathering.objects

    def send(self, reply: TakenApart, *, seconds: float) -> None:
        """Send a reply, and how long it took to make it."""
        request = fleet_pb2.PushMessagesRequest(
            node=self._node,
            messages_list=[reply.message],
            message_object_trees=[reply.tree],
            clientapp_runtime_list=[seconds],
        )
        asked = self._call("push-messages", request, fleet_pb2.PushMessagesResponse)
        for name in reply.objects.keys() & set(asked.objects_to_push):
            pushed = fleet_pb2.PushObjectRequest(
                node=self._node,
                run_id=reply.message.metadata.run_id,
                object_id=name,
                object_content=reply.objects[name],
                session_id=asked.session_id,
            )
            self._call("push-object", pushed, fleet_pb2.PushObjectResponse)

    def _call(self, route: str, request: AnyMessage, response: type[_Response]) -> _Response:
        return call_again(self._client, route, request, response)

    def _pull(self, run: int, name: str) -> bytes:
        end = time.monotonic() + _OBJECT_WITHIN_S
        while True:
            request = fleet_pb2.PullObjectRequest(node=self._node, run_id=run, object_id=name)
            response = self._call("pull-object", request, fleet_pb2.PullObjectResponse)
            if response.object_found and response.object_available:
                return response.object_content
            if not response.object_found or time.monotonic() > end:
                raise WireError("message", "an object of it is not there")
            time.sleep(_OBJECT_AGAIN_S)

    def _heartbeat_s(self) -> float:
        """Seconds between two heartbeats: no fewer than between two looks."""
        return min(max(self.heard.look_after_s, _LEAST_HEARTBEAT_S), _MOST_HEARTBEAT_S)

    def _beat(self, ended: threading.Event) -> None:
        """Tell the server that the node is there, until `ended` is set."""
        pause_s = 0.0
        while not ended.wait(pause_s):
            if self._send_heartbeat():
                pause_s = (self._heartbeat_s() - _HEARTBEAT_CALL_S) * random.uniform(0.7, 0.9)
            else:
                pause_s = min(max(2 * pause_s, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)

    def _send_heartbeat(self) -> bool:
        request = fleet_pb2.SendNodeHeartbeatRequest(node=self._node, heartbeat_interval=self._heartbeat_s())
        try:
            response = self._client.call(
                "send-node-heartbeat",
                request,
                fleet_pb2.SendNodeHeartbeatResponse,
                within_s=_HEARTBEAT_CALL_S,
            )
        except FedstillError:
            return False  # a node that is not let in any more hears it when it asks for messages
        return response.success


def call_again(client: FleetClient, route: str, request: AnyMessage, response: type[_Response]) -> _Response:
    """Call the Fleet API, again and again while nobody answers, with growing pauses.

    Raises:
        RunOver: The run that the request is of has ended.
        NotLetIn: The server does not let this node in.
        NotBelieved: Another server answers.
        AnsweredError: The server refuses.
        WireError: The answer cannot be read.
    """
    pause_s = _FIRST_PAUSE_S
    while True:
        try:
            return client.call(route, request, response)
        except NotReached:
            time.sleep(pause_s * random.uniform(0.5, 1.0))
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        except AnsweredError as error:
            if error.status == _RUN_OVER:
                raise RunOver("the run has ended") from None
            raise


def _deactivate(client: FleetClient, node: int) -> None:
    request = fleet_pb2.DeactivateNodeRequest(node_id=node)
    client.call("deactivate-node", request, fleet_pb2.DeactivateNodeResponse)

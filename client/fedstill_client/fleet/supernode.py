"""The device's side of Flower's network: takes messages, has each answered, and sends the replies.

It stands where Flower's own SuperNode would, and does less. That one installs whatever app the SuperLink
sends, imports it, and hands messages out at a port of loopback to any user of the machine. This one never
asks for a bundle: the app that is installed answers, in a process of its own (see round_process.py), and a
run whose bundle is not the known one, which holds no code, is refused by its digest. Nothing listens. A
server can send no more bytes than a task may have.

This is the one module of a device that uses names which Flower keeps for itself: with another release of
Flower, look here. Those of 1.41 and 1.42 are the same.

    python -P -m fedstill_client.fleet.supernode       the home is named by FEDSTILL_DEVICE_FOLDER
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

# Before flwr: it switches flwr's telemetry and update check off.
import fedstill_proto  # noqa: F401  # isort: skip
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key
from fedstill_proto.codec.api import TASK_LIMIT_BYTES
from fedstill_proto.errors import FedstillError, WireError
from fedstill_proto.flower_objects import Gathering, TakenApart, take_apart
from fedstill_proto.refusal import Refusal
from fedstill_proto.system.bundle import bundle_digest
from flwr.app import Error, Message
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
from flwr.supercore.run import RunNotRunningException
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor

from fedstill_client.fleet.membership import Membership, authority_file, device_key
from fedstill_client.fleet.node import read_node
from fedstill_client.fleet.round_process import Order, RoundFailed, RoundTooLong, answer_apart
from fedstill_client.home import DEVICE_FOLDER_VARIABLE, AgentHome
from fedstill_client.privacy.policy import DevicePolicy

_HEARTBEAT_EVERY_S = 30.0
_LOOK_EVERY_S = 3.0  # for a message, while there is none
_OBJECT_WITHIN_S, _OBJECT_AGAIN_S = 60.0, 1.0
_RESPONSE_LIMIT_BYTES = 32 << 20  # Flower's chunks have 5 MiB
_RESPONSE_WITHIN_S = 600.0  # of a server that sends a byte now and then
_CRASHED = 8  # Flower's own code for the process of a round that ended without a reply
_AFTER_THAT_S = 60.0  # a round stops by itself at the policy's most_seconds; what does not is killed

log = logging.getLogger("fedstill.supernode")


class BundleRefused(FedstillError):
    """A run came with another bundle than the one that holds no code."""


def round_limit_s(home: AgentHome) -> float:
    """The seconds after which the process of a round is killed, whatever its task says."""
    return DevicePolicy.read(home.folder).most_seconds + _AFTER_THAT_S


class _Client(FleetHttpClient):
    """Flower's client of the Fleet API, which reads no further than a limit and follows no redirection."""

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
        return httpx.Response(
            response.status_code, headers=response.headers, content=bytes(body), request=context.request
        )


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

    def __init__(self, client: FleetHttpClient, node: Node) -> None:
        self._client, self._node = client, node
        self._invoke = make_simple_http_retry_invoker().invoke

    @classmethod
    @contextlib.contextmanager
    def of(cls, home: AgentHome) -> Iterator[FleetConnection]:
        """Become the device's node, and be it no more when the block ends."""
        with _client(home) as client:
            public_key = _key(home).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
            request = ActivateNodeRequest(public_key=public_key, heartbeat_interval=_HEARTBEAT_EVERY_S)
            activated = make_simple_http_retry_invoker().invoke(client.ActivateNode, request)
            connection = cls(client, Node(node_id=activated.node_id))
            heartbeat = HeartbeatSender(connection._send_heartbeat)
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
        gathering = Gathering(received.tree, size_limit_bytes=TASK_LIMIT_BYTES)
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

    def _send_heartbeat(self) -> bool:
        request = SendNodeHeartbeatRequest(node=self._node, heartbeat_interval=_HEARTBEAT_EVERY_S)
        try:
            return bool(self._client.SendNodeHeartbeat(request).success)
        except (httpx.HTTPError, FedstillError, ValueError) as error:
            if isinstance(error, httpx.HTTPStatusError) and error.response.status_code == 401:
                os.kill(os.getpid(), signal.SIGTERM)  # it is not let in any more
            return False


class Answering:
    """Answers messages, one at a time, with the app that is installed."""

    def __init__(self, home: AgentHome, connection: FleetConnection) -> None:
        self._home, self._connection = home, connection
        self._known_run: int | None = None  # one whose bundle holds no code

    def answer_next(self) -> bool:
        """Answer the next message, if there is one; returns whether there was."""
        received = self._connection.receive()
        if received is not None:
            self.answer(received)
        return received is not None

    def answer(self, received: Received) -> None:
        """Answer a message."""
        started = time.monotonic()
        try:
            reply = self._answer(received)
        except WireError as error:
            log.warning("message refused: %s", error)
            reply = _refused(received, Refusal.UNREADABLE)
        self._connection.send(reply, seconds=time.monotonic() - started)

    def _answer(self, received: Received) -> TakenApart:
        try:
            self._check_bundle(received.run)
        except BundleRefused as refusal:
            log.warning("%s", refusal)
            self._note(refusal, received.run)
            return _refused(received, Refusal.ANOTHER_APP)
        objects = self._connection.objects_of(received)
        order = Order(
            node=self._connection.node, run=received.run, message_id=received.tree.object_id, objects=objects
        )
        try:
            return TakenApart.from_frames(answer_apart(order, limit_s=round_limit_s(self._home)))
        except RoundTooLong as error:
            log.warning("%s", error)
            return _refused(received, Refusal.NOT_NOW)
        except RoundFailed as error:
            log.warning("%s", error)
            return _error(received, _CRASHED, Refusal.FAILED.word)

    def _note(self, refusal: BundleRefused, run: int) -> None:
        # What runs students is not needed until then, and takes memory.
        from fedstill_client.privacy.refusals import note_refusal
        from fedstill_client.store import PrivateStore

        try:
            with PrivateStore.open(self._home) as store:
                note_refusal(store.ledger, str(refusal), run=str(run), round=0)
        except FedstillError as error:
            log.warning("the refusal is not in the ledger: %s", error)

    def _check_bundle(self, run: int) -> None:
        if run == self._known_run:
            return
        digest, known = self._connection.bundle_of(run), bundle_digest()
        if digest != known:
            raise BundleRefused(
                f"rule 'only the installed app': run {run} comes with the app bundle {digest[:64]!r}, and "
                f"only {known[:16]}..., which holds no code, is accepted; it was neither fetched nor run"
            )
        self._known_run = run


def deactivate_node(home: AgentHome) -> bool:
    """Deactivate the node that this device was; False where it was none, or was gone already.

    A SuperLink takes a node for present until its heartbeats have been missing for a minute, and lets no
    second one of the same key in. So a device that is back after ten seconds would wait for its own ghost to
    pass away.
    """
    node = read_node(home)
    if node is None:
        return False
    # Where the server does not answer, or knows of no ghost, activation finds out by itself.
    with _client(home) as client, contextlib.suppress(httpx.HTTPError, RuntimeError, FedstillError):
        client.DeactivateNode(DeactivateNodeRequest(node_id=node))
        return True
    return False


def run(home: AgentHome) -> None:
    """Answer messages until the process is ended."""
    deactivate_node(home)
    with FleetConnection.of(home) as connection:
        log.info("node %d", connection.node)
        answering = Answering(home, connection)
        while True:
            try:
                if not answering.answer_next():
                    time.sleep(_LOOK_EVERY_S)
            except RunNotRunningException:
                log.info("the run is over; its message is left alone")
            except (httpx.HTTPError, FedstillError, ValueError) as error:
                log.warning("message left alone: %s: %s", type(error).__name__, error)
                time.sleep(_LOOK_EVERY_S)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)
    run(AgentHome(Path(os.environ[DEVICE_FOLDER_VARIABLE])))


def _end(*_: Any) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # once is enough
    sys.exit(0)


def _refused(received: Received, refusal: Refusal) -> TakenApart:
    return _error(received, refusal.code, refusal.word)


def _error(received: Received, code: int, reason: str) -> TakenApart:
    return take_apart(Message(Error(code, reason), reply_to=received.message))


def _client(home: AgentHome) -> FleetHttpClient:
    key = _key(home)
    return _Client.from_server_address(
        server_address=Membership.read(home).address,
        insecure=False,
        root_certificates=authority_file(home).read_bytes(),
        interceptors=[
            RuntimeVersionHttpInterceptor(component_name="SuperNode"),
            NodeAuthHttpInterceptor(key, key.public_key()),
        ],
    )


def _key(home: AgentHome) -> ec.EllipticCurvePrivateKey:
    key = load_ssh_private_key(device_key(home).read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)  # enrol made it
    return key


if __name__ == "__main__":
    main()

"""A relay over Flower's network: a node of the server above, and the ServerApp of its own SuperLink."""

from __future__ import annotations

import functools
import logging
import time
from pathlib import Path

# Before flwr: it switches flwr's telemetry and update check off.
import fedstill_proto  # noqa: F401  # isort: skip
from fedstill_proto.errors import FedstillError, WireError
from fedstill_proto.flower_objects import assemble, take_apart
from fedstill_proto.refusal import Refusal
from fedstill_proto.system.fleet_http import NodeError, NotLetIn
from fedstill_proto.system.flower_node import FleetConnection
from flwr.app import Error, Message
from flwr.serverapp import Grid

from fedstill_server.fleet.bounded_grid import bounded
from fedstill_server.fleet.nodes import read_nodes
from fedstill_server.fleet.pace_steering import write_release_above
from fedstill_server.relay.folder import RelayFolder
from fedstill_server.relay.letters import LETTERS_LIMIT_BYTES
from fedstill_server.relay.relayed_grid import RelayedGrid
from fedstill_server.relay.serving import FromAbove, Relay

_LOOK_EVERY_S = 0.5
_AGAIN_S = 10.0

log = logging.getLogger("fedstill.relay")


class ServerAbove:
    """The connection to the server above, as a relay uses it."""

    def __init__(self, connection: FleetConnection) -> None:
        self._connection = connection

    def receive(self) -> FromAbove | None:
        """The next message, if there is one; what cannot be read is refused here."""
        received = self._connection.receive()
        if received is None:
            return None
        try:
            objects = self._connection.objects_of(received)
            message = assemble(received.tree.object_id, objects, size_limit_bytes=LETTERS_LIMIT_BYTES)
            if not message.has_content():
                raise WireError("message", "it has no content")
        except WireError as error:
            log.warning("a message of the server above was refused: %s", error)
            refusal = Refusal.UNREADABLE
            self.reply(Message(Error(refusal.code, refusal.word), reply_to=received.message))
            return None
        return FromAbove(received.message, message.content)

    def reply(self, reply: Message) -> None:
        """Send a reply."""
        self._connection.send(take_apart(reply), seconds=0.0)


def serve_relay(grid: Grid, folder: Path) -> None:
    """Relay until the process is ended.

    Args:
        grid: Flower's own, of the relay's SuperLink.
        folder: The relay's.
    """
    relay_folder = RelayFolder.open(folder)
    registered = functools.partial(read_nodes, relay_folder.fleet.nodes)
    below = RelayedGrid(bounded(grid, folder, registered), registered)
    while True:
        try:
            _relay_as_node(relay_folder, below)
        except (NodeError, NotLetIn) as error:  # it is not registered, or no more
            log.warning("the server above: %s", error)
            time.sleep(_AGAIN_S)


def _relay_as_node(relay_folder: RelayFolder, below: RelayedGrid) -> None:
    """Relay as long as the server above lets this node in; raises NotLetIn where it does not."""
    access = relay_folder.access
    if (before := relay_folder.node()) is not None:
        access.deactivate(before)
    with FleetConnection.of(access) as connection:
        relay_folder.write_node(connection.node)
        release = 0
        relay = Relay(ServerAbove(connection), below, below.registered)
        while True:
            try:
                heard = relay.step()
            except NotLetIn:
                raise
            except FedstillError as error:
                log.warning("the relay goes on after %s: %s", type(error).__name__, error)
                heard = False
            if connection.heard.release != release:  # its devices are to look at once, too
                release = connection.heard.release
                write_release_above(relay_folder.fleet.folder, release)
            if not heard:
                time.sleep(_LOOK_EVERY_S)

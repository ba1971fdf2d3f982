"""The ServerApp's Grid: takes no more of a reply than it may have, and waits for none that is not there.

Flower's own Grid pulls whatever a device has announced, puts it together, and only then hands it on: a reply
of 400 MiB takes twice that much memory before the gate sees it, and one that was announced and never sent
stops all rounds for minutes. This one counts the objects of a reply before it asks for any, and their bytes
as they come; what is too large is deleted on the SuperLink, and handed on as an error. What is not there yet
is looked for at the next pull.

Beside flower.py and superlink.py this module uses names which Flower keeps for itself; those of 1.41 and 1.42
are the same.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

# Before flwr: it switches flwr's telemetry and update check off.
import fedstill_proto  # noqa: F401  # isort: skip
from fedstill_proto.errors import WireError
from fedstill_proto.flower_objects import assemble
from fedstill_proto.message_pieces import Gathering
from flwr.app import Error, Message, Metadata
from flwr.app.message import make_message
from flwr.common.serde import message_from_proto
from flwr.proto.message_pb2 import ConfirmMessageReceivedRequest, PullObjectRequest
from flwr.proto.runtime_pb2 import PullAppMessagesRequest
from flwr.superlink.grid.http_grid import HttpGrid

from fedstill_server.fleet.reply_limit import RELAY_LIMIT_BYTES, write_reply_limit
from fedstill_server.rounds.roster import NodeRegister
from fedstill_server.rounds.transport import REPLY_TOO_LARGE, REPLY_UNREADABLE

_ARRIVES_WITHIN_S = 120.0
_UNAVAILABLE = 3  # Flower's own code for a reply that was announced and did not come


class BoundedGrid(HttpGrid):
    """Flower's Grid of a real fleet, with bounded replies."""

    def __init__(self, grid: HttpGrid, folder: Path, registered: NodeRegister) -> None:
        """Take the place of Flower's own.

        Args:
            grid: Flower's own, which is not used any more.
            folder: The fleet's folder; the limit is written there for the SuperLink, which refuses more.
            registered: Tells which nodes are relays; their replies may be larger.
        """
        vars(self).update(vars(grid))
        self._folder, self._registered = folder, registered
        self._size_limit_bytes = 0
        self._arriving: dict[str, _Arriving] = {}  # by the message that asked

    def get_node_ids(self) -> list[int]:
        """The nodes that are there and registered: one that was revoked may seem to be there for a minute."""
        registered = self._registered()
        return [node for node in super().get_node_ids() if node in registered]

    def limit_replies(self, size_limit_bytes: int) -> None:
        """From now on take replies of so many bytes, and what little is around them."""
        if size_limit_bytes != self._size_limit_bytes:
            self._size_limit_bytes = size_limit_bytes
            write_reply_limit(self._folder, size_limit_bytes)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """The replies to these messages that are here, whole; errors in place of those that are too large."""
        asked = list(message_ids)
        replies = self._announced(asked)
        wanted = set(asked)
        for asked_by, arriving in list(self._arriving.items()):
            if asked_by in wanted and (reply := self._received(arriving)) is not None:
                replies.append(reply)
            elif asked_by in wanted and time.monotonic() < arriving.until:
                continue
            elif asked_by in wanted:
                self._delete(arriving.root)
                replies.append(_error(arriving.metadata, _UNAVAILABLE, "announced, and not sent"))
            elif time.monotonic() < arriving.until:
                continue  # it may be asked for again
            del self._arriving[asked_by]
        return replies

    def _announced(self, asked: list[str]) -> list[Message]:
        """Note what has been announced; returns the errors among it."""
        # What was announced has been handed over: asked for it again, the SuperLink says that it is gone.
        new = [message_id for message_id in asked if message_id not in self._arriving]
        if not new:
            return []
        response = self._runtime_client.PullMessages(PullAppMessagesRequest(message_ids=new))
        errors = []
        relays = {node for node, known in self._registered().items() if known.relay_devices}
        for announced, tree in zip(response.messages_list, response.message_object_trees, strict=True):
            message = message_from_proto(announced)
            limit = RELAY_LIMIT_BYTES if message.metadata.src_node_id in relays else self._size_limit_bytes
            try:
                gathering = Gathering(tree, size_limit_bytes=limit)
            except WireError as error:
                errors.append(self._refused(message.metadata, tree.object_id, error))
                continue
            asked_by = str(message.metadata.reply_to_message_id)
            self._arriving[asked_by] = _Arriving(message.metadata, tree.object_id, gathering, limit)
        return errors

    def _received(self, arriving: _Arriving) -> Message | None:
        """The reply, if all of it is here, or the error that it is; None while something is missing."""
        metadata, root = arriving.metadata, arriving.root
        try:
            if not arriving.gathering.pull(self._pull):
                return None
            message = assemble(root, arriving.gathering.objects, size_limit_bytes=arriving.limit_bytes)
        except WireError as error:
            return self._refused(metadata, root, error)
        self._delete(root)
        # What SuperLink has checked, not what the device has written into the message's own bytes.
        content = {"error": message.error} if message.has_error() else {"content": message.content}
        return make_message(metadata=metadata, **content)

    def _pull(self, name: str) -> bytes | None:
        request = PullObjectRequest(node=self.node, run_id=self.run.run_id, object_id=name)
        response = self._runtime_client.PullObject(request)
        if not response.object_found:
            raise WireError("message", "an object of it is gone")
        return bytes(response.object_content) if response.object_available else None

    def _refused(self, metadata: Metadata, root: str, error: WireError) -> Message:
        self._delete(root)
        code = REPLY_TOO_LARGE if "limit" in error.problem else REPLY_UNREADABLE
        return _error(metadata, code, str(error))

    def _delete(self, root: str) -> None:
        """Have the SuperLink delete the objects of a reply."""
        request = ConfirmMessageReceivedRequest(
            node=self.node, run_id=self.run.run_id, message_object_id=root
        )
        self._runtime_client.ConfirmMessageReceived(request)


class _Arriving:
    """A reply that was announced, and what is here of it."""

    def __init__(self, metadata: Metadata, root: str, gathering: Gathering, limit_bytes: int) -> None:
        self.metadata, self.root, self.gathering, self.limit_bytes = metadata, root, gathering, limit_bytes
        self.until = time.monotonic() + _ARRIVES_WITHIN_S


def bounded(grid: Any, folder: Path, registered: NodeRegister) -> Any:
    """A Grid with bounded replies, if this one is a real fleet's."""
    return BoundedGrid(grid, folder, registered) if isinstance(grid, HttpGrid) else grid


def _error(metadata: Metadata, code: int, reason: str) -> Message:
    return make_message(metadata=metadata, error=Error(code, reason))

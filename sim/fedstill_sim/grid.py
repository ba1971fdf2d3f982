"""A Flower Grid inside one process: all messages of a push go to one handler, which answers them together.

It runs the unmodified ServerApp object: `app(grid, grid.context(run_config={...}))`. Three names in here are
private to flwr (`TaskIdentity`, `Run.create_empty`, `_message_id`): Flower gives no public way to make a Grid
of one's own, and no other file of the project may use them.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import fedstill_proto.records  # noqa: F401  (sets the environment that flwr reads when it is imported)
from fedstill_proto.errors import FedstillError
from flwr.app import Context, Error, Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

SERVER_NODE_ID = 1
FIRST_DEVICE_NODE_ID = 2  # device d is node FIRST_DEVICE_NODE_ID + d

# (devices, the contents of their messages) -> one answer each, in the same order
Handler = Callable[[Sequence[int], Sequence[RecordDict]], Sequence[RecordDict | Error]]


class GridError(FedstillError):
    """A message that no virtual device can receive or answer."""


class InProcessGrid(Grid):
    """Virtual devices behind one handler for each message type ("query.hello", "train", "evaluate")."""

    def __init__(self, *, devices: int, handlers: Mapping[str, Handler], run_id: int = 1) -> None:
        self._devices = devices
        self._handlers = handlers
        self._run = Run.create_empty(run_id)
        self._sequence = itertools.count(1)
        self._replies: dict[str, Message] = {}
        TaskIdentity.run_id = run_id
        TaskIdentity.task_id = 1
        TaskIdentity.node_id = SERVER_NODE_ID

    def context(self, *, run_config: Mapping[str, str | float | int | bool] | None = None) -> Context:
        """The context that Flower would hand to the ServerApp."""
        return Context(
            run_id=self._run.run_id,
            node_id=SERVER_NODE_ID,
            node_config={},
            state=RecordDict(),
            run_config=dict(run_config or {}),
        )

    def set_run(self, run: Run) -> None:
        """Set the run that messages belong to."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run that messages belong to."""
        return self._run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """A message to one node (Flower's older way; `Message(...)` does the same)."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> list[int]:
        """Every virtual device's node."""
        return list(range(FIRST_DEVICE_NODE_ID, FIRST_DEVICE_NODE_ID + self._devices))

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Have every message answered by its type's handler; the answers wait to be pulled."""
        pushed = list(messages)
        by_type: dict[str, list[Message]] = defaultdict(list)
        for message in pushed:
            message.metadata.__dict__["_message_id"] = f"message-{next(self._sequence)}"
            by_type[message.metadata.message_type].append(message)
        for message_type, batch in by_type.items():
            self._answer(message_type, batch)
        return [message.metadata.message_id for message in pushed]

    def _answer(self, message_type: str, batch: list[Message]) -> None:
        handler = self._handlers.get(message_type)
        if handler is None:
            known = ", ".join(sorted(self._handlers))
            raise GridError(f"no virtual device answers messages of type {message_type!r}; known: {known}")
        devices = [message.metadata.dst_node_id - FIRST_DEVICE_NODE_ID for message in batch]
        unknown = [device for device in devices if not 0 <= device < self._devices]
        if unknown:
            raise GridError(f"message to node {unknown[0] + FIRST_DEVICE_NODE_ID}: not a node of this fleet")
        answers = handler(devices, [message.content for message in batch])
        for message, answer in zip(batch, answers, strict=True):
            self._replies[message.metadata.message_id] = Message(answer, reply_to=message)

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """The answers to these messages; each answer is handed out once."""
        return [reply for name in message_ids if (reply := self._replies.pop(name, None)) is not None]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Push and pull; there is nothing to wait for."""
        return self.pull_messages(self.push_messages(messages))

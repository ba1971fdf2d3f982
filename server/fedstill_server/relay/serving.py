"""What a relay does: hands the server's messages to its devices, and gives their replies back in batches.

It has no state on disk. One that is started anew tells so by another session, and the server above sends
again what had not been answered. Devices answer a round that they have done already with the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
from collections import deque
from dataclasses import dataclass
from typing import Protocol

# Before flwr: it switches flwr's telemetry and update check off.
import fedstill_proto  # noqa: F401  # isort: skip
from fedstill_proto.errors import WireError
from fedstill_proto.refusal import Refusal
from flwr.app import Error, Message, RecordDict
from flwr.serverapp import Grid

from fedstill_server.relay.letters import (
    RELAY_TYPE,
    Content,
    Letter,
    Members,
    MembersReply,
    RelayMember,
    Send,
    SendReply,
    Take,
    TakeReply,
    Told,
    batches,
    packed,
    read_any,
)
from fedstill_server.rounds.clock import clock_of
from fedstill_server.rounds.roster import NodeRegister
from fedstill_server.rounds.transport import LimitedGrid, push

log = logging.getLogger("fedstill.relay")

_LOST = 3  # Flower's own code for a message, or a reply, that is not there any more
_PATIENCE_S = 20.0  # a question that there is nothing to answer to is answered then
_GATHERING_S = 1.0  # so long replies are gathered before a batch of them goes up, unless all are here
_FORGOTTEN_AFTER_S = 3600.0  # a message that no device has answered


@dataclass(frozen=True)
class FromAbove:
    """A message of the server above."""

    message: Message  # what a reply refers to
    content: RecordDict


class Above(Protocol):
    """The connection to the server above."""

    def receive(self) -> FromAbove | None:
        """The next message, if there is one."""
        ...

    def reply(self, reply: Message) -> None:
        """Send a reply."""
        ...


@dataclass(frozen=True)
class _Waiting:
    """A question that is answered when there is something to say."""

    asked: FromAbove
    told: Members | Take
    since_s: float


class Relay:
    """A relay between a server above and the devices of a Grid."""

    def __init__(self, above: Above, below: Grid, registered: NodeRegister) -> None:
        """Begin a session.

        Args:
            above: The connection to the server.
            below: Reaches the devices.
            registered: Tells the name of each of their nodes.
        """
        self._above, self._below, self._registered = above, below, registered
        self._clock = clock_of(below)
        self._session = secrets.token_hex(8)
        self._members: tuple[RelayMember, ...] = ()
        self._digest = ""
        self._waiting: dict[type[Told], _Waiting] = {}  # at most one of each kind: the newest
        self._at_devices: dict[str, tuple[str, float]] = {}  # by the message to a device: the letter, since
        self._answered: deque[Letter] = deque()
        self._batch: TakeReply = TakeReply(self._session, 0)

    def step(self) -> bool:
        """Do what there is to do; returns whether the server above had anything to say."""
        self._list_members()
        heard = self._hear()
        self._gather()
        self._answer()
        return heard

    def _hear(self) -> bool:
        received = self._above.receive()
        if received is None:
            return False
        metadata = received.message.metadata
        try:
            if metadata.message_type != RELAY_TYPE:
                raise WireError("message_type", f"{metadata.message_type[:64]!r}, and this node is a relay")
            told = read_any(received.content)
            if isinstance(told, Send):
                self._send(told)
                self._reply(received, SendReply(self._session))
            elif isinstance(told, Members | Take):
                self._waiting[type(told)] = _Waiting(received, told, self._clock.now_s())
            else:
                raise WireError("says", f"{type(told).__name__} is no question")
        except WireError as error:
            log.warning("a message of the server above was refused: %s", error)
            refusal = Refusal.UNREADABLE
            self._above.reply(Message(Error(refusal.code, refusal.word), reply_to=received.message))
        return True

    def _send(self, told: Send) -> None:
        if isinstance(self._below, LimitedGrid) and told.reply_limit_bytes:
            self._below.limit_replies(told.reply_limit_bytes)
        here = {member.node for member in self._members}
        letters = []
        for letter in told.letters:
            if letter.node in here and isinstance(letter.content, RecordDict):
                letters.append(letter)
            else:
                self._answered.append(Letter(letter.name, Error(_LOST, "no such device is here")))
        messages = [
            Message(RecordDict(dict(letter.content)), letter.node, letter.kind, group_id=letter.group)
            for letter in letters
            if isinstance(letter.content, RecordDict)
        ]
        now_s = self._clock.now_s()
        for letter, name in zip(letters, push(self._below, messages).message_ids, strict=True):
            if name is None:
                self._answered.append(
                    Letter(letter.name, Error(_LOST, "the relay's network did not take it"))
                )
            else:
                self._at_devices[name] = letter.name, now_s

    def _gather(self) -> None:
        replies = list(self._below.pull_messages(list(self._at_devices))) if self._at_devices else []
        for reply in replies:
            letter, _ = self._at_devices.pop(str(reply.metadata.reply_to_message_id), ("", 0.0))
            if letter:
                content: Content = reply.error if reply.has_error() else reply.content
                self._answered.append(Letter(letter, content))
        before_s = self._clock.now_s() - _FORGOTTEN_AFTER_S
        for name in [name for name, (_, since_s) in self._at_devices.items() if since_s < before_s]:
            self._answered.append(Letter(self._at_devices.pop(name)[0], Error(_LOST, "no answer")))

    def _list_members(self) -> None:
        known = self._registered()
        present = sorted(set(self._below.get_node_ids()) & known.keys())
        self._members = tuple(
            RelayMember(node, known[node].name, known[node].activated_at) for node in present
        )
        rows = [[member.node, member.name, member.activated_at] for member in self._members]
        self._digest = hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    def _answer(self) -> None:
        """Answer the questions that there is something to say to, or that have waited long."""
        for kind, waiting in list(self._waiting.items()):
            waited_s = self._clock.now_s() - waiting.since_s
            told = (
                self._members_reply(waiting.told, waited_s)
                if isinstance(waiting.told, Members)
                else self._take_reply(waiting.told, waited_s)
            )
            if told is not None:
                del self._waiting[kind]
                self._reply(waiting.asked, told)

    def _members_reply(self, told: Members, waited_s: float) -> MembersReply | None:
        if told.known != self._digest:
            return MembersReply(self._session, self._digest, self._members)
        return MembersReply(self._session, self._digest, None) if waited_s > _PATIENCE_S else None

    def _take_reply(self, told: Take, waited_s: float) -> TakeReply | None:
        if told.session != self._session:
            return TakeReply(self._session, 0)
        if told.batch == self._batch.batch:
            return self._batch  # it has not arrived
        if self._answered and (not self._at_devices or waited_s > _GATHERING_S):
            letters = next(batches(tuple(self._answered)))
            for _ in letters:
                self._answered.popleft()
            self._batch = TakeReply(self._session, told.batch, letters)
            return self._batch
        return TakeReply(self._session, 0) if waited_s > _PATIENCE_S else None

    def _reply(self, asked: FromAbove, told: Told) -> None:
        self._above.reply(Message(packed(told), reply_to=asked.message))

"""A Grid on which each device behind a relay is a node: what sends tasks and takes answers sees no relays.

Messages to devices of a relay go to it in one message, and their replies come back in batches (letters.py).
So a round, its gate and its consensus are the same, bit for bit, as over devices without a relay. A device
goes by its relay's name, a slash, and the name under which the relay has registered it.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

# Before flwr: it switches flwr's telemetry and update check off.
import fedstill_proto  # noqa: F401  # isort: skip
from fedstill_proto.errors import WireError
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
    named_under,
    packed,
    read_any,
)
from fedstill_server.rounds.clock import Clock, ClockedGrid, SettableClock, clock_of
from fedstill_server.rounds.roster import NodeRegister, RegisteredNode
from fedstill_server.rounds.transport import LimitedGrid, push

log = logging.getLogger("fedstill.relay")

_PREFIX = "relayed."
_LOST = 3  # Flower's own code for a message, or a reply, that is not there any more
_MOST_UNWANTED = 100_000  # replies that nobody has asked for yet
_ANSWERS_WITHIN_S = 60.0  # of a relay, in which long polls have their time


@dataclass
class _Relay:
    """What the server knows of a relay.

    Attributes:
        node: Its own node.
        name: The name under which its key is registered.
        most_devices: So many devices it may bring.
        activated_at: When it last came up, as Flower reports it.
        session: The relay's, as its newest reply says.
        digest: Of its list of devices.
        members: The list, by virtual node.
        batch: The batch of replies that is asked for next.
        letters: Those that it has not answered, with the session that has taken them over, once it is known.
        asked: What it is asked, by message.
    """

    node: int
    name: str
    most_devices: int
    activated_at: str = ""
    session: str = ""
    digest: str = ""
    members: dict[int, RelayMember] = field(default_factory=dict)
    batch: int = 1
    letters: dict[str, str] = field(default_factory=dict)
    asked: dict[str, _Asked] = field(default_factory=dict)

    def is_asked(self, kind: type[Told]) -> bool:
        return any(isinstance(asked.told, kind) for asked in self.asked.values())

    def forget_polls(self) -> None:
        """Nobody will answer them: who was asked has ended."""
        self.asked = {name: asked for name, asked in self.asked.items() if isinstance(asked.told, Send)}

    def virtual(self, member: RelayMember) -> int:
        """The node that a device behind the relay is to the server, the same after each start."""
        digest = hashlib.sha256(f"{self.node}/{member.node}".encode()).digest()
        return int.from_bytes(digest[:8], "big") >> 1


@dataclass(frozen=True)
class _Asked:
    """A message to a relay without a reply, and until when it is waited for."""

    told: Told
    until_s: float


class RelayedGrid(Grid):
    """A Grid over the devices of another one, and over those behind its relays."""

    def __init__(self, grid: Grid, registered: NodeRegister) -> None:
        """Put it before another Grid.

        Args:
            grid: Reaches devices and relays.
            registered: Tells which nodes are registered, and which of them are relays.
        """
        self._grid, self._register = grid, registered
        self._clock: Clock = clock_of(grid)
        self._relays: dict[int, _Relay] = {}
        self._present: set[int] = set()
        self._open: dict[str, Message] = {}  # letters without a reply, as they were sent
        self._arrived: dict[str, Message] = {}
        self._reply_limit_bytes = 0
        # Of this start; what an earlier one has sent cannot be told apart any more.
        self._names = (f"{_PREFIX}{secrets.token_hex(6)}.{number}" for number in itertools.count())

    @property
    def clock(self) -> SettableClock | None:
        """The other Grid's."""
        return self._grid.clock if isinstance(self._grid, ClockedGrid) else None

    def limit_replies(self, size_limit_bytes: int) -> None:
        """From now on take replies of so many bytes from a device."""
        self._reply_limit_bytes = size_limit_bytes
        if isinstance(self._grid, LimitedGrid):
            self._grid.limit_replies(size_limit_bytes)

    def registered(self) -> dict[int, RegisteredNode]:
        """The nodes of all registered devices, those behind relays included."""
        nodes = {node: known for node, known in self._register().items() if not known.relay_devices}
        for relay in self._relays.values():
            for node, member in relay.members.items():
                nodes[node] = RegisteredNode(f"{relay.name}/{member.name}", member.activated_at)
        return nodes

    def get_node_ids(self) -> list[int]:
        """The nodes of the devices that are there."""
        self._present = set(self._grid.get_node_ids())
        self._exchange()
        direct = self._present - self._relays.keys()
        there = (relay for relay in self._relays.values() if relay.node in self._present)
        return sorted(direct | {node for relay in there for node in relay.members})

    def push_messages(self, messages: Iterable[Message]) -> list[str | None]:  # type: ignore[override]
        """Send messages: those to devices behind a relay go to it together."""
        everything = list(messages)
        relay_of = {node: relay for relay in self._relays.values() for node in relay.members}
        direct = [message for message in everything if message.metadata.dst_node_id not in relay_of]
        names = iter(push(self._grid, direct).message_ids)
        sent: list[str | None] = []
        letters: dict[int, list[Letter]] = {}
        for message in everything:
            metadata = message.metadata
            relay = relay_of.get(metadata.dst_node_id)
            if relay is None:
                sent.append(next(names))
                continue
            name = next(self._names)
            metadata.__dict__["_message_id"] = name
            self._open[name] = message
            member = relay.members[metadata.dst_node_id]
            letter = Letter(name, message.content, member.node, metadata.message_type, metadata.group_id)
            letters.setdefault(relay.node, []).append(letter)
            relay.letters[name] = ""
            sent.append(name)
        self._tell(
            (self._relays[node], Send(batch, self._reply_limit_bytes))
            for node, of_relay in letters.items()
            for batch in batches(of_relay)
        )
        return sent

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """The replies to these messages that are here."""
        asked = list(message_ids)
        own = [name for name in asked if name.startswith(_PREFIX)]
        direct = [name for name in asked if not name.startswith(_PREFIX)]
        replies = list(self._grid.pull_messages(direct)) if direct else []
        if own:
            self._exchange()
        for name in own:
            if name in self._arrived:
                replies.append(self._arrived.pop(name))
            elif name not in self._open:
                replies.append(_lost(_stub(name), "sent by a server that has ended"))
        return replies

    def _exchange(self) -> None:
        """Take what relays have replied, and ask them for more."""
        self._note_relays()
        names = [name for relay in self._relays.values() for name in relay.asked]
        for reply in self._grid.pull_messages(names) if names else []:
            self._take(reply)
        now_s = self._clock.now_s()
        questions: list[tuple[_Relay, Told]] = []
        for relay in self._relays.values():
            for name in [name for name, asked in relay.asked.items() if asked.until_s < now_s]:
                self._failed(relay, relay.asked.pop(name).told, "the relay does not answer")
            if relay.node not in self._present:
                continue
            if not relay.is_asked(Members):
                questions.append((relay, Members(relay.digest)))
            if relay.letters and not relay.is_asked(Take):
                questions.append((relay, Take(relay.session, relay.batch)))
        self._tell(questions)

    def _note_relays(self) -> None:
        known = {node: one for node, one in self._register().items() if one.relay_devices}
        for node in self._relays.keys() - known.keys():
            self._lose(
                self._relays[node], list(self._relays[node].letters), "the relay is registered no more"
            )
            del self._relays[node]
        for node, one in known.items():
            relay = self._relays.setdefault(node, _Relay(node, one.name, one.relay_devices))
            relay.most_devices = one.relay_devices
            if relay.activated_at != one.activated_at:
                relay.activated_at = one.activated_at
                relay.forget_polls()

    def _tell(self, questions: Iterable[tuple[_Relay, Told]]) -> None:
        asked = list(questions)
        messages = [
            Message(packed(told), relay.node, RELAY_TYPE, ttl=2 * _ANSWERS_WITHIN_S) for relay, told in asked
        ]
        until_s = self._clock.now_s() + _ANSWERS_WITHIN_S
        for (relay, told), name in zip(asked, push(self._grid, messages).message_ids, strict=True):
            if name is None:
                self._failed(relay, told, "the network did not take it to the relay")
            else:
                relay.asked[name] = _Asked(_without_contents(told), until_s)

    def _take(self, reply: Message) -> None:
        name = str(reply.metadata.reply_to_message_id)
        relay = next((relay for relay in self._relays.values() if name in relay.asked), None)
        if relay is None:
            return
        told = relay.asked.pop(name).told
        if reply.has_error():
            self._failed(relay, told, f"the relay: error {reply.error.code}")
            return
        try:
            self._learn(relay, told, read_any(reply.content))
        except WireError as error:
            log.warning("%s: a reply that is none of a relay: %s", relay.name, error)
            self._failed(relay, told, "the relay cannot be understood")

    def _learn(self, relay: _Relay, asked: Told, told: Told) -> None:
        if not isinstance(told, MembersReply | SendReply | TakeReply):
            raise WireError("says", f"{type(told).__name__} is no reply")
        if told.session != relay.session:
            relay.session, relay.batch = told.session, 1
            relay.forget_polls()
            lost = [name for name, session in relay.letters.items() if session not in ("", told.session)]
            self._lose(relay, lost, "the relay was started anew")
        if isinstance(told, SendReply) and isinstance(asked, Send):
            relay.letters |= {
                letter.name: told.session for letter in asked.letters if letter.name in relay.letters
            }
        elif isinstance(told, MembersReply) and told.members is not None:
            self._list(relay, told)
        elif isinstance(told, TakeReply) and told.batch == relay.batch and told.letters:
            relay.batch += 1
            for letter in told.letters:
                self._deliver(relay, letter)

    def _list(self, relay: _Relay, told: MembersReply) -> None:
        members = sorted(told.members or (), key=lambda member: member.name)
        if len(members) > relay.most_devices:
            log.warning(
                "%s: brings %d devices, and may bring %d: the others do not take part",
                relay.name,
                len(members),
                relay.most_devices,
            )
        relay.digest = told.digest
        relay.members = {relay.virtual(member): member for member in members[: relay.most_devices]}

    def _deliver(self, relay: _Relay, letter: Letter) -> None:
        """A reply counts where it is the relay's to give: that of a letter which it was sent, once."""
        if relay.letters.pop(letter.name, None) is None:
            return
        question = self._open.pop(letter.name)
        content: Content = letter.content
        if isinstance(content, RecordDict) and question.metadata.message_type == "query.hello":
            content = named_under(content, relay.name)
        self._arrive(Message(content, reply_to=question))

    def _arrive(self, reply: Message) -> None:
        self._arrived[str(reply.metadata.reply_to_message_id)] = reply
        while len(self._arrived) > _MOST_UNWANTED:  # of rounds that did not wait for it
            del self._arrived[next(iter(self._arrived))]

    def _failed(self, relay: _Relay, told: Told, why: str) -> None:
        if isinstance(told, Send):
            self._lose(relay, [letter.name for letter in told.letters], why)

    def _lose(self, relay: _Relay, names: Sequence[str], why: str) -> None:
        for name in names:
            relay.letters.pop(name, None)
            if (question := self._open.pop(name, None)) is not None:
                self._arrive(_lost(question, why))

    # What Flower's Grid has beside, and no round uses.

    def set_run(self, run: object) -> None:
        self._grid.set_run(run)  # type: ignore[arg-type]

    @property
    def run(self):  # type: ignore[no-untyped-def]
        return self._grid.run

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        raise NotImplementedError("no round waits like this: see rounds/transport.py")


def _without_contents(told: Told) -> Told:
    """What is remembered of a question until its reply: not the tasks in it."""
    if isinstance(told, Send):
        return Send(tuple(Letter(letter.name, RecordDict()) for letter in told.letters))
    return told


def _stub(name: str) -> Message:
    """A message of which nothing is known but its name."""
    message = Message(RecordDict(), 0, "query.unknown")
    message.metadata.__dict__["_message_id"] = name
    return message


def _lost(question: Message, why: str) -> Message:
    return Message(Error(_LOST, why), reply_to=question)

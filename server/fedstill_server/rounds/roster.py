"""Which devices are behind the nodes: each node is greeted once and replies its device's name and family."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fedstill_proto.errors import FedstillError, WireError
from fedstill_proto.flower_records import hello, read_hello_reply
from fedstill_proto.generation import FIRST_GENERATION
from flwr.app import Message
from flwr.serverapp import Grid

from fedstill_server.rounds import events
from fedstill_server.rounds.clock import clock_of
from fedstill_server.rounds.gate import error_text
from fedstill_server.rounds.transport import collect, push

_LOOK_FOR_NODES_S = 1.0
_GREET_BEHIND_EVERY_S = 10.0
_LOST_AFTER_S = 180.0  # a greeting that nobody answers, at the least


class NoDevices(FedstillError):
    """No device that could take part is there."""


@dataclass(frozen=True)
class Member:
    """A device that takes part, the node that reaches it, and whether it would do a round now."""

    device: str
    family: str
    node: int
    willing: bool = True


@dataclass(frozen=True)
class RegisteredNode:
    """A node whose key the operator has registered.

    Attributes:
        name: The name that it goes by.
        activated_at: When it last came up, as Flower reports it.
        relay_devices: How many devices it may bring, where it is a relay; 0 where it is a device.
    """

    name: str
    activated_at: str
    relay_devices: int = 0


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long answers to greetings are waited for.

    Attributes:
        usual_s: Seconds that a device which is there may need.
        most_s: Seconds where fewer than `enough` devices are willing by then.
        enough: So many willing devices do.
    """

    usual_s: float
    most_s: float
    enough: int


# Asked anew each time; None in place of it where nodes are not registered, as in a simulation.
NodeRegister = Callable[[], Mapping[int, RegisteredNode]]


@dataclass
class Roster:
    """The members of a run, by device name. Nodes come and go: `update` before each round.

    Attributes:
        run: The run's name.
        families: The student families that take part.
        registered: Tells the name that a node's key is registered under, and by which it must go.
        members: The devices that take part.
        refused: Why a node was refused; only `ask_anew` greets it again.
        generation: Of the fleet's configuration, whose packages members have.
        behind: Why a device whose package is of another generation was left out; its node is greeted again
            after a while, as it moves over.
    """

    run: str
    families: Sequence[str]
    registered: NodeRegister | None = None
    members: dict[str, Member] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)
    generation: int = FIRST_GENERATION
    behind: dict[int, str] = field(default_factory=dict)
    _greet_behind_at_s: float = 0.0
    _greetings: dict[str, int] = field(default_factory=dict)  # message id -> node without an answer yet
    _greeted_s: dict[int, float] = field(default_factory=dict)  # node -> when it was greeted last
    _names: dict[int, str] = field(default_factory=dict)  # node -> the member behind it
    _came_up: dict[int, RegisteredNode] = field(default_factory=dict)
    _silent: set[int] = field(default_factory=set)  # nodes that have let a deadline of a greeting pass

    @property
    def willing(self) -> dict[str, Member]:
        """The members that would do a round now, as far as they have said so."""
        asked = set(self._greetings.values())
        return {
            name: member
            for name, member in self.members.items()
            if member.willing and member.node not in asked
        }

    def gather(self, grid: Grid, *, wanted: int, deadline_s: float) -> None:
        """Wait until enough devices are there and every greeted node has answered.

        Args:
            grid: Reaches the nodes.
            wanted: How many devices are enough; at least one.
            deadline_s: Seconds from now.

        Raises:
            NoDevices: None took part by the deadline.
        """
        clock = clock_of(grid)
        end = clock.now_s() + deadline_s
        while True:
            self.update(grid, wait_s=end - clock.now_s())
            if len(self.members) >= max(wanted, 1):
                return
            if clock.now_s() >= end:
                break
            clock.wait(_LOOK_FOR_NODES_S, until_s=end)
        if not self.members:
            raise NoDevices(
                f"no device took part within {deadline_s:g} seconds; {self._why_not()} "
                "Check that the devices' SuperNodes run and connect to this SuperLink."
            )

    def drop_absent(self, grid: Grid) -> None:
        """Forget the members whose node has left, and greet nobody."""
        self._keep_present(grid)

    def update(self, grid: Grid, *, wait_s: float = 0.0) -> None:
        """Greet nodes that are new, and drop those that left.

        Args:
            grid: Reaches the nodes.
            wait_s: Seconds to wait for answers; 0 takes those that are there.
        """
        present = self._keep_present(grid)
        if (now_s := clock_of(grid).now_s()) >= self._greet_behind_at_s:
            self.behind.clear()
            self._greet_behind_at_s = now_s + _GREET_BEHIND_EVERY_S
        greeted = {member.node for member in self.members.values()} | self.refused.keys() | self.behind.keys()
        self._greet(grid, sorted(present - greeted - set(self._greetings.values())))
        collect(
            grid,
            waiting=lambda: list(self._greetings),
            receive=self._receive,
            deadline_s=max(0.0, wait_s),
        )

    def ask_anew(self, grid: Grid, patience: Patience, *, fresh_s: float, most: int) -> None:
        """Have devices say whether they would do a round now, and greet nodes that are new.

        Who has let a deadline pass is not waited for again until it has answered.

        Args:
            grid: Reaches the nodes.
            patience: How long to wait for answers.
            fresh_s: Seconds for which a device's word holds.
            most: So many nodes are asked at most; those that were asked longest ago come first.
        """
        now_s = clock_of(grid).now_s()
        present = self._keep_present(grid)
        lost_after_s = max(_LOST_AFTER_S, 1.5 * fresh_s)
        self._forget_what_restarts_lost()
        self._greetings = {
            key: node
            for key, node in self._greetings.items()
            if now_s - self._greeted_s.get(node, -math.inf) < lost_after_s
        }
        stale = [
            node
            for node in present - set(self._greetings.values())
            if now_s - self._greeted_s.get(node, -math.inf)
            >= (_GREET_BEHIND_EVERY_S if node in self.behind else fresh_s)
        ]
        stale.sort(key=lambda node: (self._greeted_s.get(node, -math.inf), node))
        self._greet(grid, stale[:most], ttl_s=2 * lost_after_s)

        def waiting() -> list[str]:
            is_late = clock_of(grid).now_s() - now_s >= patience.usual_s
            if is_late and len(self.willing) >= patience.enough:
                return []
            left = list(self._greetings)
            return left if any(node not in self._silent for node in self._greetings.values()) else []

        collect(grid, waiting=lambda: list(self._greetings), receive=self._receive, deadline_s=0.0)
        collect(grid, waiting=waiting, receive=self._receive, deadline_s=patience.most_s)
        self._silent.update(self._greetings.values())

    def _forget_what_restarts_lost(self) -> None:
        """A node that has come up anew has lost the greeting that it had not answered."""
        came_up = {} if self.registered is None else self.registered()
        for node in self._greeted_s.keys() & came_up.keys():
            if self._came_up.get(node, came_up[node]) != came_up[node]:
                del self._greeted_s[node]
        self._came_up = dict(came_up)

    def _keep_present(self, grid: Grid) -> set[int]:
        """Forget what is known of nodes that have left; returns those that are there."""
        present = set(grid.get_node_ids())
        self.members = {name: member for name, member in self.members.items() if member.node in present}
        self._greetings = {key: node for key, node in self._greetings.items() if node in present}
        self._greeted_s = {node: at for node, at in self._greeted_s.items() if node in present}
        self._names = {node: name for node, name in self._names.items() if node in present}
        self._silent &= present
        return present

    def _greet(self, grid: Grid, nodes: Sequence[int], *, ttl_s: float | None = None) -> None:
        now_s = clock_of(grid).now_s()
        messages = [Message(hello(self.run), node, "query.hello", ttl=ttl_s) for node in nodes]
        for message_id, node in zip(push(grid, messages).message_ids, nodes, strict=True):
            if message_id is not None:
                self._greetings[message_id] = node
                self._greeted_s[node] = now_s

    def _receive(self, replies: Iterable[Message]) -> bool:
        # In the order of nodes: of two that claim one name, the same is refused each time.
        registered = None if self.registered is None else self.registered()
        for reply in sorted(replies, key=lambda reply: self._greetings.get(_asked_by(reply), 0)):
            node = self._greetings.pop(_asked_by(reply), None)
            if node is not None:
                self._admit(node, reply, registered)
        return not self._greetings

    def _admit(self, node: int, reply: Message, registered: Mapping[int, RegisteredNode] | None) -> None:
        for known in (self.refused, self.behind):
            known.pop(node, None)
        self._silent.discard(node)
        self.members.pop(self._names.pop(node, ""), None)  # what it has said before
        if reply.has_error():
            self.refused[node] = error_text(reply)
            return
        try:
            greeting = read_hello_reply(reply.content)
        except WireError as error:
            self.refused[node] = str(error)
            return
        name = greeting.device
        if registered is not None:
            name = registered[node].name if node in registered else ""
        if name != greeting.device:
            self.refused[node] = f"{greeting.device}: this node's key is registered as {name or 'nobody'}"
            return
        facts = {field: value for field, value in vars(greeting).items() if field != "protocol"}
        events.publish(events.DeviceGreeted(node=node, **facts))
        if greeting.generation != self.generation:
            self.behind[node] = (
                f"{greeting.device}: its package is of generation {greeting.generation}, and the fleet's of "
                f"{self.generation}"
            )
        elif greeting.family not in self.families:
            self.refused[node] = f"{greeting.device}: family {greeting.family!r} is not one of this run's"
        elif greeting.device in self.members:
            other = self.members[greeting.device].node
            self.refused[node] = f"{greeting.device}: node {other} already goes by this name"
        else:
            self.members[greeting.device] = Member(greeting.device, greeting.family, node, greeting.willing)
            self._names[node] = greeting.device

    def _why_not(self) -> str:
        if refused := self.refused | self.behind:
            node, why = next(iter(refused.items()))
            return f"{len(refused)} were refused (node {node}: {why})."
        if self._greetings:
            return f"{len(self._greetings)} nodes did not answer."
        return "there were no nodes."


def _asked_by(message: Message) -> str:
    return str(message.metadata.reply_to_message_id)

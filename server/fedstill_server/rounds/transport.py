"""Messages to nodes and their replies, over any Flower Grid.

Flower's own `send_and_receive` cannot stop at a goal and waits three seconds between looks; so messages are
pushed once and replies pulled, ever more slowly, until there is enough or the deadline has come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from flwr.app import Message
from flwr.serverapp import Grid

from fedstill_server.rounds.clock import clock_of

# Codes of errors that stand for replies which the network did not hand on; a device's own end at 110.
REPLY_TOO_LARGE, REPLY_UNREADABLE = 200, 201
_FIRST_PAUSE_S = 0.01
_LONGEST_PAUSE_S = 1.0


@runtime_checkable
class LimitedGrid(Protocol):
    """A Grid that takes no more of a reply than it is told to, as a real fleet's does."""

    def limit_replies(self, size_limit_bytes: int) -> None: ...


@dataclass(frozen=True)
class Sent:
    """What became of a push: each message's id, by place; None where the network did not take it."""

    message_ids: tuple[str | None, ...]


def push(grid: Grid, messages: Sequence[Message]) -> Sent:
    """Send a list (Flower reads it more than once, so never a generator)."""
    if not messages:
        return Sent(())
    returned = list(grid.push_messages(list(messages)))
    if len(returned) == len(messages):
        return Sent(tuple(returned))
    # Some grids leave out what they could not send instead of holding its place.
    taken = set(returned)
    own = (message.metadata.message_id for message in messages)
    return Sent(tuple(message_id if message_id in taken else None for message_id in own))


def collect(
    grid: Grid,
    *,
    waiting: Callable[[], Sequence[str]],
    receive: Callable[[Iterable[Message]], bool],
    deadline_s: float,
    before_each_look: Callable[[], None] = lambda: None,
) -> None:
    """Pull replies and hand them on until there are enough.

    At the deadline there is one last look: a deadline of 0 takes what is there.

    Args:
        grid: Reaches the nodes.
        waiting: The ids of messages without a reply.
        receive: Takes replies, and returns whether there are enough.
        deadline_s: Seconds from now.
        before_each_look: Is called before each pull.
    """
    clock = clock_of(grid)
    end = clock.now_s() + deadline_s
    pause = _FIRST_PAUSE_S
    while True:
        expired = clock.now_s() >= end
        before_each_look()
        asked = waiting()
        if not asked:
            return
        replies = list(grid.pull_messages(asked))
        if replies and receive(replies):
            return
        if expired or not waiting():
            return
        clock.wait(pause, until_s=end)
        pause = _FIRST_PAUSE_S if replies else min(2 * pause, _LONGEST_PAUSE_S)

"""Asks again what got lost on its way: a device lost power, or its connection, while it had a task.

Flower then answers in the device's place. A device that does the same round again answers the same bytes, and
the first answer is asked for no more, so nothing is counted twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flwr.app import Message
from flwr.serverapp import Grid

from fedstill_server.exchange import push
from fedstill_server.ingest import Gate, bytes_in

# Of flwr.common.constant.ErrorCode: the task or its answer is not there (any more), the node was away, the
# process that did the round was killed. A device that refuses a task says so under a code of its own.
_LOST = frozenset({3, 4, 5, 8})
_TIMES = 2  # after the first


class AskingAgain:
    """For one round: the question of each message id, and how to ask it anew."""

    def __init__(self, grid: Grid, gate: Gate, messages: Mapping[str, Callable[[], Message]]) -> None:
        self._grid, self._gate = grid, gate
        self._messages = dict(messages)
        self._left = dict.fromkeys(messages, _TIMES)
        self.sent_bytes = 0

    def instead_of(self, reply: Message) -> bool:
        """Whether `reply` says that a task was lost, and the device is there again and was asked again."""
        before = str(reply.metadata.reply_to_message_id)
        if not reply.has_error() or reply.error.code not in _LOST or self._left.get(before, 0) == 0:
            return False
        if self._gate.questions[before].node not in set(self._grid.get_node_ids()):
            return False
        make, left = self._messages.pop(before), self._left.pop(before)
        message = make()
        (now,) = push(self._grid, [message]).message_ids
        if now is None:
            return False
        self._gate.move(before, now)
        self._messages[now], self._left[now] = make, left - 1
        self.sent_bytes += bytes_in(message)
        return True

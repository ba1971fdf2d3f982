"""Sends a task again that got lost: the device lost power, or its connection, while it had the task.

So is one whose soft labels were coded against what the device holds no more; made anew, they are whole.
Of a task that got lost, Flower answers in the device's place. A device that does the same round again answers
the same bytes, and the answer to the first message is not pulled any more, so nothing is counted twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fedstill_proto.refusal import Refusal
from flwr.app import Message
from flwr.serverapp import Grid

from fedstill_server.rounds.clock import clock_of
from fedstill_server.rounds.gate import Gate, bytes_in
from fedstill_server.rounds.roster import NodeRegister
from fedstill_server.rounds.transport import push

# Values of flwr.common.constant.ErrorCode: the task or its answer is not there (any more), the node was away,
# the process that did the round was killed. A device that refuses a task answers with a code of its own.
_LOST = frozenset({3, 4, 5, 8, Refusal.MISSING_BASE.code})
_RETRIES = 2
_BACK_WITHIN_S = 30.0


class TaskRetry:
    """Retries of one round's tasks, as long as questions of it stay open; made before its tasks are sent."""

    def __init__(self, grid: Grid, registered: NodeRegister | None = None) -> None:
        """Note which nodes are there.

        Args:
            grid: Reaches the nodes.
            registered: Tells when a node last came up; without it, only Flower's error replies count.
        """
        self._grid, self._registered = grid, registered
        self._clock = clock_of(grid)
        self._came_up = self._activations()
        self._messages: dict[str, Callable[[], Message]] = {}
        self._left: dict[str, int] = {}
        self._away: dict[str, tuple[Message, float]] = {}  # Flower's error reply, and until when to wait
        self.sent_bytes = 0

    def watch(self, gate: Gate, messages: Mapping[str, Callable[[], Message]]) -> None:
        """Retry these questions of the gate, by message id; each comes with how to make its message anew."""
        self._gate = gate
        self._messages = {**messages, **self._messages}
        self._left = {**dict.fromkeys(messages, _RETRIES), **self._left}

    @staticmethod
    def reports_lost_task(reply: Message) -> bool:
        """Whether the reply says that its task was lost."""
        return bool(reply.has_error() and reply.error.code in _LOST)

    def retry_lost_task(self, reply: Message) -> bool:
        """Whether `reply` reports a lost task, and the device is asked again, now or when it is back."""
        before = str(reply.metadata.reply_to_message_id)
        if not self.reports_lost_task(reply) or self._left.get(before, 0) == 0:
            return False
        if before in self._away:
            return True
        if self._gate.questions[before].node in set(self._grid.get_node_ids()):
            return self._ask(before)
        self._away[before] = reply, self._clock.now_s() + _BACK_WITHIN_S
        return True

    def retry_returned_nodes(self) -> None:
        """Ask devices again whose nodes have come up anew since they were asked: what they had is gone."""
        self._retry_nodes_away()
        now = self._activations()
        if now == self._came_up:
            return
        changed = {node for node, activated_at in now.items() if activated_at != self._came_up.get(node)}
        self._came_up = now
        for message_id in self._gate.waiting:
            if (
                message_id not in self._away
                and self._gate.questions[message_id].node in changed
                and self._left.get(message_id, 0) > 0
            ):
                self._ask(message_id)

    def _retry_nodes_away(self) -> None:
        waiting = set(self._gate.waiting) if self._away else set()
        self._away = {key: away for key, away in self._away.items() if key in waiting}
        present = set(self._grid.get_node_ids()) if self._away else set()
        for message_id, (reply, until) in list(self._away.items()):
            if self._gate.questions[message_id].node in present:
                del self._away[message_id]
                if not self._ask(message_id):
                    self._gate.admit(reply)
            elif self._clock.now_s() > until:
                del self._away[message_id]
                self._gate.admit(reply)

    def _activations(self) -> dict[int, str]:
        nodes = {} if self._registered is None else self._registered()
        return {node_id: node.activated_at for node_id, node in nodes.items()}

    def _ask(self, before: str) -> bool:
        make, left = self._messages.pop(before), self._left.pop(before)
        message = make()
        (now,) = push(self._grid, [message]).message_ids
        if now is None:
            return False
        self._gate.move(before, now)
        self._messages[now], self._left[now] = make, left - 1
        self.sent_bytes += bytes_in(message)
        return True

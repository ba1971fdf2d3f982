"""A Flower Grid inside one process: all messages of a push go to one handler, which answers them together.

It runs the unmodified ServerApp object: `app(grid, grid.context(run_config={...}))`. Three names in here are
private to flwr (`TaskIdentity`, `Run.create_empty`, `_message_id`): Flower gives no public way to make a Grid
of one's own, and no other file of the project may use them.

Without a schedule every reply is there at once. With one, time is virtual: a device that is gone is not
among the nodes and does not reply, and a summary arrives when its device's seconds have passed; the work
itself is done when the task is pushed, since nothing that comes later changes it. A schedule is asked by
rounds (DeviceSchedule), or by the second and by what is sent (TimedSchedule).
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import fedstill_proto.flower_records  # noqa: F401  (sets the environment that flwr reads when it is imported)
import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import IntArray
from fedstill_proto.errors import FedstillError
from flwr.app import Context, Error, Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

from fedstill_sim.engine.pending_replies import PendingReplies, PendingReply

if TYPE_CHECKING:
    from fedstill_server.rounds.pacing import Pacing

SERVER_NODE_ID = 1
FIRST_DEVICE_NODE_ID = 2  # device d is node FIRST_DEVICE_NODE_ID + d
TRAIN = "train"  # the type of the messages whose work takes virtual time

Handler = Callable[[Sequence[int], Sequence[RecordDict]], Sequence[RecordDict | Error]]
"""(devices, the contents of their messages) -> one reply each, in the same order."""


class GridError(FedstillError):
    """A message goes to no virtual device, or is of a type that none answers."""


class DeviceSchedule(Protocol):
    """When devices are there, and how long they take: fedstill_sim.availability.AvailabilitySchedule."""

    @property
    def seconds(self) -> npt.NDArray[np.float64]:
        """Virtual seconds that each device takes for a round's work: [devices]."""

    def gone(self, round_number: int) -> npt.NDArray[np.bool_]:
        """Which devices do not reply in a round: [devices]."""


@runtime_checkable
class TimedSchedule(Protocol):
    """When devices are there, by the second, and when what they do is done: traces.schedule.TraceSchedule."""

    def there(self, now_s: float) -> npt.NDArray[np.bool_]:
        """Which devices are there: [devices]."""

    def worked_at(
        self, devices: IntArray, began_s: npt.NDArray[np.float64], task_bytes: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """When devices that begin at a second have done their work; infinite where they never do: [n]."""

    def sent_at(
        self, devices: IntArray, worked_s: npt.NDArray[np.float64], answer_bytes: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """When their answers have arrived; infinite where they never do: [n]."""


class VirtualClock:
    """Time that jumps to the next arrival: nobody waits."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self._arrivals: list[float] = []  # a heap
        self._news = False  # whether something has arrived since the last wait

    def now_s(self) -> float:
        """Return the virtual seconds since the run began."""
        return self._now_s

    def start_at(self, seconds: float) -> None:
        """Set the clock to the second at which a stopped run was committed."""
        self._now_s = seconds

    def expect(self, arrival_s: float) -> None:
        """Note that something arrives then, or has just arrived."""
        if arrival_s > self._now_s:
            heapq.heappush(self._arrivals, arrival_s)
        else:
            self._news = True

    def wait(self, pause_s: float, *, until_s: float) -> None:
        """Jump to the next arrival, or to `until_s`; how long the wait was to be does not matter."""
        if self._news:
            self._news = False
            return
        while self._arrivals and self._arrivals[0] <= self._now_s:
            heapq.heappop(self._arrivals)
        self._now_s = max(self._now_s, min(until_s, self._arrivals[0] if self._arrivals else until_s))


class InProcessGrid(Grid):
    """Virtual devices behind one handler for each message type ("query.hello", "train", "evaluate").

    No time passes before `follow_schedule`.
    """

    def __init__(
        self,
        *,
        devices: int,
        handlers: Mapping[str, Handler],
        run_id: int = 1,
    ) -> None:
        self._devices = devices
        self._handlers = handlers
        self._run = Run.create_empty(run_id)
        self._schedule: DeviceSchedule | TimedSchedule | None = None
        self._pacing: Pacing | None = None
        self._pending: PendingReplies | None = None
        self._newest = 0  # the newest round that devices were asked for
        self._pushed: Counter[tuple[str, str, int]] = Counter()
        self._replies: dict[str, tuple[float, Message]] = {}
        self._busy_until: dict[int, float] = {}  # virtual seconds
        self._clock: VirtualClock | None = None
        TaskIdentity.run_id = run_id
        TaskIdentity.task_id = 1
        TaskIdentity.node_id = SERVER_NODE_ID

    def follow_schedule(
        self,
        schedule: DeviceSchedule | TimedSchedule,
        pending_replies: PendingReplies,
        *,
        committed_rounds: int,
        pacing: Pacing | None = None,
    ) -> None:
        """Let virtual time pass from now on.

        Args:
            schedule: When devices are there, and how long they take.
            pending_replies: Where replies are kept until they are due.
            committed_rounds: The rounds that an earlier start of the run has committed.
            pacing: When rounds begin; None is one after the other.
        """
        self._schedule, self._pending, self._newest = schedule, pending_replies, committed_rounds
        self._pacing = pacing
        self._clock = VirtualClock()
        for pending in pending_replies.replies(until_round=committed_rounds):
            self._hold(pending, _as_reply(pending))

    @property
    def clock(self) -> VirtualClock | None:
        """The virtual clock, once `follow_schedule` has been called."""
        return self._clock

    @property
    def pacing(self) -> Pacing | None:
        """When rounds begin, where the schedule says so."""
        return self._pacing

    def _now_s(self) -> float:
        return 0.0 if self._clock is None else self._clock.now_s()

    def context(self, *, run_config: Mapping[str, str | float | int | bool] | None = None) -> Context:
        """Return the context that Flower would hand to the ServerApp."""
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
        """Make a message to one node (Flower's older way; `Message(...)` does the same)."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> list[int]:
        """Return the node of every virtual device that is there."""
        nodes = range(FIRST_DEVICE_NODE_ID, FIRST_DEVICE_NODE_ID + self._devices)
        if self._schedule is None:
            return list(nodes)
        if isinstance(self._schedule, TimedSchedule):
            return (FIRST_DEVICE_NODE_ID + np.flatnonzero(self._schedule.there(self._now_s()))).tolist()
        gone = self._schedule.gone(self._newest)
        return [node for node in nodes if not gone[node - FIRST_DEVICE_NODE_ID]]

    def push_messages(self, messages: Iterable[Message]) -> list[str]:
        """Have every message answered by its type's handler; the replies wait to be pulled.

        Raises:
            GridError: A message goes to no virtual device, or is of a type that none answers.
        """
        pushed = list(messages)
        by_type: dict[str, list[Message]] = defaultdict(list)
        for message in pushed:
            message.metadata.__dict__["_message_id"] = self._message_id(message)
            by_type[message.metadata.message_type].append(message)
        for message_type, batch in by_type.items():
            self._answer(message_type, batch)
        return [message.metadata.message_id for message in pushed]

    def _message_id(self, message: Message) -> str:
        """Return an id that is the same for the same task when a killed run is resumed."""
        data = message.metadata
        key = (data.message_type, data.group_id, data.dst_node_id)
        self._pushed[key] += 1
        return f"{data.message_type}-{data.group_id}-{data.dst_node_id}-{self._pushed[key]}"

    def _answer(self, message_type: str, batch: list[Message]) -> None:
        handler = self._handlers.get(message_type)
        if handler is None:
            known = ", ".join(sorted(self._handlers))
            raise GridError(f"no virtual device answers messages of type {message_type!r}; known: {known}")
        devices = [message.metadata.dst_node_id - FIRST_DEVICE_NODE_ID for message in batch]
        unknown = [device for device in devices if not 0 <= device < self._devices]
        if unknown:
            raise GridError(f"message to node {unknown[0] + FIRST_DEVICE_NODE_ID}: not a node of this fleet")
        if self._schedule is not None:
            there = self._who_answers(self._schedule, message_type, batch, devices)
            batch, devices = [batch[place] for place in there], [devices[place] for place in there]
        schedule = self._schedule
        if isinstance(schedule, TimedSchedule) and message_type == TRAIN:
            self._answer_in_time(schedule, handler, batch, devices)
            return
        answers = handler(devices, [message.content for message in batch]) if batch else []
        if schedule is None or isinstance(schedule, TimedSchedule) or message_type != TRAIN:
            for message, answer in zip(batch, answers, strict=True):
                reply = Message(answer, reply_to=message)
                self._replies[message.metadata.message_id] = (self._now_s(), reply)
            if self._clock is not None:
                self._clock.expect(self._now_s())
            return
        # A device does one thing after the other: what it is late with first.
        began_s = [max(self._now_s(), self._busy_until.get(device, 0.0)) for device in devices]
        due_s = np.array(began_s) + schedule.seconds[devices]
        self._keep(batch, due_s.tolist(), devices, answers)

    def _answer_in_time(
        self, schedule: TimedSchedule, handler: Handler, batch: list[Message], devices: list[int]
    ) -> None:
        """Have the devices work that are not interrupted; an answer arrives once it is sent.

        A device that is interrupted before its work is done has learned nothing; one whose answer does not
        arrive has.
        """
        numbers = np.array(devices, np.int64)
        outcomes = np.zeros(len(devices), np.int64)
        rounds = [int(message.metadata.group_id) for message in batch]
        began_s = np.array([max(self._now_s(), self._busy_until.get(device, 0.0)) for device in devices])
        worked_s = schedule.worked_at(numbers, began_s, _bytes_of([message.content for message in batch]))
        done = np.flatnonzero(np.isfinite(worked_s))
        batch, numbers, worked_s = [batch[place] for place in done], numbers[done], worked_s[done]
        answers = handler(numbers.tolist(), [message.content for message in batch]) if batch else []
        due_s = schedule.sent_at(numbers, worked_s, _bytes_of(answers))
        sent = np.flatnonzero(np.isfinite(due_s))
        outcomes[done] = 1
        outcomes[done[sent]] = 2
        assert self._pending is not None
        self._pending.note_work(zip(rounds, devices, outcomes.tolist(), strict=True))
        self._keep(
            [batch[place] for place in sent],
            due_s[sent].tolist(),
            numbers[sent].tolist(),
            [answers[place] for place in sent.tolist()],
        )

    def _keep(
        self,
        batch: Sequence[Message],
        due_s: Sequence[float],
        devices: Sequence[int],
        answers: Sequence[RecordDict | Error],
    ) -> None:
        """Keep answers until they are due."""
        pending_replies = [
            PendingReply(
                message.metadata.message_id, int(message.metadata.group_id), float(due), device, answer
            )
            for message, due, device, answer in zip(batch, due_s, devices, answers, strict=True)
        ]
        assert self._pending is not None
        self._pending.put(pending_replies)
        for pending, message in zip(pending_replies, batch, strict=True):
            self._hold(pending, Message(pending.content, reply_to=message))

    def _who_answers(
        self,
        schedule: DeviceSchedule | TimedSchedule,
        message_type: str,
        batch: list[Message],
        devices: list[int],
    ) -> list[int]:
        """Return the places in the batch of the devices that are there until they have replied."""
        if message_type == TRAIN:
            rounds = [int(message.metadata.group_id) for message in batch]
            self._newest = max(self._newest, *rounds)
        else:
            rounds = [self._newest] * len(batch)
        if isinstance(schedule, TimedSchedule):
            there = schedule.there(self._now_s())
            return [place for place, device in enumerate(devices) if there[device]]
        gone = {number: schedule.gone(number) for number in set(rounds)}
        return [
            place
            for place, (number, device) in enumerate(zip(rounds, devices, strict=True))
            if not gone[number][device]
        ]

    def _hold(self, pending: PendingReply, reply: Message) -> None:
        self._replies[pending.message_id] = (pending.due_s, reply)
        self._busy_until[pending.device] = max(self._busy_until.get(pending.device, 0.0), pending.due_s)
        assert self._clock is not None
        self._clock.expect(pending.due_s)

    def pull_messages(self, message_ids: Iterable[str]) -> list[Message]:
        """Return the replies to these messages that have arrived; each reply is handed out once."""
        now_s = self._now_s()
        arrived = [name for name in message_ids if name in self._replies and self._replies[name][0] <= now_s]
        return [self._replies.pop(name)[1] for name in dict.fromkeys(arrived)]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> list[Message]:
        """Push messages, and pull the replies that are there at once."""
        return self.pull_messages(self.push_messages(messages))


def _bytes_of(contents: Sequence[RecordDict | Error]) -> npt.NDArray[np.float64]:
    """The bytes of tasks or summaries, as the server counts them; an error has none: [n]."""
    return np.array([0.0 if isinstance(content, Error) else _bytes_in(content) for content in contents])


def _bytes_in(content: RecordDict) -> float:
    arrays = (array for record in content.array_records.values() for array in record.values())
    return float(sum(len(array.data) for array in arrays))


def _as_reply(pending: PendingReply) -> Message:
    asked = Message(RecordDict(), FIRST_DEVICE_NODE_ID + pending.device, TRAIN, group_id=str(pending.round))
    asked.metadata.__dict__["_message_id"] = pending.message_id
    return Message(pending.content, reply_to=asked)

"""Sends tasks and takes answers in through the gate: what the server does alike in every mode."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from fedstill_proto.arrays import ParameterSpec, parameter_specs
from fedstill_proto.codec.api import Expected, decode_task, encode_task
from fedstill_proto.codec.told_labels import table_told
from fedstill_proto.flower_records import RECORD, pack
from fedstill_proto.messages import RoundTask, SummaryKind
from fedstill_proto.soft_labels.base_table import BaseTable
from flwr.app import ArrayRecord, Message, RecordDict
from flwr.serverapp import Grid

from fedstill_server.config.fleet import FleetConfig
from fedstill_server.methods import Method
from fedstill_server.rounds import events
from fedstill_server.rounds.base_tables import BaseTables
from fedstill_server.rounds.clock import SettableClock, clock_of
from fedstill_server.rounds.gate import Answer, Gate, Question, Reason, bytes_in, left_out
from fedstill_server.rounds.retry import TaskRetry
from fedstill_server.rounds.roster import Member, NodeRegister
from fedstill_server.rounds.round_record import Quarantined
from fedstill_server.rounds.run_store import Checkpoint, Pending
from fedstill_server.rounds.transport import LimitedGrid, collect, push
from fedstill_server.state import FleetState
from fedstill_server.tasks import label_shape


@dataclass(frozen=True)
class EncodedTask:
    """A task and its bytes, made once for all devices that get the same."""

    task: RoundTask
    blob: bytes
    told: BaseTable | None = None  # what its soft labels are coded against

    @property
    def as_received(self) -> RoundTask:
        """The task as devices decode it, where that makes a difference: answers may be coded against it."""
        codec = self.task.request.codec
        if self.task.weight_bits or (codec is not None and codec.delta):
            return decode_task(self.blob, told=lambda run, round_: self.told)
        return self.task

    @functools.cached_property
    def _record(self) -> ArrayRecord:
        record = pack("RoundTask", self.blob)[RECORD]
        assert isinstance(record, ArrayRecord)
        return record

    def message_to(self, node: int, message_type: str) -> Message:
        """Each node has a record dictionary of its own; the bytes in it, which nobody changes, are shared."""
        content = RecordDict({RECORD: self._record})
        return Message(content, node, message_type, group_id=str(self.task.round))


_OVERDUE_ROUNDS = 20  # so long an answer that nobody waits for is still counted as late


@dataclass(frozen=True)
class RoundReplies:
    """What devices replied in a round, in either mode.

    Attributes:
        counted: The answers that are folded, in this order.
        installed: The devices that are known to have a student now.
        present: How many devices were there.
        asked: How many of them were asked.
        asked_by_family: The same by family.
        asked_devices: Their names.
        replied: How many devices replied anything, good or bad.
        overdue: How many answers came too late for their own round.
        late: How many answers were overdue, or good and beyond the goal.
        quarantined: The answers that were left out.
        uplink_bytes: Bytes of all replies.
        downlink_bytes: Bytes of all tasks, those that were sent again included.
        base_tables: What is held of the devices from now on.
        seconds: How long each that was asked took to answer, or was waited for, by the run's clock.
    """

    counted: Sequence[Answer]
    installed: frozenset[str]
    present: int
    asked: int
    asked_by_family: Mapping[str, int]
    asked_devices: frozenset[str]
    replied: int
    overdue: int
    late: int
    quarantined: tuple[Quarantined, ...]
    uplink_bytes: int
    downlink_bytes: int
    base_tables: BaseTables
    seconds: Mapping[str, float] = field(default_factory=dict)


class TaskKey(NamedTuple):
    """What a device's task depends on.

    Attributes:
        family: Of the device's student.
        newcomer: Whether it has none yet.
        base_round: The round whose answer its next one may be coded against.
        told_round: The round whose soft labels the task's are coded against; what the task says is the same.
    """

    family: str
    newcomer: bool
    base_round: int
    told_round: int = 0


class TaskDispatcher:
    """Sends tasks over the whole run: knows what it has asked, and which state each task was made from."""

    def __init__(
        self, grid: Grid, config: FleetConfig, method: Method, registered: NodeRegister | None
    ) -> None:
        self.grid = grid
        self.clock = clock_of(grid)
        self.config = config
        self._registered = registered
        self._retry: TaskRetry | None = None
        self.open: dict[str, Question] = {}  # by message id: asked in earlier rounds and still waited for
        self.overdue: dict[str, Pending] = {}  # not waited for any more; answers are counted, not read
        self._method = method
        self._states: dict[int, FleetState] = {}  # by round
        self._specs: dict[str, tuple[ParameterSpec, ...]] = {}
        self._places = math.prod(label_shape(config))  # labels of an example
        self._size_limit_bytes = 0  # of the largest answer so far

    @property
    def is_timed(self) -> bool:
        """Whether seconds say something of devices: in a real fleet, and where time is virtual."""
        return self._registered is not None or isinstance(self.clock, SettableClock)

    def resume(self, checkpoint: Checkpoint, state_of: Callable[[int], FleetState | None]) -> None:
        """Go on after a checkpoint.

        Args:
            checkpoint: Where the run goes on.
            state_of: Gives the state that a round's tasks were made from, as long as it is kept.
        """
        students = checkpoint.state.students.items()
        self._specs = {family: parameter_specs(student) for family, student in students}
        if isinstance(self.clock, SettableClock):
            self.clock.start_at(checkpoint.clock_s)
        for pending in checkpoint.pending:
            if pending.overdue:
                self.overdue[pending.message_id] = pending
                continue
            if (state := state_of(pending.round)) is not None:
                self._states[pending.round] = state
            # The wall clock has gone on since; such a question gets its time anew.
            asked_s = pending.asked_s if isinstance(self.clock, SettableClock) else self.clock.now_s()
            # Nothing has come from the device since: what is held of it is what was held when it was asked.
            base_round = checkpoint.base_tables.round_of(pending.device)
            expected = self._expected_anew(pending, base_round)
            expected = expected.with_table(checkpoint.base_tables.table_of(pending.device))
            self.open[pending.message_id] = Question(
                pending.device, pending.node, expected, pending.newcomer, asked_s, base_round
            )

    def _expected_anew(self, pending: Pending, base_round: int) -> Expected:
        if pending.round in self._states and pending.family in self._specs:
            key = TaskKey(pending.family, pending.newcomer, base_round)
            return self.expected_of(self.task(pending.round, key))
        # Too old to count, whatever it is: see Gate.stale.
        return Expected(self.config.run, pending.round, pending.family, SummaryKind.NONE, self.config.classes)

    def begin(self, before: Checkpoint, *, keep: int) -> OpenRound:
        """Open the next round, with the questions still open; keep the states of `keep` rounds before it."""
        number = before.round + 1
        oldest = number - _OVERDUE_ROUNDS
        self.overdue = {name: pending for name, pending in self.overdue.items() if pending.round > oldest}
        if self._retry is None or not self.open:
            self._retry = TaskRetry(self.grid, self._registered)
        self._states[number] = before.state
        self._states = {round_: state for round_, state in self._states.items() if round_ >= number - keep}
        return OpenRound(self, self._retry, number, before)

    def has_state_of(self, round_number: int) -> bool:
        """Whether an answer to a task of the round can still be read."""
        return round_number in self._states

    def state_of(self, round_number: int) -> FleetState:
        """The state that the tasks of a round were made from."""
        return self._states[round_number]

    def task(self, round_number: int, key: TaskKey, told: BaseTable | None = None) -> EncodedTask:
        """The task of a round: the same each time it is made; `told` is what the key's told_round told."""
        state = self._states[round_number]
        task = self._method.task(state, round_number=round_number, family=key.family, newcomer=key.newcomer)
        if key.base_round and task.request.codec is not None and task.request.codec.delta:
            task = replace(task, request=replace(task.request, base_round=key.base_round))
        codec = self.config.downlink
        return EncodedTask(task, encode_task(task, codec=codec, base_round=key.told_round, told=told), told)

    def expected_of(self, task: EncodedTask) -> Expected:
        """What an answer to the task must be; the network takes answers as large as that from now on."""
        expected = Expected.of(
            task.as_received,
            self.config.classes,
            self._specs[task.task.family],
            places=self._places,
        )
        if isinstance(self.grid, LimitedGrid) and expected.size_limit_bytes > self._size_limit_bytes:
            self._size_limit_bytes = expected.size_limit_bytes
            self.grid.limit_replies(self._size_limit_bytes)
        return expected

    def give_up(self, message_id: str, question: Question) -> None:
        """Do not wait for an answer any more; if it comes, it is late."""
        self.open.pop(message_id, None)
        self.overdue[message_id] = _pending(message_id, question, overdue=True)

    def pending(self) -> tuple[Pending, ...]:
        """All questions without an answer, for the checkpoint."""
        waited_for = (_pending(name, question, overdue=False) for name, question in self.open.items())
        return (*waited_for, *self.overdue.values())

    def overdue_answers(self) -> list[Message]:
        """Answers that nobody waits for any more, and that have content."""
        replies = list(self.grid.pull_messages(list(self.overdue))) if self.overdue else []
        for reply in replies:
            self.overdue.pop(str(reply.metadata.reply_to_message_id), None)
        return [reply for reply in replies if reply.has_content()]


def _pending(message_id: str, question: Question, *, overdue: bool) -> Pending:
    return Pending(
        message_id=message_id,
        device=question.device,
        family=question.expected.family,
        node=question.node,
        round=question.expected.round,
        newcomer=question.newcomer,
        asked_s=question.asked_s,
        overdue=overdue,
    )


class OpenRound:
    """The questions and answers between one time that the server learns and the next."""

    def __init__(self, dispatcher: TaskDispatcher, retry: TaskRetry, number: int, before: Checkpoint) -> None:
        self.number = number
        readable = {
            message_id: question
            for message_id, question in dispatcher.open.items()
            if dispatcher.has_state_of(question.expected.round)
        }
        self.gate = Gate(dict(dispatcher.open), stale=dispatcher.open.keys() - readable.keys())
        self.asked: set[str] = set()  # the devices that got this round's task
        self.asked_by_family: Counter[str] = Counter()
        self.installed = before.installed
        self._tables_before = before.base_tables
        self._tables = before.base_tables  # as they were when devices were asked last
        self._dispatcher = dispatcher
        self._retry = retry
        self._watch(readable)
        self._retried_bytes_before = retry.sent_bytes
        self._tasks: dict[TaskKey, tuple[EncodedTask, Expected]] = {}
        self._told: dict[bytes, BaseTable] = {}  # what this round tells, by its digest
        self._sent_bytes = 0
        self._overdue = dispatcher.overdue_answers()
        self._asked_s = 0.0  # when devices were asked last
        self._arrived_s: dict[str, float] = {}  # when each device's answer was let in

    @property
    def waiting(self) -> dict[str, Question]:
        """Questions without an answer, by message id."""
        return {message_id: self.gate.questions[message_id] for message_id in self.gate.waiting}

    def ask(self, members: Sequence[Member]) -> None:
        """Send this round's task to the devices; each is asked once."""
        self._tables = self._current_tables()
        tasks = [self._task(member) for member in members]
        messages = [
            task.message_to(member.node, "train") for member, (task, _) in zip(members, tasks, strict=True)
        ]
        sent = push(self._dispatcher.grid, messages).message_ids
        now_s = self._dispatcher.clock.now_s()
        questions: dict[str, Question] = {}
        for member, (_, expected), message_id in zip(members, tasks, sent, strict=True):
            if message_id is None:
                text = "the network did not take the task"
                self.gate.quarantined.append(left_out(member.device, member.node, Reason.UNSENT, text))
                continue
            key = self._key(member)
            expected = expected.with_table(self._tables.table_of(member.device))
            questions[message_id] = Question(
                member.device, member.node, expected, key.newcomer, now_s, key.base_round
            )
        self.gate.ask(questions)
        self._asked_s = now_s
        self._watch(questions)
        self.asked.update(member.device for member in members)
        self.asked_by_family.update(member.family for member in members)
        self._sent_bytes += sum(len(task.blob) for task, _ in tasks)

    def collect(
        self, *, enough: Callable[[], bool], deadline_s: float, after: Callable[[], None] = lambda: None
    ) -> None:
        """Let answers through the gate until there are enough, all have come, or the deadline has.

        Args:
            enough: Whether there are enough answers.
            deadline_s: Seconds from now.
            after: Is called after each look that did not yet find enough.
        """

        def receive(replies: Iterable[Message]) -> bool:
            together: list[Message] = []
            for reply in replies:
                if self._retry.reports_lost_task(reply):
                    self.gate.admit_all(together)  # what came before it counts first
                    together = []
                    if self._retry.retry_lost_task(reply):
                        continue
                together.append(reply)
            self.gate.admit_all(together)
            now_s = self._dispatcher.clock.now_s()
            for answer in self.gate.answers[len(self._arrived_s) :]:
                self._arrived_s[answer.device] = now_s
            self.installed |= {answer.device for answer in self.gate.answers}
            events.publish(
                events.Collected(
                    round=self.number,
                    replied=self.gate.replied,
                    accepted=len(self.gate.answers),
                    asked=len(self.gate.questions),
                )
            )
            if enough():
                return True
            after()
            return False

        collect(
            self._dispatcher.grid,
            waiting=lambda: self.gate.waiting,
            receive=receive,
            deadline_s=deadline_s,
            before_each_look=self._retry.retry_returned_nodes,
        )

    def give_up(self, message_ids: Iterable[str], *, quarantine: bool) -> None:
        """Do not wait for these any more.

        Args:
            message_ids: Messages without an answer.
            quarantine: Whether the devices that were asked are recorded as left out.
        """
        given_up = list(message_ids)
        for message_id in given_up:
            self._dispatcher.give_up(message_id, self.gate.questions[message_id])
        self.gate.close(given_up, quarantine=quarantine)

    def end(self, counted: Sequence[Answer], *, present: int) -> RoundReplies:
        """Close the round; questions that are still open stay open in the next one."""
        gate = self.gate
        self._dispatcher.open = self.waiting
        return RoundReplies(
            counted=counted,
            installed=self.installed - set(self._refused(Reason.NO_STUDENT)),
            present=present,
            asked=len(self.asked),
            asked_by_family=dict(self.asked_by_family),
            asked_devices=frozenset(self.asked),
            replied=gate.replied,
            overdue=len(self._overdue),
            late=len(self._overdue) + len(gate.answers) - len(counted),
            quarantined=tuple(gate.quarantined),
            uplink_bytes=gate.uplink_bytes + sum(map(bytes_in, self._overdue)),
            downlink_bytes=self._sent_bytes + self._retry.sent_bytes - self._retried_bytes_before,
            base_tables=self._current_tables(),
            seconds=self._seconds(),
        )

    def _seconds(self) -> dict[str, float]:
        """How long each device took, or was waited for; nothing in a simulation in which no time passes."""
        if not self._dispatcher.is_timed:
            return {}
        now_s = self._dispatcher.clock.now_s()
        return {device: self._arrived_s.get(device, now_s) - self._asked_s for device in self.asked}

    def _current_tables(self) -> BaseTables:
        """What is held of the devices from now on."""
        tables = [
            (answer.device, answer.round, answer.summary.table)
            for answer in self.gate.answers
            if answer.summary.table is not None
        ]
        mistaken = self._refused(Reason.MISSING_BASE)
        tells = list(self._told.values())
        # Of what is not the same for all devices, nobody could say later which of them was told what.
        told = self._tables_before.told.told(self.number, tells[0] if len(tells) == 1 else None)
        told = told.answered(
            [(answer.device, answer.round) for answer in self.gate.answers],
            asked=self.asked,
            now=self.number,
            mistaken=mistaken,
        )
        return replace(self._tables_before.after(tables, mistaken=mistaken), told=told)

    def _refused(self, reason: Reason) -> list[str]:
        """The devices that were refused for this reason."""
        return [refusal.device for refusal in self.gate.quarantined if refusal.reason == reason.value]

    def _key(self, member: Member) -> TaskKey:
        newcomer = member.device not in self.installed
        base_round = self._tables.round_of(member.device)
        return TaskKey(member.family, newcomer, base_round, self._tables.told.base_of(member.device))

    def _task(self, member: Member) -> tuple[EncodedTask, Expected]:
        """The device's task, and what its answer must be; newcomers of a family have another."""
        key = self._key(member)
        if key not in self._tasks:
            told = self._tables.told.tables.get(key.told_round)
            task = self._dispatcher.task(self.number, key, told)
            tells = table_told(task.task.soft_targets, self._dispatcher.config.downlink)
            if tells is not None:
                self._told[tells.levels.digest()] = tells
            self._tasks[key] = task, self._dispatcher.expected_of(task)
        return self._tasks[key]

    def _watch(self, questions: Mapping[str, Question]) -> None:
        """Have the tasks of these questions sent again where they get lost."""
        messages = {key: functools.partial(self._message, question) for key, question in questions.items()}
        self._retry.watch(self.gate, messages)

    def _message(self, question: Question) -> Message:
        """The message of a question, made anew; its soft labels are whole, whatever the device has lost."""
        expected = question.expected
        key = TaskKey(expected.family, question.newcomer, question.base_round)
        return self._dispatcher.task(expected.round, key).message_to(question.node, "train")

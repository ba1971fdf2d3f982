"""Tasks out, answers in through the gate: what the server does alike in every mode."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from fedstill_proto.arrays import ParameterSpec, parameter_specs
from fedstill_proto.codec.api import Expected, decode_task, encode_task
from fedstill_proto.flower_records import RECORD, pack
from fedstill_proto.messages import RoundTask, SummaryKind
from flwr.app import ArrayRecord, Message, RecordDict
from flwr.serverapp import Grid

from fedstill_server.config.fleet import FleetConfig
from fedstill_server.methods import Method
from fedstill_server.rounds import events
from fedstill_server.rounds.answer_tables import HeldTables
from fedstill_server.rounds.clock import ThoughtClock, clock_of
from fedstill_server.rounds.gate import Answer, Gate, Question, Reason, bytes_in, left_out
from fedstill_server.rounds.retry import AskingAgain
from fedstill_server.rounds.roster import Member, NodeRegister
from fedstill_server.rounds.round_record import Quarantined
from fedstill_server.rounds.run_store import Checkpoint, Pending
from fedstill_server.rounds.transport import collect, push
from fedstill_server.state import FleetState


@dataclass(frozen=True)
class EncodedTask:
    """A task, and its bytes: made once for all devices that get the same."""

    task: RoundTask
    blob: bytes

    @property
    def as_received(self) -> RoundTask:
        """The task as devices decode it, where that makes a difference: with a base for their answers."""
        codec = self.task.request.codec
        return decode_task(self.blob) if codec is not None and codec.delta else self.task

    @functools.cached_property
    def _record(self) -> ArrayRecord:
        record = pack("RoundTask", self.blob)[RECORD]
        assert isinstance(record, ArrayRecord)
        return record

    def message_to(self, node: int, message_type: str) -> Message:
        """Each node has a record dictionary of its own; the bytes in it, which nobody changes, are shared."""
        content = RecordDict({RECORD: self._record})
        return Message(content, node, message_type, group_id=str(self.task.round))


@dataclass(frozen=True)
class Gathered:
    """What came of a round's questions, in whatever mode. `counted` is what is folded, in that order.

    `installed` are devices that are known to have a student now, `overdue` the answers that came too late for
    their own round, `late` those and the good ones that were one too many.
    """

    counted: Sequence[Answer]
    installed: frozenset[str]
    present: int
    asked: int
    asked_of: Mapping[str, int]  # by family
    replied: int
    overdue: int
    late: int
    quarantined: tuple[Quarantined, ...]
    uplink_bytes: int
    downlink_bytes: int
    answers: HeldTables


class TaskKey(NamedTuple):
    """What a device's task depends on; the held round counts where answers are coded against earlier ones."""

    family: str
    newcomer: bool
    held_round: int


class Asker:
    """Asks devices, over the whole run: knows what it has asked, and which state each task was made from."""

    def __init__(
        self, grid: Grid, config: FleetConfig, method: Method, registered: NodeRegister | None
    ) -> None:
        self.grid = grid
        self.clock = clock_of(grid)
        self.config = config
        self._registered = registered
        self._again: AskingAgain | None = None
        self.open: dict[str, Question] = {}  # of earlier rounds, and still waited for
        self.overdue: dict[str, Pending] = {}  # not waited for any more; answers are counted, and not read
        self._method = method
        self._given: dict[int, FleetState] = {}  # by round
        self._specs: dict[str, tuple[ParameterSpec, ...]] = {}

    def resume(self, checkpoint: Checkpoint, given: Callable[[int], FleetState | None]) -> None:
        """Go on after a checkpoint. given: what a round's tasks were made from, as long as that is kept."""
        self._specs = {f: parameter_specs(s) for f, s in checkpoint.state.students.items()}
        if isinstance(self.clock, ThoughtClock):
            self.clock.start_at(checkpoint.clock_s)
        for one in checkpoint.pending:
            if one.overdue:
                self.overdue[one.message_id] = one
                continue
            if (state := given(one.round)) is not None:
                self._given[one.round] = state
            # The wall's clock has been another since; such a question gets its time anew.
            asked_s = one.asked_s if isinstance(self.clock, ThoughtClock) else self.clock.now_s()
            # Nothing has come from the device since: what is held of it is what was held when it was asked.
            held_round = checkpoint.answers.round_of(one.device)
            expected = self._expected_anew(one, held_round)
            expected = expected.holding(checkpoint.answers.table_of(one.device))
            self.open[one.message_id] = Question(
                one.device, one.node, expected, one.newcomer, asked_s, held_round
            )

    def _expected_anew(self, one: Pending, held_round: int) -> Expected:
        if one.round in self._given and one.family in self._specs:
            key = TaskKey(one.family, one.newcomer, held_round)
            return self.expected_of(self.task(one.round, key))
        # Too old to count, whatever it is: see Gate.stale.
        return Expected(self.config.run, one.round, one.family, SummaryKind.NONE, self.config.classes)

    def begin(self, before: Checkpoint, *, keep: int) -> AskedRound:
        """The next round, with the questions that are still open; the states of `keep` rounds before stay."""
        number = before.round + 1
        if self._again is None or not self.open:
            self._again = AskingAgain(self.grid, self._registered)
        self._given[number] = before.state
        self._given = {round_: state for round_, state in self._given.items() if round_ >= number - keep}
        return AskedRound(self, self._again, number, before)

    def is_given(self, round_number: int) -> bool:
        """Whether an answer to a task of the round can still be read."""
        return round_number in self._given

    def given(self, round_number: int) -> FleetState:
        """The state that the tasks of a round were made from."""
        return self._given[round_number]

    def task(self, round_number: int, key: TaskKey) -> EncodedTask:
        """The task of a round: the same each time it is made."""
        state = self._given[round_number]
        task = self._method.task(state, round_number=round_number, family=key.family, newcomer=key.newcomer)
        if key.held_round and task.request.codec is not None and task.request.codec.delta:
            task = replace(task, request=replace(task.request, held_round=key.held_round))
        return EncodedTask(task, encode_task(task, codec=self.config.downlink))

    def expected_of(self, task: EncodedTask) -> Expected:
        """What an answer to the task must be."""
        return Expected.of(
            task.as_received,
            self.config.classes,
            self._specs[task.task.family],
            places=self.config.places,
        )

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
        found = list(self.grid.pull_messages(list(self.overdue))) if self.overdue else []
        for reply in found:
            self.overdue.pop(str(reply.metadata.reply_to_message_id), None)
        return [reply for reply in found if reply.has_content()]


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


class AskedRound:
    """The questions and answers between one time that the server learns and the next."""

    def __init__(self, asker: Asker, again: AskingAgain, number: int, before: Checkpoint) -> None:
        self.number = number
        readable = {key: one for key, one in asker.open.items() if asker.is_given(one.expected.round)}
        self.gate = Gate(dict(asker.open), stale=asker.open.keys() - readable.keys())
        self.asked: set[str] = set()  # the devices that got this round's task
        self.asked_of: Counter[str] = Counter()  # by family
        self.installed = before.installed
        self._held_before = before.answers
        self._held = before.answers  # when devices were asked last
        self._asker = asker
        self._again = again
        self._again.watch(self.gate, {key: self._anew(one) for key, one in readable.items()})
        self._sent_again_before = again.sent_bytes
        self._tasks: dict[TaskKey, tuple[EncodedTask, Expected]] = {}
        self._sent_bytes = 0
        self._overdue = asker.overdue_answers()

    @property
    def waiting(self) -> dict[str, Question]:
        """Questions without an answer, by message id."""
        return {message_id: self.gate.questions[message_id] for message_id in self.gate.waiting}

    def ask(self, members: Sequence[Member]) -> None:
        """Send this round's task to the devices; each is asked once."""
        self._held = self._answers()
        own = [self._task(one) for one in members]
        messages = [task.message_to(one.node, "train") for one, (task, _) in zip(members, own, strict=True)]
        sent = push(self._asker.grid, messages).message_ids
        now_s = self._asker.clock.now_s()
        questions: dict[str, Question] = {}
        for one, (_, expected), message_id in zip(members, own, sent, strict=True):
            if message_id is None:
                text = "the network did not take the task"
                self.gate.quarantined.append(left_out(one.device, one.node, Reason.UNSENT, text))
                continue
            key = self._key(one)
            expected = expected.holding(self._held.table_of(one.device))
            questions[message_id] = Question(
                one.device, one.node, expected, key.newcomer, now_s, key.held_round
            )
        self.gate.ask(questions)
        self._again.watch(self.gate, {key: self._anew(one) for key, one in questions.items()})
        self.asked.update(one.device for one in members)
        self.asked_of.update(one.family for one in members)
        self._sent_bytes += sum(len(task.blob) for task, _ in own)

    def collect(
        self, *, enough: Callable[[], bool], deadline_s: float, after: Callable[[], None] = lambda: None
    ) -> None:
        """Let answers through the gate until it is `enough`, all have come, or the deadline has.

        after: what is to be done after each look that was not yet enough.
        """

        def receive(replies: Iterable[Message]) -> bool:
            for reply in replies:
                if not self._again.instead_of(reply):
                    self.gate.admit(reply)
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
            self._asker.grid,
            waiting=lambda: self.gate.waiting,
            receive=receive,
            deadline_s=deadline_s,
            before_each_look=self._again.those_that_came_back,
        )

    def give_up(self, message_ids: Iterable[str], *, quarantine: bool) -> None:
        """Do not wait for these any more; quarantine: who was asked is left out by name."""
        given_up = list(message_ids)
        for message_id in given_up:
            self._asker.give_up(message_id, self.gate.questions[message_id])
        self.gate.close(given_up, quarantine=quarantine)

    def end(self, counted: Sequence[Answer], *, present: int) -> Gathered:
        """What it came to; questions that are still open stay open in the next round."""
        gate = self.gate
        self._asker.open = self.waiting
        return Gathered(
            counted=counted,
            installed=self.installed,
            present=present,
            asked=len(self.asked),
            asked_of=dict(self.asked_of),
            replied=gate.replied,
            overdue=len(self._overdue),
            late=len(self._overdue) + len(gate.answers) - len(counted),
            quarantined=tuple(gate.quarantined),
            uplink_bytes=gate.uplink_bytes + sum(map(bytes_in, self._overdue)),
            downlink_bytes=self._sent_bytes + self._again.sent_bytes - self._sent_again_before,
            answers=self._answers(),
        )

    def _answers(self) -> HeldTables:
        """What is held of the devices from now on."""
        answers = self.gate.answers
        tables = [
            (one.device, one.round, one.summary.table) for one in answers if one.summary.table is not None
        ]
        refused = self.gate.quarantined
        mistaken = [one.device for one in refused if one.reason == Reason.NEEDS_WHOLE.value]
        before = self._held_before
        return before.after(tables, mistaken=mistaken) if tables or mistaken else before

    def _key(self, member: Member) -> TaskKey:
        newcomer = member.device not in self.installed
        return TaskKey(member.family, newcomer, self._held.round_of(member.device))

    def _task(self, member: Member) -> tuple[EncodedTask, Expected]:
        """The device's task, and what its answer must be; newcomers of a family have another."""
        key = self._key(member)
        if key not in self._tasks:
            task = self._asker.task(self.number, key)
            self._tasks[key] = task, self._asker.expected_of(task)
        return self._tasks[key]

    def _anew(self, question: Question) -> Callable[[], Message]:
        """How to ask the question once more."""

        def message() -> Message:
            expected = question.expected
            key = TaskKey(expected.family, question.newcomer, question.held_round)
            task = self._asker.task(expected.round, key)
            return task.message_to(question.node, "train")

        return message

"""The loop: ask a cohort, gate and fold its answers, learn, measure, commit; until the last round."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from fedstill_proto.codec import Expected, decode_task, encode_task
from fedstill_proto.errors import WireError
from fedstill_proto.messages import ParameterSpec, RoundTask, parameter_specs
from fedstill_proto.records import RECORD, pack
from flwr.app import ArrayRecord, Message, RecordDict
from flwr.serverapp import Grid

from fedstill_server import events
from fedstill_server.aggregation import Statistics, fold
from fedstill_server.asking_again import AskingAgain
from fedstill_server.checkpoint import Checkpoint, RunStore
from fedstill_server.cohort import counted_answers, goal_of, select_cohort
from fedstill_server.config import FleetConfig
from fedstill_server.evaluation import FleetAccuracy, read_counts
from fedstill_server.exchange import collect, push
from fedstill_server.ingest import Answer, Gate, Question, Reason, error_text
from fedstill_server.methods import Method, build_method
from fedstill_server.networks import accuracy_of, one_deterministic_thread
from fedstill_server.preparation import prepare
from fedstill_server.public_set import Examples
from fedstill_server.roster import Member, NodeRegister, Roster
from fedstill_server.round_record import DeviceAccuracy, PhaseSeconds, Quarantined, RoundRecord
from fedstill_server.state import FleetState, digest_of
from fedstill_server.teacher import build_teacher


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


@dataclass
class Stopwatch:
    """Seconds of each phase of a round."""

    started: float = field(default_factory=time.perf_counter)
    phases: dict[str, float] = field(default_factory=dict)
    _last: float = field(default_factory=time.perf_counter)

    def lap(self, phase: str) -> None:
        """What passed since the last lap belongs to `phase`."""
        now = time.perf_counter()
        self.phases[phase] = self.phases.get(phase, 0.0) + now - self._last
        self._last = now

    @property
    def total(self) -> float:
        return time.perf_counter() - self.started


@dataclass(frozen=True)
class Measured:
    """What the devices found when they measured their students."""

    devices: dict[str, DeviceAccuracy]
    failures: tuple[Quarantined, ...] = ()
    sent_bytes: int = 0


class FleetRun:
    """A run of the server over `grid`; one that was stopped goes on where its store says.

    registered: see Roster; a device that came up anew is asked anew for what it had not answered.
    """

    def __init__(
        self,
        grid: Grid,
        config: FleetConfig,
        *,
        public: Examples,
        store: RunStore,
        test: Examples | None = None,
        registered: NodeRegister | None = None,
    ) -> None:
        self._grid = grid
        self._config = config
        self._public = public
        self._test = test
        self._store = store
        self._method: Method = build_method(config, public)
        self._roster = Roster(config.run, config.families, registered)
        self._registered = registered
        self._overdue: set[str] = set()  # message ids of earlier rounds without an answer
        self._specs: dict[str, tuple[ParameterSpec, ...]] = {}

    def run(self) -> FleetState:
        """All rounds that are not committed yet; returns the final state, which is also on disk."""
        with one_deterministic_thread():
            checkpoint = self._store.latest() or self._prepare()
            self._specs = {f: parameter_specs(s) for f, s in checkpoint.state.students.items()}
            if checkpoint.round < self._config.rounds:
                checkpoint = self._remaining_rounds(checkpoint)
            self._store.write_final(checkpoint.state)
        events.publish(events.RunFinished(run=self._config.run, rounds=self._config.rounds))
        return checkpoint.state

    def _prepare(self) -> Checkpoint:
        started = time.perf_counter()
        state = prepare(self._config, self._public, self._method)
        self._store.commit(0, state)
        seconds = time.perf_counter() - started
        events.publish(events.Prepared(seconds=seconds, teacher_accuracy=self._teacher_accuracy(state)))
        return Checkpoint(0, state, frozenset())

    def _remaining_rounds(self, checkpoint: Checkpoint) -> Checkpoint:
        rule = self._config.cohort
        self._roster.gather(self._grid, wanted=rule.goal_count, deadline_s=rule.deadline_s)
        events.publish(
            events.RunStarted(
                run=self._config.run,
                rounds=self._config.rounds,
                first_round=checkpoint.round + 1,
                devices=len(self._roster.members),
            )
        )
        while checkpoint.round < self._config.rounds:
            checkpoint = self._round(checkpoint)
        return checkpoint

    def _round(self, before: Checkpoint) -> Checkpoint:
        number, state, watch = before.round + 1, before.state, Stopwatch()
        self._roster.update(self._grid)
        members = self._roster.members
        rule = self._config.cohort
        cohort = select_cohort(members, rule, seed=self._config.seed, round_number=number)
        events.publish(events.RoundStarted(round=number, rounds=self._config.rounds, asked=len(cohort)))
        asked = [members[device] for device in cohort]
        goal = goal_of(rule, cohort)
        gate, downlink_bytes, late = self._ask(asked, before, number=number, goal=goal)
        watch.lap("train")
        counted = counted_answers(gate.answers, cohort, goal)
        consensus = self._fold(counted, state, number)
        watch.lap("ingest")
        if consensus.devices > 0:
            state = self._method.learn(state, consensus, round_number=number)
        watch.lap("learn")
        newly_installed = {answer.device for answer in gate.answers} - before.installed
        after = Checkpoint(number, state, before.installed | newly_installed)
        measured = self._measure(after) if self._is_measured(number) else Measured({})
        watch.lap("evaluate")
        accuracy = FleetAccuracy.of(measured.devices)
        record = RoundRecord(
            round=number,
            seconds=watch.total,
            asked=len(cohort),
            replied=gate.replied,
            accepted=len(counted),
            late=late + len(gate.answers) - len(counted),
            quarantined=tuple(gate.quarantined),
            uplink_bytes=gate.uplink_bytes,
            downlink_bytes=downlink_bytes,
            evaluation_bytes=measured.sent_bytes,
            uplink_bytes_per_device=gate.uplink_bytes / max(gate.replied, 1),
            downlink_bytes_per_device=downlink_bytes / max(len(cohort), 1),
            personal_accuracy=accuracy.personal,
            global_accuracy=accuracy.everyone,
            worst_device_accuracy=accuracy.worst,
            devices=measured.devices,
            teacher_accuracy=self._teacher_accuracy(state),
            consensus_digest=digest_of(consensus.arrays()),
            evaluation_failures=measured.failures,
            phase_seconds=PhaseSeconds(**watch.phases),
        )
        self._store.commit(number, state, record=record, newly_installed=newly_installed)
        events.publish(events.RoundFinished(record=record, rounds=self._config.rounds))
        return after

    def _ask(
        self, asked: Sequence[Member], before: Checkpoint, *, number: int, goal: int
    ) -> tuple[Gate, int, int]:
        """Send the round's tasks and gate the answers: (gate, bytes sent, answers to earlier rounds)."""
        late = self._overdue_answers()
        tasks: dict[tuple[str, bool], EncodedTask] = {}
        for family, newcomer in {(one.family, one.device not in before.installed) for one in asked}:
            task = self._method.task(before.state, round_number=number, family=family, newcomer=newcomer)
            tasks[family, newcomer] = EncodedTask(task, encode_task(task, codec=self._config.downlink))
        own = [tasks[one.family, one.device not in before.installed] for one in asked]
        expected = {
            key: Expected.of(each.as_received, self._config.classes, self._specs[key[0]])
            for key, each in tasks.items()
        }
        messages = [task.message_to(one.node, "train") for one, task in zip(asked, own, strict=True)]
        questions, anew, unsent = {}, {}, []
        again = AskingAgain(self._grid, self._registered)
        sent = push(self._grid, messages).message_ids
        for one, encoded, message_id in zip(asked, own, sent, strict=True):
            if message_id is None:
                text = "the network did not take the task"
                unsent.append(_left_out(one, Reason.UNSENT, text))
                continue
            key = one.family, one.device not in before.installed
            questions[message_id] = Question(one.device, one.node, expected[key])
            anew[message_id] = functools.partial(encoded.message_to, one.node, "train")
        gate = Gate(questions, quarantined=unsent)
        again.watch(gate, anew)
        self._collect(gate, again, number=number, goal=goal)
        return gate, sum(len(task.blob) for task in own) + again.sent_bytes, late

    def _collect(self, gate: Gate, again: AskingAgain, *, number: int, goal: int) -> None:
        def receive(replies: Iterable[Message]) -> bool:
            for reply in replies:
                if not again.instead_of(reply):
                    gate.admit(reply)
            events.publish(
                events.Collected(
                    round=number,
                    replied=gate.replied,
                    accepted=len(gate.answers),
                    asked=len(gate.questions),
                )
            )
            return len(gate.answers) >= goal

        deadline_s = self._config.cohort.deadline_s
        collect(
            self._grid,
            waiting=lambda: gate.waiting,
            receive=receive,
            deadline_s=deadline_s,
            before_each_look=again.those_that_came_back,
        )
        self._overdue.update(gate.waiting)
        if len(gate.answers) < goal:
            gate.close()

    def _overdue_answers(self) -> int:
        """Answers to earlier rounds that came after their round had ended: counted, and not read."""
        late = list(self._grid.pull_messages(list(self._overdue))) if self._overdue else []
        self._overdue -= {reply.metadata.reply_to_message_id for reply in late}
        return sum(reply.has_content() for reply in late)

    def _fold(self, counted: Sequence[Answer], state: FleetState, number: int) -> Statistics:
        contribution = self._method.contribution(state, round_number=number)
        zero = self._method.zero(round_number=number)
        return fold((contribution(answer.summary) for answer in counted), zero)

    def _is_measured(self, number: int) -> bool:
        every = self._config.evaluate_every
        return number == self._config.rounds or (every > 0 and number % every == 0)

    def _measure(self, after: Checkpoint) -> Measured:
        """Have every member count its right answers, in the cohort or not."""
        members = sorted(self._roster.members.values(), key=lambda member: member.device)
        tasks = {}
        for family, newcomer in {(one.family, one.device not in after.installed) for one in members}:
            task = self._method.evaluation(
                after.state, round_number=after.round, family=family, newcomer=newcomer
            )
            tasks[family, newcomer] = EncodedTask(task, encode_task(task, codec=self._config.downlink))
        own = [tasks[one.family, one.device not in after.installed] for one in members]
        messages = [task.message_to(one.node, "evaluate") for one, task in zip(members, own, strict=True)]
        asked = dict(zip(push(self._grid, messages).message_ids, members, strict=True))
        replies: dict[str, Message] = {}

        def receive(arrived: Iterable[Message]) -> bool:
            replies.update((reply.metadata.reply_to_message_id, reply) for reply in arrived)
            return False

        def waiting() -> list[str]:
            return [key for key in asked if key is not None and key not in replies]

        collect(self._grid, waiting=waiting, receive=receive, deadline_s=self._config.cohort.deadline_s)
        return _measured(asked, replies, sent_bytes=sum(len(task.blob) for task in own))

    def _teacher_accuracy(self, state: FleetState) -> float | None:
        if self._test is None or self._test.y is None:
            return None
        return accuracy_of(build_teacher(self._config, state.teacher), self._test.x, self._test.y)


def _measured(asked: dict[str | None, Member], replies: dict[str, Message], *, sent_bytes: int) -> Measured:
    devices: dict[str, DeviceAccuracy] = {}
    failures: list[Quarantined] = []
    for message_id, member in asked.items():
        reply = replies.get(message_id) if message_id is not None else None
        if reply is None:
            failures.append(_left_out(member, Reason.NO_ANSWER, "no answer by the deadline"))
        elif reply.has_error():
            failures.append(_left_out(member, Reason.ERROR_REPLY, error_text(reply)))
        else:
            try:
                devices[member.device] = read_counts(reply.content).accuracy()
            except WireError as error:
                failures.append(_left_out(member, Reason.BAD_VALUES, str(error)))
    return Measured(devices, tuple(failures), sent_bytes)


def _left_out(member: Member, reason: Reason, text: str) -> Quarantined:
    return Quarantined(device=member.device, node=str(member.node), reason=reason.value, text=text)

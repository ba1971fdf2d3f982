"""The loop of a run: gather answers, fold them, learn, measure, commit; until the last round.

The mode decides how answers are gathered: from one cohort after the other (synchronous.py), or from whoever
answers next (asynchronous.py).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import httpx
from fedstill_proto.codec.api import encode_task
from fedstill_proto.errors import WireError
from flwr.app import Message
from flwr.serverapp import Grid

from fedstill_server.config.fleet import ConfigError, FleetConfig
from fedstill_server.consensus.aggregation import Statistics
from fedstill_server.consensus.group_means import GROUP_FOLDS, GroupFold
from fedstill_server.consensus.noised_mean import NoisedMean
from fedstill_server.data.examples import Examples
from fedstill_server.methods import Method, build_method
from fedstill_server.rounds import events
from fedstill_server.rounds.account import Account
from fedstill_server.rounds.asynchronous import Asynchronous
from fedstill_server.rounds.bounded_fold import bounded_consensus
from fedstill_server.rounds.clock import SettableClock
from fedstill_server.rounds.dispatch import EncodedTask, RoundReplies, TaskDispatcher
from fedstill_server.rounds.evaluation import FleetAccuracy, read_counts
from fedstill_server.rounds.gate import Reason, error_text, left_out, reason_of_reply
from fedstill_server.rounds.generation_guard import GenerationOver
from fedstill_server.rounds.pacing import AtOnce, Pacing
from fedstill_server.rounds.preparation import PreparationCache
from fedstill_server.rounds.private_fold import PrivateFold, part_of
from fedstill_server.rounds.roster import Member, NodeRegister, Roster
from fedstill_server.rounds.round_record import DeviceAccuracy, PhaseSeconds, Quarantined, RoundRecord
from fedstill_server.rounds.run_store import Checkpoint, RunStore
from fedstill_server.rounds.summing import EnrolledList, GroupTotal, RoundSums, no_list
from fedstill_server.rounds.synchronous import Synchronous
from fedstill_server.rounds.transport import collect, push
from fedstill_server.state import FleetState, digest_of
from fedstill_server.tasks import training_of
from fedstill_server.training.networks import one_deterministic_thread

log = logging.getLogger("fedstill.account")


@dataclass
class Stopwatch:
    """Seconds of each phase of a round."""

    started: float = field(default_factory=time.perf_counter)
    phases: dict[str, float] = field(default_factory=dict)
    _last: float = field(default_factory=time.perf_counter)

    def lap(self, phase: str) -> None:
        """Add what passed since the last lap to `phase`."""
        now = time.perf_counter()
        self.phases[phase] = self.phases.get(phase, 0.0) + now - self._last
        self._last = now

    @property
    def total(self) -> float:
        return time.perf_counter() - self.started


@dataclass(frozen=True)
class Measured:
    """The results of devices that measured their students."""

    devices: dict[str, DeviceAccuracy]
    failures: tuple[Quarantined, ...] = ()
    sent_bytes: int = 0
    personal_examples: int = 0

    @property
    def personal(self) -> dict[str, float]:
        """The accuracy of each device that has examples of its own to measure on."""
        found = {name: device.personal for name, device in self.devices.items()}
        return {name: accuracy for name, accuracy in found.items() if accuracy is not None}


class Mode(Protocol):
    """How a round gathers its answers."""

    @property
    def keeps(self) -> int:
        """How many rounds back an answer may refer to."""
        ...

    def gather(self, before: Checkpoint, members: Mapping[str, Member]) -> RoundReplies:
        """The answers that the server learns from next."""
        ...


_MODES: dict[str, Callable[[TaskDispatcher], Mode]] = {"rounds": Synchronous, "async": Asynchronous}
_PREPARATIONS = PreparationCache()


class SilentDevices:
    """The devices of a real fleet that have let the deadline of a measurement pass.

    One that never answers would hold up the end of each round; so it is waited for once. Its answer counts
    where it is there when the others' are.
    """

    def __init__(self, *, are_noted: bool) -> None:
        self._are_noted = are_noted  # in a simulation all answer, in virtual time
        self._devices: set[str] = set()

    def note(self, devices: Iterable[str]) -> None:
        """Wait for these no more."""
        if self._are_noted:
            self._devices.update(devices)

    def is_waited_for(self, missing: Sequence[str], asked: Mapping[str | None, Member]) -> bool:
        """Whether one of those whose answers are missing is worth waiting for."""
        if all(member.device in self._devices for member in asked.values()):
            return True
        return any(asked[key].device not in self._devices for key in missing)


class FleetRun:
    """A run of the server over a Flower Grid; one that was stopped goes on where its store says."""

    def __init__(
        self,
        grid: Grid,
        config: FleetConfig,
        *,
        public: Examples,
        store: RunStore,
        test: Examples | None = None,
        registered: NodeRegister | None = None,
        enrolled: EnrolledList = no_list,
        pacing: Pacing | None = None,
    ) -> None:
        """Open a run.

        Args:
            grid: Reaches the devices.
            config: What the run does.
            public: The public set.
            store: Where rounds are committed.
            test: What the teacher is measured on; None does not measure it.
            registered: Tells the name of each registered node; a device that came up anew is asked anew for
                what it had not answered. None where nodes are not registered, as in a simulation.
            enrolled: Reads the signed list of devices, where the server is to see sums alone.
            pacing: Says when rounds begin, and guards what is written down for a generation of the fleet that
                may be over meanwhile; None is one round after the other.
        """
        self._grid = grid
        self._config = config
        self._public = public
        self._test = test
        self._store = store
        self._method: Method = build_method(config, public)
        self._is_real = registered is not None
        self._pacing: Pacing = pacing or AtOnce(config.rounds, config.cohort)
        self._roster = Roster(config.run, config.families, registered, generation=config.generation)
        self._silent = SilentDevices(are_noted=registered is not None)
        self._dispatcher = TaskDispatcher(grid, config, self._method, registered)
        self._mode: Mode = _MODES[config.mode](self._dispatcher)
        store.keep_states(self._mode.keeps)
        store.commit_of(config.generation)
        self._sums: RoundSums | None = None
        if config.secure_sums is not None:
            if enrolled is no_list:
                raise ConfigError(
                    "secure_sums: the devices of this run have no registered keys; leave it out"
                )
            self._sums = RoundSums(grid, config.secure_sums, enrolled, config.seed)
        self._account: Account | None = None
        if config.privacy is not None and config.privacy.mode == "central":
            self._account = store.account(config.run)

    def run(self) -> FleetState:
        """All rounds that are not committed yet; returns the final state, which is also on disk."""
        with one_deterministic_thread():
            checkpoint = self._store.latest() or self._prepare()
            if checkpoint.generation != self._config.generation:
                log.warning("%s", GenerationOver(self._config.generation, checkpoint.generation))
                return checkpoint.state
            self._dispatcher.resume(checkpoint, state_of=lambda round_: self._store.state_after(round_ - 1))
            try:
                checkpoint = self._remaining_rounds(checkpoint)
            except GenerationOver as over:
                log.warning("%s; the run ends, and its open round counts for nothing", over)
                return checkpoint.state
            self._store.write_final(checkpoint.state)
        events.publish(events.RunFinished(run=self._config.run, rounds=self._config.rounds))
        return checkpoint.state

    def _prepare(self) -> Checkpoint:
        started = time.perf_counter()
        state = _PREPARATIONS.prepare(self._config, self._public, self._method)
        with self._pacing.in_force():
            self._store.commit(0, state)
        seconds = time.perf_counter() - started
        events.publish(
            events.RunPrepared(
                seconds=seconds,
                teacher_accuracy=self._teacher_accuracy(state),
                students=state.students,
            )
        )
        return Checkpoint(0, state, frozenset(), generation=self._config.generation)

    def _remaining_rounds(self, checkpoint: Checkpoint) -> Checkpoint:
        started = False
        while True:
            number = checkpoint.round + 1
            members = self._pacing.members(number, self._roster, self._grid)
            if members is None:
                return checkpoint
            if not started:
                started = True
                events.publish(
                    events.RunStarted(
                        run=self._config.run,
                        rounds=self._config.rounds,
                        first_round=number,
                        devices=len(members),
                    )
                )
            try:
                checkpoint = self._round(checkpoint, members)
            except (httpx.HTTPError, OSError) as error:
                if not self._pacing.outlives(error, number):
                    raise

    def _round(self, before: Checkpoint, members: Mapping[str, Member]) -> Checkpoint:
        number, state, watch = before.round + 1, before.state, Stopwatch()
        released = None if self._account is None else self._account.released(number)
        if released is None:
            replies = self._mode.gather(before, members)
        else:  # by a run that ended before it could commit the round, or whose checkpoint was lost
            replies = self._as_released(before)
        groups = None
        if self._sums is not None and released is None:
            replies, groups = self._summed(self._sums, replies, number)
        watch.lap("train")
        method = self._method.of_round(state, round_number=number)
        consensus = self._fold(method, replies, number, before.state, released, groups)
        watch.lap("ingest")
        if consensus.devices > 0:
            state = method.learn(state, consensus, round_number=number)
        watch.lap("learn")
        pending, clock = self._dispatcher.pending(), self._dispatcher.clock
        clock_s = clock.now_s() if isinstance(clock, SettableClock) else None
        after = Checkpoint(number, state, replies.installed, pending, clock_s or 0.0, replies.base_tables)
        compares = self._method.compares_after(number)
        measured = self._measure(after) if compares or self._is_measured(number) else Measured({})
        if compares:
            state = self._method.measured(state, measured.personal, round_number=number)
            after = replace(after, state=state)
        # What is sent so that a method may choose is a part of it; what people want to know is not.
        choosing_bytes = measured.sent_bytes if compares else 0
        watch.lap("evaluate")
        accuracy = FleetAccuracy.of(measured.devices)
        record = RoundRecord(
            round=number,
            seconds=watch.total,
            present=replies.present,
            asked=replies.asked,
            replied=replies.replied,
            accepted=len(replies.counted),
            overdue=replies.overdue,
            late=replies.late,
            quarantined=replies.quarantined,
            counted=tuple(answer.device for answer in replies.counted),
            ages=tuple(number - answer.round for answer in replies.counted),
            uplink_bytes=replies.uplink_bytes,
            downlink_bytes=replies.downlink_bytes + choosing_bytes,
            evaluation_bytes=measured.sent_bytes - choosing_bytes,
            uplink_bytes_per_device=replies.uplink_bytes / max(replies.replied + replies.overdue, 1),
            downlink_bytes_per_device=(replies.downlink_bytes + choosing_bytes) / max(replies.asked, 1),
            personal_accuracy=accuracy.personal,
            global_accuracy=accuracy.everyone,
            fleet_personal_accuracy=accuracy.fleet_personal,
            fleet_global_accuracy=accuracy.fleet_everyone,
            worst_device_accuracy=accuracy.worst,
            devices=measured.devices,
            teacher_accuracy=self._teacher_accuracy(state),
            student_accuracy=self._student_accuracy(state),
            test_examples=0 if self._test is None else len(self._test),
            personal_examples=measured.personal_examples,
            consensus_digest=digest_of(consensus.arrays()),
            evaluation_failures=measured.failures,
            clock_s=clock_s,
            phase_seconds=PhaseSeconds(**watch.phases),
            notice=self._method.notice(state, round_number=number),
            finished_at=self._pacing.time_text(),
        )
        if released is not None or self._withholds:
            record = record.without_answers()
        with self._pacing.in_force():
            self._store.commit(
                number,
                state,
                record=record,
                installed=replies.installed,
                pending=pending,
                base_tables=replies.base_tables,
                account=None if self._account is None else self._account.head,
            )
        events.publish(events.RoundFinished(record=record, rounds=self._config.rounds))
        return after

    @property
    def _withholds(self) -> bool:
        """Whether records leave out what comes of single answers: with central noise, of real devices."""
        privacy = self._config.privacy
        return privacy is not None and privacy.mode == "central" and not privacy.measured

    @property
    def _group_fold(self) -> GroupFold | None:
        """How the means of groups become one; None where their sums add up."""
        sums = self._config.secure_sums
        return None if sums is None else GROUP_FOLDS[sums.fold]

    def _as_released(self, before: Checkpoint) -> RoundReplies:
        """The replies to a round that was released already: nobody is asked again.

        Who was asked then has a student; a device that has none says so with its next task, and gets one.
        """
        assert self._account is not None
        number = before.round + 1
        debit = next(one for one in reversed(self._account.debits) if one.round == number)
        log.warning("round %d was released before it was committed: its noised means are used again", number)
        return RoundReplies(
            counted=(),
            installed=before.installed | set(debit.asked),
            present=len(self._roster.members),
            asked=len(debit.asked),
            asked_by_family={},
            asked_devices=frozenset(debit.asked),
            replied=0,
            overdue=0,
            late=0,
            quarantined=(),
            uplink_bytes=0,
            downlink_bytes=0,
            base_tables=before.base_tables,
        )

    def _summed(
        self, sums: RoundSums, replies: RoundReplies, number: int
    ) -> tuple[RoundReplies, tuple[GroupTotal, ...]]:
        """The sums over those who have offered their keys; who is in none of them does not count."""
        privacy, summing = self._config.privacy, self._config.summing
        assert privacy is not None  # checked by the configuration
        assert summing is not None
        sizes = self._method.released_parts(self._dispatcher.state_of(number), round_number=number)
        parts = {
            name: (
                [one.device for one in replies.counted if part_of(one.summary.family, sizes) == name],
                size,
            )
            for name, size in sizes.items()
        }
        summed = sums.sums(
            replies.counted, self._roster.members, parts=parts, noising=privacy.noising, summing=summing
        )
        inside = {device for group in summed.groups for device in group.devices}
        replies = replace(
            replies,
            counted=[answer for answer in replies.counted if answer.device in inside],
            quarantined=(*replies.quarantined, *summed.quarantined),
            uplink_bytes=replies.uplink_bytes + summed.uplink_bytes,
            downlink_bytes=replies.downlink_bytes + summed.downlink_bytes,
        )
        return replies, summed.groups

    def _fold(
        self,
        method: Method,
        replies: RoundReplies,
        number: int,
        state: FleetState,
        released: Mapping[str, NoisedMean] | None,
        groups: Sequence[GroupTotal] | None = None,
    ) -> Statistics:
        """The sum over the answers, each read against the state that it answers and weighted by its age.

        Where the server adds noise, it is debited before anybody learns what came out; what was `released`
        already is used as it is.
        """
        counted, rule = replies.counted, self._config.privacy
        if rule is not None:
            private = PrivateFold(method, rule, self._group_fold)
            if released is None:
                asked = replies.asked_by_family
                released = private.noised_means(
                    counted, state, asked=asked, round_number=number, groups=groups
                )
                if self._account is not None and released:
                    devices = sorted(replies.asked_devices)
                    with self._pacing.in_force():
                        self._account.debit(number, released, rho=rule.noising.rho, asked=devices)
            return private.consensus(released, state, round_number=number)
        state_of, aged = self._dispatcher.state_of, self._config.asynchronous
        return bounded_consensus(method, counted, state_of, round_number=number, rule=aged)

    def _is_measured(self, number: int) -> bool:
        privacy = self._config.privacy
        if privacy is not None and not privacy.measured:
            return False  # nothing bounds what counts of correct answers reveal
        every = self._config.evaluate_every
        return number == self._config.rounds or (every > 0 and number % every == 0)

    def _measure(self, after: Checkpoint) -> Measured:
        """Have every willing member that is still there count its correct answers, in the cohort or not."""
        self._roster.drop_absent(self._grid)
        members = sorted(self._roster.willing.values(), key=lambda member: member.device)
        tasks = {}
        for family, newcomer in {(member.family, member.device not in after.installed) for member in members}:
            task = self._method.evaluation(
                after.state, round_number=after.round, family=family, newcomer=newcomer
            )
            tasks[family, newcomer] = EncodedTask(task, encode_task(task, codec=self._config.downlink))
        tasks_of_members = [tasks[member.family, member.device not in after.installed] for member in members]
        messages = [
            task.message_to(member.node, "evaluate")
            for member, task in zip(members, tasks_of_members, strict=True)
        ]
        asked = dict(zip(push(self._grid, messages).message_ids, members, strict=True))
        replies: dict[str, Message] = {}

        def receive(arrived: Iterable[Message]) -> bool:
            replies.update((reply.metadata.reply_to_message_id, reply) for reply in arrived)
            return False

        def missing() -> list[str]:
            return [key for key in asked if key is not None and key not in replies]

        def waiting() -> list[str]:
            left = missing()
            return left if self._silent.is_waited_for(left, asked) else []

        collect(self._grid, waiting=waiting, receive=receive, deadline_s=self._config.cohort.deadline_s)
        self._silent.note(asked[key].device for key in missing())
        return _measured(asked, replies, sent_bytes=sum(len(task.blob) for task in tasks_of_members))

    def _teacher_accuracy(self, state: FleetState) -> float | None:
        if self._test is None or self._test.y is None:
            return None
        training = training_of(self._config)
        return training.accuracy(training.teacher(state.teacher), self._test)

    def _student_accuracy(self, state: FleetState) -> dict[str, float]:
        """That of the fleet's students; in a simulation, devices measure them on the same examples."""
        if self._test is None or self._test.y is None or not self._is_real:
            return {}
        training = training_of(self._config)
        return {
            family: training.accuracy(training.student(family, weights), self._test)
            for family, weights in state.students.items()
        }


def _measured(asked: dict[str | None, Member], replies: dict[str, Message], *, sent_bytes: int) -> Measured:
    devices: dict[str, DeviceAccuracy] = {}
    failures: list[Quarantined] = []
    examples = 0
    for message_id, member in asked.items():
        reply = replies.get(message_id) if message_id is not None else None
        if reply is None:
            failures.append(_left_out(member, Reason.NO_ANSWER, "no answer by the deadline"))
        elif reply.has_error():
            failures.append(_left_out(member, reason_of_reply(reply), error_text(reply)))
        else:
            try:
                counts = read_counts(reply.content)
                devices[member.device] = counts.accuracy()
                examples += counts.personal_examples
            except WireError as error:
                failures.append(_left_out(member, Reason.BAD_VALUES, str(error)))
    return Measured(devices, tuple(failures), sent_bytes, examples)


def _left_out(member: Member, reason: Reason, text: str) -> Quarantined:
    return left_out(member.device, member.node, reason, text)

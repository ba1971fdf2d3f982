"""The fleet's part of a round over messages: every device behind a Flower Grid answers for itself.

The mode decides how answers are gathered: from one cohort after the other (synchronous.py), or from whoever
answers next (asynchronous.py).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from fedstill_proto.codec.api import encode_task
from fedstill_proto.errors import WireError
from flwr.app import Message
from flwr.serverapp import Grid

from fedstill_server.config.fleet import ConfigError, FleetConfig
from fedstill_server.consensus.aggregation import Statistics
from fedstill_server.consensus.group_means import GROUP_FOLDS, GroupFold
from fedstill_server.consensus.noised_mean import NoisedMean
from fedstill_server.methods import Method
from fedstill_server.rounds.account import Account
from fedstill_server.rounds.answer_utility import statistical_utilities
from fedstill_server.rounds.asynchronous import Asynchronous
from fedstill_server.rounds.bounded_fold import bounded_consensus
from fedstill_server.rounds.clock import SettableClock
from fedstill_server.rounds.dispatch import EncodedTask, RoundReplies, TaskDispatcher
from fedstill_server.rounds.evaluation import read_counts
from fedstill_server.rounds.fleet_work import FoldedRound, Measured, Stopwatch
from fedstill_server.rounds.gate import Reason, error_text, left_out, reason_of_reply
from fedstill_server.rounds.oort import UtilityState
from fedstill_server.rounds.pacing import Pacing
from fedstill_server.rounds.private_fold import PrivateFold, part_of
from fedstill_server.rounds.roster import Member, NodeRegister, Roster
from fedstill_server.rounds.round_record import DeviceAccuracy, Quarantined
from fedstill_server.rounds.run_store import Checkpoint
from fedstill_server.rounds.summing import EnrolledList, GroupTotal, RoundSums, no_list
from fedstill_server.rounds.synchronous import Synchronous
from fedstill_server.rounds.transport import collect, push
from fedstill_server.state import FleetState

log = logging.getLogger("fedstill.account")


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


@dataclass(frozen=True, kw_only=True)
class NodesKnown:
    """What a server knows of its nodes besides their answers.

    Attributes:
        registered: Tells the name of each registered node; a device that came up anew is asked anew for what
            it had not answered. None where nodes are not registered, as in a simulation.
        enrolled: Reads the signed list of devices, where the server is to see sums alone.
    """

    registered: NodeRegister | None = None
    enrolled: EnrolledList = no_list


class MessageWork:
    """The fleet behind a Grid."""

    def __init__(
        self,
        grid: Grid,
        config: FleetConfig,
        method: Method,
        *,
        known: NodesKnown,
        pacing: Pacing,
        account: Account | None,
    ) -> None:
        """Reach a fleet; `account` is that of noised releases, in mode central.

        Raises:
            ConfigError: The server is to see sums alone, and devices have no registered keys.
        """
        registered = known.registered
        self._grid = grid
        self._config = config
        self._method = method
        self._pacing = pacing
        self._account = account
        self._members: Mapping[str, Member] = {}
        self.roster = Roster(config.run, config.families, registered, generation=config.generation)
        self._silent = SilentDevices(are_noted=registered is not None)
        self._dispatcher = TaskDispatcher(grid, config, method, registered)
        self._mode: Mode = _MODES[config.mode](self._dispatcher)
        self._sums: RoundSums | None = None
        if config.secure_sums is not None:
            if known.enrolled is no_list:
                raise ConfigError(
                    "secure_sums: the devices of this run have no registered keys; leave it out"
                )
            self._sums = RoundSums(grid, config.secure_sums, known.enrolled, config.seed)

    @property
    def keeps(self) -> int:
        """How many rounds back an answer may refer to."""
        return self._mode.keeps

    def resume(self, checkpoint: Checkpoint, state_of: Callable[[int], FleetState | None]) -> None:
        """Go on after a checkpoint, with the questions that were open."""
        self._dispatcher.resume(checkpoint, state_of)

    def gather(self, number: int) -> int | None:
        """Wait until a round may begin: how many devices are there; None where the run has no such round."""
        members = self._pacing.members(number, self.roster, self._grid)
        self._members = {} if members is None else members
        return None if members is None else len(members)

    def committed(self, number: int) -> None:
        """Nothing is kept here."""

    def fold(self, method: Method, before: Checkpoint, watch: Stopwatch) -> FoldedRound:
        """Ask devices, and fold what they answer."""
        number = before.round + 1
        released = None if self._account is None else self._account.released(number)
        if released is None:
            replies = self._mode.gather(before, self._members)
        else:  # by a run that ended before it could commit the round, or whose checkpoint was lost
            replies = self._as_released(before)
        groups = None
        if self._sums is not None and released is None:
            replies, groups = self._summed(self._sums, replies, number)
        watch.lap("train")
        consensus = self._fold(method, replies, number, before.state, released, groups)
        watch.lap("ingest")
        clock = self._dispatcher.clock
        return FoldedRound(
            consensus=consensus,
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
            downlink_bytes=replies.downlink_bytes,
            installed=replies.installed,
            pending=self._dispatcher.pending(),
            base_tables=replies.base_tables,
            clock_s=clock.now_s() if isinstance(clock, SettableClock) else None,
            account=None if self._account is None else self._account.head,
            withholds=released is not None or self._withholds,
            selection=self._selection(method, before, replies),
        )

    def _selection(self, method: Method, before: Checkpoint, replies: RoundReplies) -> UtilityState | None:
        """What selection by utility remembers after a round."""
        if self._config.cohort.select != "oort":
            return None
        number = before.round + 1
        summaries = {answer.device: answer.summary for answer in replies.counted}
        said = statistical_utilities(method, summaries, before.state, round_number=number)
        known = before.selection or UtilityState()
        return known.after(number, asked=replies.asked_devices, statistical=said, seconds=replies.seconds)

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
            present=len(self.roster.members),
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
            replies.counted, self.roster.members, parts=parts, noising=privacy.noising, summing=summing
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

    def measure(self, after: Checkpoint) -> Measured:
        """Have every willing member that is still there count its correct answers, in the cohort or not."""
        self.roster.drop_absent(self._grid)
        members = sorted(self.roster.willing.values(), key=lambda member: member.device)
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
    return Measured.of_devices(
        devices, failures=tuple(failures), sent_bytes=sent_bytes, personal_examples=examples
    )


def _left_out(member: Member, reason: Reason, text: str) -> Quarantined:
    return left_out(member.device, member.node, reason, text)

"""The steps of a round's sums over the network, after devices have trained and offered their keys.

All groups take each step together: the questions of a step go out at once, and who has not answered when all
others have, or at the step's deadline, is left out of what follows (fedstill_server.secure_sums.group_sum). A
group of which too few are left gives nothing, and the round goes on with the others.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fedstill_proto.errors import FedstillError, WireError
from fedstill_proto.flower_records import pack, unpack
from fedstill_proto.privacy.noising import Noising, Steps
from fedstill_proto.secure_sums.enrolled import EnrolledDevices
from fedstill_proto.secure_sums.terms import Summing, SumTerms
from flwr.app import Message
from flwr.serverapp import Grid

from fedstill_server.config.fleet import ConfigError
from fedstill_server.randomness import generator
from fedstill_server.rounds.gate import Answer, Reason, bytes_in, left_out, reason_of_reply
from fedstill_server.rounds.roster import Member
from fedstill_server.rounds.round_record import Quarantined
from fedstill_server.rounds.transport import LimitedGrid, collect, push
from fedstill_server.secure_sums.group_sum import GroupSum, SumFailed
from fedstill_server.secure_sums.rule import SecureSumsRule

log = logging.getLogger("fedstill.sums")

Take = Callable[[int, bytes], None]
EnrolledList = Callable[[], EnrolledDevices | None]


class SumQuestion(NamedTuple):
    """What one device of a group is asked in a step, and how its answer is taken."""

    group: int
    place: int
    blob: bytes
    take: Take


@dataclass(frozen=True, eq=False)
class GroupTotal:
    """What the server learns of a group: the sum of its devices' vectors, and how many they are.

    A fold between groups takes these, one by one; within a group there is nothing to fold.

    Attributes:
        part: What the vectors are of, as `Method.released_parts` names it.
        steps: Their sum on the grid, with the noise that the devices have added [numbers].
        devices: The devices that are in it.
        noises: How many times the variance of the whole noise is in it.
    """

    part: str
    steps: Steps
    devices: tuple[str, ...]
    noises: float


@dataclass(frozen=True)
class SummedRound:
    """The sums of a round, and what they cost."""

    groups: tuple[GroupTotal, ...] = ()
    quarantined: tuple[Quarantined, ...] = ()
    uplink_bytes: int = 0
    downlink_bytes: int = 0


@dataclass
class _OpenGroup:
    part: str
    sum: GroupSum
    closed: str = ""  # why it gives nothing


@dataclass
class RoundSums:
    """Sums what devices answer in a round.

    Attributes:
        grid: Reaches the devices.
        rule: How the run sums.
        read_enrolled: Reads the signed list of the fleet's devices, anew in each round.
        seed: The run's, which decides who is in which group.
    """

    grid: Grid
    rule: SecureSumsRule
    read_enrolled: EnrolledList
    seed: int

    def sums(
        self,
        answers: Sequence[Answer],
        members: Mapping[str, Member],
        *,
        parts: Mapping[str, tuple[Sequence[str], int]],
        noising: Noising,
        summing: Summing,
    ) -> SummedRound:
        """The sums over those who have offered their keys.

        Args:
            answers: Summaries that hold keys.
            members: The devices that are there, by name.
            parts: By name the devices whose vectors are summed, and how many numbers each has.
            noising: The grid.
            summing: What devices were asked.

        Raises:
            ConfigError: There is no signed list.
        """
        enrolled = check_enrolled(self.read_enrolled())
        places = {device.name: place for place, device in enumerate(enrolled.devices)}
        offered = {answer.device: answer for answer in answers}
        groups, quarantined = [], []
        for part, (devices, numbers) in sorted(parts.items()):
            known = [device for device in devices if device in places]
            quarantined += [
                _left_out(members[device], "not in the signed list of devices; publish it anew")
                for device in devices
                if device not in places
            ]
            for names in self._dealt_into_groups(known, part, offered):
                keys = {places[name]: offered[name].summary.sum_keys for name in names}
                first = offered[names[0]]
                terms = SumTerms(
                    run=first.summary.run,
                    round=first.round,
                    summing=summing,
                    noising=noising,
                    numbers=numbers,
                )
                try:
                    given = {place: offer for place, offer in keys.items() if offer is not None}
                    groups.append(_OpenGroup(part, GroupSum(terms, enrolled, given)))
                except SumFailed as error:
                    quarantined += [_left_out(members[name], str(error)) for name in names]
        if groups and isinstance(self.grid, LimitedGrid):
            self.grid.limit_replies(max(group.sum.answer_limit_bytes for group in groups))
        done = _Done()
        for step, asks in _STEPS:
            self._step(step, asks, groups, members, done)
        totals = []
        for group in groups:
            total = _opened(group)
            totals += [] if total is None else [total]
            quarantined += self._missing(group, total, members)
        return SummedRound(
            tuple(totals), (*quarantined,), uplink_bytes=done.uplink_bytes, downlink_bytes=done.downlink_bytes
        )

    def _dealt_into_groups(
        self, devices: Sequence[str], part: str, offered: Mapping[str, Answer]
    ) -> list[list[str]]:
        """Random groups that depend on nothing but the names, the seed and the round."""
        names = sorted(device for device in devices if device in offered)
        if not names:
            return []
        round_number = offered[names[0]].round
        order = generator(self.seed, round_number, f"sums {part}").permutation(len(names))
        groups = self.rule.groups_of(len(names))
        return [sorted(names[place] for place in order[group::groups]) for group in range(groups)]

    def _step(
        self,
        step: str,
        asks: Callable[[GroupSum], tuple[Mapping[int, bytes], Take]],
        groups: Sequence[_OpenGroup],
        members: Mapping[str, Member],
        done: _Done,
    ) -> None:
        """Ask every device of every open group, and take what comes back in time."""
        questions = []
        for number, group in enumerate(groups):
            if group.closed:
                continue
            try:
                asked, take = asks(group.sum)
            except SumFailed as error:
                group.closed = str(error)
                continue
            questions += [SumQuestion(number, place, blob, take) for place, blob in sorted(asked.items())]
        names = [_name(groups[question.group], question.place) for question in questions]
        there = [place for place, name in enumerate(names) if name in members]
        messages = [
            Message(
                pack("SumQuestion", questions[place].blob),
                members[names[place]].node,
                f"query.sum_{step}",
                group_id=str(groups[questions[place].group].sum.terms.round),
            )
            for place in there
        ]
        ids = push(self.grid, messages).message_ids
        waiting = {
            message_id: questions[place]
            for message_id, place in zip(ids, there, strict=True)
            if message_id is not None
        }
        nodes = {key: members[_name(groups[each.group], each.place)].node for key, each in waiting.items()}
        done.downlink_bytes += sum(len(question.blob) for question in questions)

        def receive(replies: Iterable[Message]) -> bool:
            for reply in replies:
                key = str(reply.metadata.reply_to_message_id)
                question = waiting.pop(key, None)
                done.uplink_bytes += bytes_in(reply)
                if question is not None:
                    _take(groups[question.group].sum, question, reply, node=nodes[key])
            return not waiting

        collect(
            self.grid,
            waiting=lambda: list(waiting),
            receive=receive,
            deadline_s=self.rule.step_deadline_s,
        )

    def _missing(
        self, group: _OpenGroup, total: GroupTotal | None, members: Mapping[str, Member]
    ) -> list[Quarantined]:
        counted = () if total is None else total.devices
        found = []
        for place in group.sum.keys:
            name = _name(group, place)
            if name not in counted and name in members:
                text = group.sum.left_out.get(place) or group.closed or "no answer in a step of the sum"
                found.append(_left_out(members[name], text))
        return found


@dataclass
class _Done:
    uplink_bytes: int = 0
    downlink_bytes: int = 0


_STEPS: tuple[tuple[str, Callable[[GroupSum], tuple[Mapping[int, bytes], Take]]], ...] = (
    ("deal", lambda group: (group.rosters(), group.take_dealt)),
    ("mask", lambda group: (group.deliveries(), group.take_masked)),
    ("agree", lambda group: (group.survivors(), group.take_agreement)),
    ("reveal", lambda group: (group.agreements(), group.take_revealed)),
)


def _take(group: GroupSum, question: SumQuestion, reply: Message, *, node: int) -> None:
    """Take an answer, or note why the device is left out; never raises, whatever was sent."""
    if reply.has_error():
        group.left_out[question.place] = f"refused: {reason_of_reply(reply).value}"
        return
    try:
        if reply.metadata.src_node_id != node:
            raise WireError("node", f"answered by node {reply.metadata.src_node_id}")
        question.take(
            question.place, unpack(reply.content, "SumAnswer", size_limit_bytes=group.answer_limit_bytes)
        )
    except FedstillError as error:
        group.left_out[question.place] = str(error)
    except Exception as error:
        log.exception("an answer could not be read")
        group.left_out[question.place] = f"{type(error).__name__} while reading it"


def _opened(group: _OpenGroup) -> GroupTotal | None:
    if group.closed:
        log.warning("a group of %d devices: %s", len(group.sum.keys), group.closed)
        return None
    try:
        opened = group.sum.opened()
    except SumFailed as error:
        group.closed = str(error)
        return _opened(group)
    names = tuple(_name(group, place) for place in opened.members.tolist())
    noises = group.sum.terms.summing.noises(len(names), dealt=opened.dealt)
    return GroupTotal(group.part, opened.steps, names, noises)


def _name(group: _OpenGroup, place: int) -> str:
    return group.sum.enrolled.devices[place].name


def _left_out(member: Member, text: str) -> Quarantined:
    return left_out(member.device, member.node, Reason.SUM, text[:300])


def no_list() -> EnrolledDevices | None:
    """The list of a fleet that has none."""
    return None


def check_enrolled(enrolled: EnrolledDevices | None) -> EnrolledDevices:
    """The list; raises ConfigError where a run is to sum and has none."""
    if enrolled is None:
        raise ConfigError(
            "secure_sums: there is no signed list of devices; register devices: "
            "fedstill-server register FLEET KEY"
        )
    return enrolled

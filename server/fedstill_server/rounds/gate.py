"""The gate between the network and the consensus: every reply is accepted, or quarantined with its reason.

It never raises, whatever a device sends.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import NamedTuple

from fedstill_proto.codec.api import Expected, decode_summaries
from fedstill_proto.errors import WireError
from fedstill_proto.flower_records import unpack
from fedstill_proto.messages import SoftLabelSummary
from fedstill_proto.refusal import Refusal
from flwr.app import Message

from fedstill_server.rounds.reasons import TEXT_LIMIT, reason_of
from fedstill_server.rounds.reasons import Reason as Reason
from fedstill_server.rounds.round_record import Quarantined
from fedstill_server.rounds.transport import REPLY_TOO_LARGE, REPLY_UNREADABLE

log = logging.getLogger("fedstill.ingest")
_DECODED_TOGETHER = 256  # replies whose messages are held at once

_OF_REFUSALS = {
    Refusal.POLICY: Reason.POLICY,
    Refusal.BUDGET: Reason.BUDGET,
    Refusal.NOT_NOW: Reason.NOT_NOW,
    Refusal.ANOTHER_GENERATION: Reason.ANOTHER_GENERATION,
    Refusal.NO_STUDENT: Reason.NO_STUDENT,
    Refusal.MISSING_BASE: Reason.MISSING_BASE,
    Refusal.WRONG_VERSION: Reason.WRONG_VERSION,
    Refusal.WRONG_FAMILY: Reason.WRONG_FAMILY,
}
_OF_NETWORK = {REPLY_TOO_LARGE: Reason.TOO_LARGE, REPLY_UNREADABLE: Reason.UNREADABLE}


@dataclass(frozen=True)
class Question:
    """A task that a device was sent, and what its answer must be.

    Attributes:
        device: The device's name.
        node: Its Flower node.
        expected: What the answer must be.
        newcomer: Whether the task brought the device's first student.
        asked_s: When it was sent, by the run's clock.
        base_round: The round whose table of the device was held then; 0 is none.
    """

    device: str
    node: int
    expected: Expected
    newcomer: bool = False
    asked_s: float = 0.0
    base_round: int = 0


@dataclass(frozen=True, eq=False)
class Answer:
    """An accepted summary, and the round of its task; `device` is the name that its node gave."""

    device: str
    summary: SoftLabelSummary
    round: int


class _Sent(NamedTuple):
    """Bytes that may be the summary that a question asked for."""

    question: Question
    blob: bytes


class _Refused(NamedTuple):
    """A reply that is left out, and why."""

    question: Question | None
    reason: Reason
    text: str


@dataclass
class Gate:
    """The gate of one round.

    Attributes:
        questions: What was asked, by the id of the message that asked.
        stale: Those of them that are too old for their answers to count; the answers are not even read.
        answers: The accepted ones.
        quarantined: What was left out, and why.
        uplink_bytes: Bytes of all replies, good or bad.
    """

    questions: dict[str, Question]
    stale: AbstractSet[str] = frozenset()
    answers: list[Answer] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)
    uplink_bytes: int = 0
    _heard: set[str] = field(default_factory=set)
    _given_up: set[str] = field(default_factory=set)

    @property
    def replied(self) -> int:
        """How many nodes have replied anything, good or bad."""
        return len(self._heard)

    @property
    def waiting(self) -> list[str]:
        """The ids of messages without a reply that are still waited for."""
        done = self._heard | self._given_up
        return [message_id for message_id in self.questions if message_id not in done]

    def ask(self, questions: Mapping[str, Question]) -> None:
        """Wait for the answers to these, too."""
        self.questions = {**self.questions, **questions}

    def admit(self, message: Message) -> None:
        """Accept the reply, or quarantine it."""
        self.admit_all([message])

    def admit_all(self, messages: Sequence[Message]) -> None:
        """The same of many replies, in their order; they are decoded together, and none disturbs another."""
        for start in range(0, len(messages), _DECODED_TOGETHER):
            seen = [self._seen(message) for message in messages[start : start + _DECODED_TOGETHER]]
            summaries = iter(_decoded([one for one in seen if isinstance(one, _Sent)]))
            for one in seen:
                if isinstance(one, _Refused):
                    self._refuse(*one)
                    continue
                question, summary = one.question, next(summaries)
                if isinstance(summary, SoftLabelSummary):
                    self.answers.append(Answer(question.device, summary, question.expected.round))
                elif isinstance(summary, WireError):
                    self._refuse(question, reason_of(summary), str(summary))
                else:
                    self._refuse(question, Reason.UNREADABLE, _unforeseen(summary))

    def move(self, before: str, now: str) -> None:
        """A question was asked anew: the answer to message `now` is the one that counts."""
        questions = dict(self.questions)
        questions[now] = questions.pop(before)
        self.questions = questions

    def close(self, message_ids: Iterable[str], *, quarantine: bool) -> None:
        """Do not wait for the answers to these messages any more.

        Args:
            message_ids: Messages without a reply.
            quarantine: Whether the devices that were asked are recorded as left out.
        """
        for message_id in message_ids:
            self._given_up.add(message_id)
            if quarantine:
                self._refuse(self.questions[message_id], Reason.NO_ANSWER, "no answer by the deadline")

    def counts(self) -> Counter[str]:
        """How many answers were left out for each reason."""
        return Counter(entry.reason for entry in self.quarantined)

    def _seen(self, message: Message) -> _Sent | _Refused:
        try:
            return self._first_look(message)
        # Nothing that a device sends may end the round; what is not foreseen is logged whole.
        except Exception as error:
            log.exception("a reply could not be read")
            return _Refused(self.questions.get(_asked_by(message)), Reason.UNREADABLE, _unforeseen(error))

    def _first_look(self, message: Message) -> _Sent | _Refused:
        """Whether the reply answers a question of ours, with bytes that may be a summary."""
        # Some of Flower's own error replies carry the server's node id: only the question says who it is.
        asked_by = _asked_by(message)
        question = self.questions.get(asked_by)
        if question is None:
            text = f"node {message.metadata.src_node_id} answers message {asked_by[:64]!r}"
            return _Refused(None, Reason.UNASKED, text)
        if asked_by in self._heard:
            self.uplink_bytes += bytes_in(message)
            return _Refused(question, Reason.DUPLICATE, "a second answer to the same question")
        self._heard.add(asked_by)
        if message.has_error():
            return _Refused(question, reason_of_reply(message), error_text(message))
        if message.metadata.src_node_id != question.node:
            self.uplink_bytes += bytes_in(message)
            text = f"answered by node {message.metadata.src_node_id}"
            return _Refused(question, Reason.WRONG_NODE, text)
        if asked_by in self.stale:
            self.uplink_bytes += bytes_in(message)
            text = f"answers round {question.expected.round}, whose state is too old"
            return _Refused(question, Reason.STALE, text)
        limit = question.expected.size_limit_bytes
        try:
            blob = unpack(message.content, "SoftLabelSummary", size_limit_bytes=limit)
        except WireError as error:
            self.uplink_bytes += bytes_in(message)
            too_large = "limit" in error.problem
            return _Refused(question, Reason.TOO_LARGE if too_large else Reason.NO_SUMMARY, str(error))
        self.uplink_bytes += len(blob)
        return _Sent(question, blob)

    def _refuse(self, question: Question | None, reason: Reason, text: str) -> None:
        device, node = ("", "") if question is None else (question.device, str(question.node))
        self.quarantined.append(
            Quarantined(device=device, node=node, reason=reason.value, text=text[:TEXT_LIMIT])
        )


def _decoded(sent: Sequence[_Sent]) -> list[SoftLabelSummary | Exception]:
    """The summary of each, or why there is none."""
    try:
        return [*decode_summaries([(one.blob, one.question.expected) for one in sent])]
    # Nothing that a device sends may end the round: what is not foreseen is the matter of one device.
    except Exception as error:
        if len(sent) > 1:
            return [summary for one in sent for summary in _decoded([one])]
        log.exception("a reply could not be read")
        return [error]


def _unforeseen(error: Exception) -> str:
    return f"{type(error).__name__} while reading it"


def left_out(device: str, node: int, reason: Reason, text: str) -> Quarantined:
    """A device whose answer does not count."""
    return Quarantined(device=device, node=str(node), reason=reason.value, text=text)


def reason_of_reply(message: Message) -> Reason:
    """The reason that an error reply gives."""
    if (reason := _OF_NETWORK.get(message.error.code)) is not None:
        return reason
    refusal = Refusal.of_code(message.error.code)
    return Reason.ERROR_REPLY if refusal is None else _OF_REFUSALS.get(refusal, Reason.ERROR_REPLY)


def error_text(message: Message) -> str:
    """The text of an error reply, on one line: that of the device's word, and Flower's own otherwise."""
    error = message.error
    refusal = Refusal.of_code(error.code)
    if refusal is not None:
        return str(refusal)
    return f"error {error.code}: {' '.join((error.reason or 'no reason given').split())}"[:TEXT_LIMIT]


def _asked_by(message: Message) -> str:
    return str(message.metadata.reply_to_message_id)


def bytes_in(message: Message) -> int:
    """Bytes of all arrays in a reply: what it cost, good or bad."""
    if not message.has_content():
        return 0
    return sum(
        len(array.data) for record in message.content.array_records.values() for array in record.values()
    )

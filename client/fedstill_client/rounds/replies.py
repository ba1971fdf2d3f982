"""What a device says to the server's messages: reading a task, and replies, of errors too.

Whatever goes wrong, one of the fixed words of fedstill_proto.refusal leaves the device. Its log has the
details, on one line.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Before flwr: it switches flwr's telemetry and update check off.
from fedstill_proto import flower_records  # isort: skip
from fedstill_proto.codec.api import TASK_LIMIT_BYTES, decode_task
from fedstill_proto.errors import FedstillError, WireError
from fedstill_proto.messages import RoundTask
from fedstill_proto.refusal import Refusal
from fedstill_proto.soft_labels.entropy import MissingBase
from flwr.app import Context, Error, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from fedstill_client.home import AgentHome
from fedstill_client.privacy.guard import PolicyRefused
from fedstill_client.privacy.refusals import note_refusal
from fedstill_client.rounds.round import (
    AnotherGeneration,
    Evaluation,
    Interrupted,
    NoStudent,
    RoundsOff,
    WrongFamily,
)
from fedstill_client.rounds.told_labels import ToldLabels
from fedstill_client.secure_sums.rule import SumRefused
from fedstill_client.store import PrivateStore

log = logging.getLogger("fedstill.device")

Answer = Callable[[Message, Context], RecordDict]

_WORDS: tuple[tuple[type[FedstillError], Refusal], ...] = (
    (NoStudent, Refusal.NO_STUDENT),
    (Interrupted, Refusal.NOT_NOW),
    (RoundsOff, Refusal.SWITCHED_OFF),
    (WrongFamily, Refusal.WRONG_FAMILY),
    (AnotherGeneration, Refusal.ANOTHER_GENERATION),
    (MissingBase, Refusal.MISSING_BASE),
    (WireError, Refusal.UNREADABLE),
    (SumRefused, Refusal.POLICY),
)


def answered(answer: Answer) -> Callable[[Message, Context], Message]:
    """Turn an error into a reply: a device that cannot do a round says so in a word, and goes on."""

    @functools.wraps(answer)
    def reply(message: Message, context: Context) -> Message:
        try:
            return Message(answer(message, context), reply_to=message)
        except Exception as error:
            return refused(message, error)

    return reply


class AnsweringApp(ClientApp):
    """A ClientApp that answers with a word even where it has no function; Flower would send a text."""

    def __call__(self, message: Message, context: Context) -> Message:
        """Answer a message, whatever it is."""
        try:
            return super().__call__(message, context)
        except Exception as error:
            return refused(message, error)


def refused(message: Message, error: Exception) -> Message:
    """The reply to a message that could not be done, of which the log has the reason."""
    refusal, kind = refusal_of(error), message.metadata.message_type
    if isinstance(error, FedstillError):
        log.warning("%s refused (%s): %s", kind, refusal.word, " ".join(str(error).split()))
    else:
        log.exception("%s failed", kind, exc_info=error)
    return Message(Error(refusal.code, refusal.word), reply_to=message)


@contextmanager
def noting_refusals(folder: Path, task: RoundTask) -> Iterator[None]:
    """Note in an agent's home why a task was not done, for its owner; the guard notes what it refuses."""
    try:
        yield
    except Exception as error:
        if AgentHome.is_at(folder) and not isinstance(error, PolicyRefused):
            with suppress(FedstillError), PrivateStore.open(AgentHome(folder)) as store:
                why = str(error) if isinstance(error, FedstillError) else f"{type(error).__name__}: {error}"
                note_refusal(store.ledger, why, run=task.run, round=task.round, refusal=refusal_of(error))
        raise


def refusal_of(error: Exception) -> Refusal:
    """The word for an error: nothing else of it leaves the device."""
    if isinstance(error, PolicyRefused):
        return error.refusal
    if isinstance(error, WireError) and error.field == "protocol_version":
        return Refusal.WRONG_VERSION
    return next((word for kind, word in _WORDS if isinstance(error, kind)), Refusal.FAILED)


def task_in(message: Message, told: ToldLabels) -> RoundTask:
    """The task that a message holds; raises WireError where it holds none.

    Args:
        message: What the server sent.
        told: What the device was told before; raises MissingBase where the task needs more.
    """
    blob = flower_records.unpack(message.content, "RoundTask", size_limit_bytes=TASK_LIMIT_BYTES)
    return decode_task(blob, told=told.table)


def counts_reply(counts: Evaluation) -> RecordDict:
    """The reply of a device, a stack of one, that counted its student's right answers."""
    return RecordDict({flower_records.RECORD: MetricRecord({n: int(v[0]) for n, v in vars(counts).items()})})

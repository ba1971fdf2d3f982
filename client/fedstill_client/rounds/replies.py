"""What a device says to the server's messages: reading a task, and replies, of errors too."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable

# Before flwr: it switches flwr's telemetry and update check off.
from fedstill_proto import flower_records  # isort: skip
from fedstill_proto.codec.api import TASK_LIMIT_BYTES, decode_task
from fedstill_proto.errors import FedstillError
from fedstill_proto.messages import RoundTask
from flwr.app import Context, Error, Message, MetricRecord, RecordDict

from fedstill_client.model.examples import ExampleFileError
from fedstill_client.privacy import PrivacyRefused
from fedstill_client.rounds.round import Evaluation, NoStudent

# Flower's own codes end at 8; 102 and 103 are flower_records.PRIVACY_REFUSED and flower_records.NO_STUDENT.
REFUSED, FAILED = 100, 101

log = logging.getLogger("fedstill.device")

Answer = Callable[[Message, Context], RecordDict]


def answered(answer: Answer) -> Callable[[Message, Context], Message]:
    """Turn an error into a reply: a device that cannot do a round gives the reason, and goes on."""

    @functools.wraps(answer)
    def reply(message: Message, context: Context) -> Message:
        try:
            return Message(answer(message, context), reply_to=message)
        except ExampleFileError as error:
            # Its words may quote the device's own examples, which nobody else is to read.
            log.warning("%s refused: %s", message.metadata.message_type, error)
            reason = "this device's examples cannot be used; its log has the details."
            return Message(Error(REFUSED, reason), reply_to=message)
        except PrivacyRefused as error:
            log.warning("%s refused: %s", message.metadata.message_type, error)
            return Message(Error(flower_records.PRIVACY_REFUSED, str(error)), reply_to=message)
        except NoStudent as error:
            log.warning("%s refused: %s", message.metadata.message_type, error)
            return Message(Error(flower_records.NO_STUDENT, str(error)), reply_to=message)
        except FedstillError as error:
            log.warning("%s refused: %s", message.metadata.message_type, error)
            return Message(Error(REFUSED, str(error)), reply_to=message)
        except Exception as error:
            log.exception("%s failed", message.metadata.message_type)
            reason = f"unexpected {type(error).__name__} on the device; its log has the details."
            return Message(Error(FAILED, reason), reply_to=message)

    return reply


def task_in(message: Message) -> RoundTask:
    """The task that a message holds; raises WireError where it holds none."""
    return decode_task(flower_records.unpack(message.content, "RoundTask", size_limit_bytes=TASK_LIMIT_BYTES))


def counts_reply(counts: Evaluation) -> RecordDict:
    """The reply of a device, a stack of one, that counted its student's right answers."""
    return RecordDict({flower_records.RECORD: MetricRecord({n: int(v[0]) for n, v in vars(counts).items()})})

"""Flower's messages taken into their pieces (see message_pieces.py), and put together within a limit.

It uses names which Flower keeps for itself: with another release of Flower, look here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

# Before flwr: it switches flwr's telemetry and update check off.
import fedstill_proto  # noqa: F401  # isort: skip
from flwr.app import Message, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.common.serde import (
    message_from_proto,
    message_to_proto,
    recorddict_from_proto,
    recorddict_to_proto,
)
from flwr.proto.message_pb2 import Message as MessageProto
from flwr.proto.recorddict_pb2 import RecordDict as RecordDictProto
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents

from fedstill_proto.errors import WireError
from fedstill_proto.message_pieces import TakenApart, check_sizes
from fedstill_proto.v1 import fleet_pb2

_FIELD = "message"


def take_apart(message: Message) -> TakenApart:
    """Take a message apart that is ready to be sent."""
    message.metadata.__dict__["_message_id"] = message.object_id
    with no_object_id_recompute():
        objects = {name: part.deflate() for name, part in get_all_nested_objects(message).items()}
        alone = message_to_proto(remove_content_from_message(message))
        return TakenApart(
            fleet_pb2.Message.FromString(alone.SerializeToString()),
            fleet_pb2.ObjectTree.FromString(get_object_tree(message).SerializeToString()),
            objects,
        )


def flower_message(message: fleet_pb2.Message) -> Message:
    """A message without its content as Flower's own; raises WireError where it is none."""
    with _refusing():
        return message_from_proto(MessageProto.FromString(message.SerializeToString()))


def assemble(message_id: str, objects: Mapping[str, bytes], *, size_limit_bytes: int) -> Message:
    """Put a message together.

    Args:
        message_id: The name of the object that is the message.
        objects: The bytes of all objects.
        size_limit_bytes: The most bytes of all arrays together.

    Raises:
        WireError: The objects are no message, or one that is larger than the limit.
    """
    check_sizes(objects, size_limit_bytes)
    with _refusing():
        message = inflate_object_from_contents(message_id, dict(objects))
    if not isinstance(message, Message):
        raise WireError(_FIELD, f"the objects are a {type(message).__name__}, and no message")
    message.metadata.__dict__["_message_id"] = message_id
    return message


def content_to_bytes(content: RecordDict) -> bytes:
    """A message's content as Flower serializes it, for another message to hold."""
    return bytes(recorddict_to_proto(content).SerializeToString())


def content_from_bytes(blob: bytes) -> RecordDict:
    """Read what `content_to_bytes` made; raises WireError for anything else."""
    with _refusing():
        return recorddict_from_proto(RecordDictProto.FromString(blob))


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    """Turn whatever Flower raises for bytes that are no message into a WireError."""
    try:
        yield
    except Exception as error:
        raise WireError(_FIELD, f"the objects are no message ({type(error).__name__})") from error

"""The ClientApp, called as Flower calls it, and the bytes that Flower sends of what it replies."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fedstill_client.app import app as fedstill_app
from fedstill_proto import flower_records
from fedstill_proto.codec.api import encode_task
from fedstill_proto.messages import RoundTask
from fedstill_proto.soft_labels.codec import Encoding, SoftLabelCodec
from flwr.app import Context, Message, RecordDict
from flwr.app.metadata import Metadata
from flwr.common.serde import message_to_proto
from flwr.supercore.inflatable.inflatable_object import get_all_nested_objects

FLOAT32 = SoftLabelCodec(Encoding.FLOAT32)


def call(
    message_type: str,
    content: RecordDict,
    node: Context,
    app: Callable[[Message, Context], Message] = fedstill_app,
) -> Message:
    """What the app replies; the metadata is what a SuperLink would have filled in."""
    metadata = Metadata(
        run_id=1,
        message_id="m1",
        src_node_id=1,
        dst_node_id=22,
        reply_to_message_id="",
        group_id="4",
        created_at=1e9,
        ttl=1e9,
        message_type=message_type,
    )
    # Flower types this way of making a message as its own.
    message: Message = Message(content=content, metadata=metadata)  # type: ignore[call-overload]
    reply = app(message, node)
    assert reply.metadata.reply_to_message_id == "m1"
    assert reply.metadata.src_node_id == 22
    return reply


def node_of(folder: Path | str, **config: int) -> Context:
    return Context(1, 22, {"fedstill-device": str(folder), **config}, RecordDict(), {})


def packed(round_task: RoundTask) -> RecordDict:
    return flower_records.pack("RoundTask", encode_task(round_task, codec=FLOAT32))


def sent_bytes(reply: Message) -> bytes:
    """A reply as it leaves the device: the message itself, and the objects that Flower cuts it into."""
    objects = get_all_nested_objects(reply).values()
    return message_to_proto(reply).SerializeToString() + b"".join(each.deflate() for each in objects)

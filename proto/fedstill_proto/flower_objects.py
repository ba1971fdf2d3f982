"""Flower's messages as they travel, in pieces: taken apart, and put together within a limit.

Flower cuts a message into objects, each known by its SHA-256: the message, its records, its arrays, and the
chunks that an array's bytes are in. Who receives it gets a tree of their names, then asks for each. A sender
may name a chunk many times over, so that a message takes far more memory than it took to send it; so its size
is reckoned before it is put together.

Like system/flower_node.py it uses names which Flower keeps for itself: with another release of Flower, look
here.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

# Before flwr: it switches flwr's telemetry and update check off.
import fedstill_proto  # noqa: F401  # isort: skip
from flwr.app import Array, Message, RecordDict
from flwr.app.message import remove_content_from_message
from flwr.common.serde import (
    message_from_proto,
    message_to_proto,
    recorddict_from_proto,
    recorddict_to_proto,
)
from flwr.proto.message_pb2 import Message as MessageProto
from flwr.proto.message_pb2 import ObjectTree
from flwr.proto.recorddict_pb2 import RecordDict as RecordDictProto
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_body,
    get_object_children_ids_from_object_content,
    get_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.inflatable.inflatable_utils import inflate_object_from_contents

from fedstill_proto.errors import WireError

_FIELD = "message"
# A message of ours is one array in chunks of 5 MiB, and four objects around them.
OBJECTS_LIMIT = 64
# What the objects around the chunks hold together: names, a shape, a greeting.
_OVERHEAD_BYTES = 1 << 20
_DEPTH_LIMIT = 16


@dataclass(frozen=True)
class TakenApart:
    """A message in pieces: the message without its content, the tree of its objects, and their bytes."""

    message: Message
    tree: ObjectTree
    objects: Mapping[str, bytes]

    def to_frames(self) -> list[bytes]:
        """The same as a list of bytes, for another process."""
        pieces = (piece for name, data in self.objects.items() for piece in (name.encode(), data))
        return [message_to_proto(self.message).SerializeToString(), self.tree.SerializeToString(), *pieces]

    @classmethod
    def from_frames(cls, frames: list[bytes]) -> TakenApart:
        """Read what `to_frames` made; raises WireError for anything else."""
        if len(frames) < 2 or len(frames) % 2:
            raise WireError(_FIELD, f"{len(frames)} frames are no message")
        with _refusing():
            message = message_from_proto(MessageProto.FromString(frames[0]))
            tree = ObjectTree.FromString(frames[1])
            names = [name.decode("ascii") for name in frames[2::2]]
        return cls(message, tree, dict(zip(names, frames[3::2], strict=True)))


def take_apart(message: Message) -> TakenApart:
    """Take a message apart that is ready to be sent."""
    message.metadata.__dict__["_message_id"] = message.object_id
    with no_object_id_recompute():
        objects = {name: part.deflate() for name, part in get_all_nested_objects(message).items()}
        return TakenApart(remove_content_from_message(message), get_object_tree(message), objects)


def object_names(tree: ObjectTree) -> list[str]:
    """The names of all objects of a tree, each once; raises WireError where they exceed OBJECTS_LIMIT."""
    names: dict[str, None] = {}
    for name in _names(tree, _DEPTH_LIMIT):
        names[name] = None
        if len(names) > OBJECTS_LIMIT:
            raise WireError(_FIELD, f"more than the limit of {OBJECTS_LIMIT} objects")
    return list(names)


class Gathering:
    """The objects of one message, as they come in, and no further than a limit."""

    def __init__(self, tree: ObjectTree, *, size_limit_bytes: int) -> None:
        """Begin with the names; raises WireError where there are too many.

        Args:
            tree: The message's tree.
            size_limit_bytes: The most bytes of its array.
        """
        self._names, self._limit = object_names(tree), size_limit_bytes
        self._total = 0
        self.objects: dict[str, bytes] = {}

    def pull(self, pull: Callable[[str], bytes | None]) -> bool:
        """Ask for what has not come yet.

        Args:
            pull: Gives the bytes of an object; None where it is not there yet.

        Returns:
            Whether all is there.

        Raises:
            WireError: The objects are more than the limit and what little is around the array, or would be so
                once they are put together.
        """
        for name in self._names:
            if name in self.objects:
                continue
            data = pull(name)
            if data is None:
                return False
            self.objects[name] = data
            self._total += len(data)
            if self._total > self._limit + _OVERHEAD_BYTES:
                raise WireError(_FIELD, f"more than the limit of {self._limit} bytes")
        _check_sizes(self.objects, self._limit)
        return True


def assemble(message_id: str, objects: Mapping[str, bytes], *, size_limit_bytes: int) -> Message:
    """Put a message together.

    Args:
        message_id: The name of the object that is the message.
        objects: The bytes of all objects.
        size_limit_bytes: The most bytes of all arrays together.

    Raises:
        WireError: The objects are no message, or one that is larger than the limit.
    """
    _check_sizes(objects, size_limit_bytes)
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


def _check_sizes(objects: Mapping[str, bytes], size_limit_bytes: int) -> None:
    around = sum(len(data) for data in objects.values() if not _is_chunk(data))
    if around > _OVERHEAD_BYTES:
        raise WireError(_FIELD, f"{around} bytes around its arrays, more than the limit of {_OVERHEAD_BYTES}")
    total = sum(_array_bytes(data, objects) for data in objects.values())
    if total > size_limit_bytes + _OVERHEAD_BYTES:
        raise WireError(_FIELD, f"{total} bytes in its arrays, more than the limit of {size_limit_bytes}")


def _is_chunk(data: bytes) -> bool:
    return data.startswith(b"ArrayChunk ")


def _array_bytes(data: bytes, objects: Mapping[str, bytes]) -> int:
    """The bytes that an array takes once its chunks are put together, which may be named many times over."""
    if not data.startswith(b"Array "):
        return 0
    with _refusing():
        children = get_object_children_ids_from_object_content(data)
        body: dict[str, Any] = json.loads(get_object_body(data, Array))
        chunks = [objects[children[index]] for index in body["arraychunk_ids"]]
    if not all(map(_is_chunk, chunks)):
        raise WireError(_FIELD, "an array in pieces that are no chunks")
    return sum(map(len, chunks))


def _names(tree: ObjectTree, depth: int) -> Iterator[str]:
    if depth == 0:
        raise WireError(_FIELD, "objects in objects in objects, too deep")
    for child in tree.children:
        yield from _names(child, depth - 1)
    yield tree.object_id


@contextlib.contextmanager
def _refusing() -> Iterator[None]:
    """Turn whatever Flower raises for bytes that are no message into a WireError."""
    try:
        yield
    except Exception as error:
        raise WireError(_FIELD, f"the objects are no message ({type(error).__name__})") from error

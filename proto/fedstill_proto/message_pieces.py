"""Messages as they travel over Flower's network, in pieces, and no more of them than a limit.

Flower cuts a message into objects, each known by its SHA-256: the message, its records, its arrays, and the
chunks that an array's bytes are in. Who receives it gets a tree of their names, then asks for each. A sender
may name a chunk many times over, so that a message takes far more memory than it took to send it; so its size
is reckoned before it is put together (see flower_objects.py).

Nothing of Flower is loaded here: a device waits for messages without it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError

from fedstill_proto.errors import WireError
from fedstill_proto.v1 import fleet_pb2

TASK_LIMIT_BYTES = 256 << 20
"""The most bytes of a task, which is one array."""

_FIELD = "message"
# A message of ours is one array in chunks of 5 MiB, and four objects around them.
OBJECTS_LIMIT = 64
# What the objects around the chunks hold together: names, a shape, a greeting.
_OVERHEAD_BYTES = 1 << 20
_DEPTH_LIMIT = 16


@dataclass(frozen=True)
class TakenApart:
    """A message in pieces: the message without its content, the tree of its objects, and their bytes."""

    message: fleet_pb2.Message
    tree: fleet_pb2.ObjectTree
    objects: Mapping[str, bytes]

    def to_frames(self) -> list[bytes]:
        """The same as a list of bytes, for another process."""
        pieces = (piece for name, data in self.objects.items() for piece in (name.encode(), data))
        return [self.message.SerializeToString(), self.tree.SerializeToString(), *pieces]

    @classmethod
    def from_frames(cls, frames: Sequence[bytes]) -> TakenApart:
        """Read what `to_frames` made; raises WireError for anything else."""
        if len(frames) < 2 or len(frames) % 2:
            raise WireError(_FIELD, f"{len(frames)} frames are no message")
        try:
            message = fleet_pb2.Message.FromString(frames[0])
            tree = fleet_pb2.ObjectTree.FromString(frames[1])
            names = [name.decode("ascii") for name in frames[2::2]]
        except (DecodeError, UnicodeDecodeError):
            raise WireError(_FIELD, "the frames are no message") from None
        return cls(message, tree, dict(zip(names, frames[3::2], strict=True)))


def object_names(tree: Any) -> list[str]:
    """The names of all objects of a tree, each once; raises WireError where they exceed OBJECTS_LIMIT.

    Args:
        tree: An ObjectTree, Flower's or that of fleet.proto.
    """
    names: dict[str, None] = {}
    for name in _names(tree, _DEPTH_LIMIT):
        names[name] = None
        if len(names) > OBJECTS_LIMIT:
            raise WireError(_FIELD, f"more than the limit of {OBJECTS_LIMIT} objects")
    return list(names)


class Gathering:
    """The objects of one message, as they come in, and no further than a limit."""

    def __init__(self, tree: Any, *, size_limit_bytes: int) -> None:
        """Begin with the names; raises WireError where there are too many.

        Args:
            tree: The message's ObjectTree, Flower's or that of fleet.proto.
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
        check_sizes(self.objects, self._limit)
        return True


def check_sizes(objects: Mapping[str, bytes], size_limit_bytes: int) -> None:
    """Reckon the size of a message before it is put together; raises WireError above the limit."""
    around = sum(len(data) for data in objects.values() if not _is_chunk(data))
    if around > _OVERHEAD_BYTES:
        raise WireError(_FIELD, f"{around} bytes around its arrays, more than the limit of {_OVERHEAD_BYTES}")
    total = sum(_array_bytes(data, objects) for data in objects.values())
    if total > size_limit_bytes + _OVERHEAD_BYTES:
        raise WireError(_FIELD, f"{total} bytes in its arrays, more than the limit of {size_limit_bytes}")


def _is_chunk(data: bytes) -> bool:
    return data.startswith(b"ArrayChunk ")


def _array_bytes(data: bytes, objects: Mapping[str, bytes]) -> int:
    """The bytes that an array takes once its chunks are put together, which may be named many times over.

    An object is "Array <its children's names> <length of its body>", a zero, and the body.
    """
    if not data.startswith(b"Array "):
        return 0
    try:
        head, _, body = data.partition(b"\0")
        _, names, _ = head.decode().split(" ")
        children = names.split(",")
        chunks = [objects[children[index]] for index in json.loads(body)["arraychunk_ids"]]
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise WireError(_FIELD, f"the objects are no message ({type(error).__name__})") from error
    if not all(map(_is_chunk, chunks)):
        raise WireError(_FIELD, "an array in pieces that are no chunks")
    return sum(map(len, chunks))


def _names(tree: Any, depth: int) -> Iterator[str]:
    if depth == 0:
        raise WireError(_FIELD, "objects in objects in objects, too deep")
    for child in tree.children:
        yield from _names(child, depth - 1)
    yield tree.object_id

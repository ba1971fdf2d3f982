"""What a server and a relay tell each other: about the messages of many devices, each time in one message.

A relay is one node of the server above, and answers three requests, all of Flower's type `query.relay`:

* `Members`: which devices are behind it; it replies when the list is another than the server knows;
* `Send`: takes over messages for devices; a task that many of them get travels once;
* `Take`: gives the replies that have come since, in batches: a request confirms the batch before.

On the wire each is one array of bytes: a JSON header, and the contents of messages as Flower serializes them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

# Before flwr: it switches flwr's telemetry and update check off.
import fedstill_proto  # noqa: F401  # isort: skip
from fedstill_proto.errors import WireError
from fedstill_proto.flower_objects import content_from_bytes, content_to_bytes
from fedstill_proto.flower_records import pack, unpack
from fedstill_proto.system import frames
from flwr.app import ConfigRecord, Error, RecordDict

from fedstill_server.rounds.transport import REPLY_UNREADABLE

RELAY_TYPE = "query.relay"
LETTERS_LIMIT_BYTES = 96 << 20
"""The most bytes of one message between a server and a relay."""
BATCH_BYTES = 8 << 20
"""A message between them has about so many bytes of contents, or one content that is larger."""
_MOST_LETTERS = 20_000
_TEXT_LIMIT = 300

Content = RecordDict | Error


@dataclass(frozen=True)
class RelayMember:
    """A device behind a relay.

    Attributes:
        node: Its node, as the relay numbers them.
        name: The name under which its key is registered at the relay.
        activated_at: When it last came up, ISO 8601.
    """

    node: int
    name: str
    activated_at: str = ""


@dataclass(frozen=True, eq=False)
class Letter:
    """A message for a device, or its reply.

    Attributes:
        name: The same in the message and the reply.
        content: What it says; a reply may be an error.
        node: The device's, as the relay numbers them; of a reply it is not told.
        kind: The message's type, as Flower has it.
        group: The message's group.
    """

    name: str
    content: Content
    node: int = 0
    kind: str = ""
    group: str = ""


@dataclass(frozen=True)
class Members:
    """Ask for the list of devices, where it is not the one of this digest."""

    known: str = ""


@dataclass(frozen=True)
class MembersReply:
    """The list of devices; None where it is the known one."""

    session: str
    digest: str
    members: tuple[RelayMember, ...] | None


@dataclass(frozen=True, eq=False)
class Send:
    """Messages for devices, and the most bytes that a reply to one of them may have."""

    letters: tuple[Letter, ...]
    reply_limit_bytes: int = 0


@dataclass(frozen=True)
class SendReply:
    """The messages have been taken over."""

    session: str


@dataclass(frozen=True)
class Take:
    """Ask for the replies of this batch; those of the batches before have arrived."""

    session: str
    batch: int


@dataclass(frozen=True, eq=False)
class TakeReply:
    """Replies. What a session before this one was sent is lost."""

    session: str
    batch: int
    letters: tuple[Letter, ...] = ()


Told = Members | MembersReply | Send | SendReply | Take | TakeReply
One = TypeVar("One", bound=Told)
_KINDS: Mapping[str, type[Told]] = {
    kind.__name__: kind for kind in (Members, MembersReply, Send, SendReply, Take, TakeReply)
}


def packed(told: Told) -> RecordDict:
    """The content of a message that tells it."""
    header: dict[str, Any] = {"says": type(told).__name__, **vars(told)}
    blobs: list[bytes] = []
    if isinstance(told, MembersReply) and told.members is not None:
        header["members"] = [[one.node, one.name, one.activated_at] for one in told.members]
    if isinstance(told, Send | TakeReply):
        header["letters"], blobs = _letters_out(told.letters)
    return pack("Letters", frames.to_bytes([json.dumps(header).encode(), *blobs]))


def read(content: RecordDict, kind: type[One]) -> One:
    """Read what `packed` wrote; raises WireError where it is not of this kind."""
    told = read_any(content)
    if not isinstance(told, kind):
        raise WireError("says", f"{type(told).__name__}, expected {kind.__name__}")
    return told


def read_any(content: RecordDict) -> Told:
    """Read what `packed` wrote; raises WireError for anything else."""
    parts = frames.from_bytes(unpack(content, "Letters", size_limit_bytes=LETTERS_LIMIT_BYTES))
    with _refusing("letters"):
        header = json.loads(parts[0])
        kind = _KINDS[header.pop("says")]
        if header.get("members") is not None:
            header["members"] = tuple(
                RelayMember(int(node), _text(name), _text(came_up))
                for node, name, came_up in header["members"]
            )
        if "letters" in header:
            header["letters"] = tuple(_letters_in(header["letters"], parts[1:]))
        return kind(**header)


def batches(letters: Iterable[Letter]) -> Iterator[tuple[Letter, ...]]:
    """Letters in batches that each fit into a message; a content that many share counts once."""
    batch: list[Letter] = []
    records: set[int] = set()
    size = 0
    for letter in letters:
        more = _new_bytes(letter.content, records)
        if batch and (size + more > BATCH_BYTES or len(batch) == _MOST_LETTERS):
            yield tuple(batch)
            batch, records, size = [], set(), 0
            more = _new_bytes(letter.content, records)
        batch.append(letter)
        size += more
    if batch:
        yield tuple(batch)


def named_under(content: RecordDict, relay: str) -> RecordDict:
    """A device's answer to its greeting, with the relay's name before the device's."""
    renamed = RecordDict(dict(content))
    for key, record in content.config_records.items():
        if isinstance(name := record.get("device"), str):
            renamed[key] = ConfigRecord({**record, "device": f"{relay}/{name}"})
    return renamed


def _letters_out(letters: Iterable[Letter]) -> tuple[list[list[Any]], list[bytes]]:
    """The letters for a header, and their contents, each once."""
    rows: list[list[Any]] = []
    blobs: dict[bytes, int] = {}
    known: dict[tuple[int, ...], int] = {}  # by the records that a content is of: tasks share them
    for letter in letters:
        row: list[Any] = [letter.name, letter.node, letter.kind, letter.group]
        if isinstance(letter.content, Error):
            rows.append([*row, letter.content.code, (letter.content.reason or "")[:_TEXT_LIMIT]])
            continue
        records = tuple(map(id, letter.content.values()))
        if records not in known:
            blob = content_to_bytes(letter.content)
            known[records] = blobs.setdefault(blob, len(blobs))
        rows.append([*row, known[records]])
    return rows, list(blobs)


def _letters_in(rows: list[list[Any]], blobs: list[bytes]) -> Iterator[Letter]:
    if len(rows) > _MOST_LETTERS:
        raise WireError("letters", f"more than the limit of {_MOST_LETTERS}")
    contents: dict[int, Content] = {}
    for name, node, kind, group, *rest in rows:
        if len(rest) == 2:
            content: Content = Error(int(rest[0]), _text(rest[1]))
        else:
            (place,) = rest
            if place not in contents:
                contents[place] = _content(blobs[int(place)])
            content = contents[place]
        yield Letter(_text(name), content, int(node), _text(kind), _text(group))


def _content(blob: bytes) -> Content:
    """A content, or the error that stands for one that cannot be read: the others are not lost with it."""
    try:
        return content_from_bytes(blob)
    except WireError as error:
        return Error(REPLY_UNREADABLE, str(error))


def _new_bytes(content: Content, records: set[int]) -> int:
    """The bytes of the arrays in a content that are not in `records` yet; they are, from now on."""
    if isinstance(content, Error):
        return 0
    new = [record for record in content.array_records.values() if id(record) not in records]
    records.update(map(id, new))
    return sum(len(array.data) for record in new for array in record.values())


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _TEXT_LIMIT:
        raise WireError(
            "letters", f"{type(value).__name__}, expected a text of {_TEXT_LIMIT} characters at most"
        )
    return value


@contextmanager
def _refusing(field: str) -> Iterator[None]:
    """Turn whatever is raised for bytes that say nothing into a WireError."""
    try:
        yield
    except WireError:
        raise
    except Exception as error:
        raise WireError(field, f"cannot be read ({type(error).__name__})") from error

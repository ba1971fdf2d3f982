"""Events of the Wyoming protocol, as they come from a client that may be anyone.

An event is a line of JSON, then as many bytes of JSON and as many of a payload as the line says. The package
`wyoming` reads any number of bytes and waits for them for ever: here both have bounds, and what is damaged or
half there is an error that says what was wrong.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from fedstill_proto.errors import FedstillError
from wyoming.event import Event

LINE_LIMIT_BYTES = 1 << 16
DATA_LIMIT_BYTES = 1 << 16
PAYLOAD_LIMIT_BYTES = 1 << 20  # of audio, which this service has no use for
_WHOLE_WITHIN_S = 10.0


class BadEvent(FedstillError):
    """What came is no whole event of the Wyoming protocol."""


async def read_bounded_event(
    reader: asyncio.StreamReader, *, within: float = _WHOLE_WITHIN_S
) -> Event | None:
    """The next event, whose payload is dropped.

    Args:
        reader: What comes from the client; its own limit is that of a line.
        within: Seconds from an event's first byte to its last.

    Returns:
        The event; None where the client has closed the connection between two events.

    Raises:
        BadEvent: It is damaged, too long, or ends in the middle.
    """
    first = await reader.read(1)
    if not first:
        return None
    try:
        async with asyncio.timeout(within):
            return await _rest(first, reader)
    except TimeoutError:
        raise BadEvent(f"half an event, and nothing more of it within {within:g} s") from None
    except asyncio.IncompleteReadError as error:
        raise BadEvent(
            f"the connection ended in the middle of an event: {len(error.partial)} bytes of {error.expected}"
        ) from None


async def _rest(first: bytes, reader: asyncio.StreamReader) -> Event:
    try:
        line = first if first == b"\n" else first + await reader.readuntil(b"\n")
    except asyncio.LimitOverrunError:
        raise BadEvent(f"a line of more than {LINE_LIMIT_BYTES} bytes") from None
    head = _object(line, "the line")
    kind, data = head.get("type"), head.get("data", {})
    if not isinstance(kind, str) or not isinstance(data, dict):
        raise BadEvent(f"type {kind!r:.40} and data {type(data).__name__}: give a name and an object")
    length = _length(head, "data_length", DATA_LIMIT_BYTES)
    if length:
        data |= _object(await reader.readexactly(length), "data")
    await reader.readexactly(_length(head, "payload_length", PAYLOAD_LIMIT_BYTES))
    return Event(kind, data)


def _object(content: bytes, what: str) -> dict[str, Any]:
    try:
        read = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadEvent(f"{what} is no JSON: {str(error)[:80]}") from None
    if not isinstance(read, dict):
        raise BadEvent(f"{what} is JSON, and no object: {type(read).__name__}")
    return read


def _length(head: dict[str, Any], name: str, most: int) -> int:
    value = head.get(name)
    if value is None:
        return 0
    if type(value) is not int or not 0 <= value <= most:
        raise BadEvent(f"{name} {value!r:.40}: give 0 to {most}")
    return value

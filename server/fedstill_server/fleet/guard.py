"""What a device may ask of the SuperLink, how often, and how much of it: a guard before Flower's Fleet API.

Flower reads the whole body of a request before it looks who sends it, takes replies for the sender that they
name, keeps any number of objects for one question, and opens a session on its disk for each reply that it
then refuses. The guard knows the operator's list of keys, and lets through, of registered devices alone:

* so many requests a second, and so many at a time;
* bodies no larger than the route needs, that come at a rate that a line can have;
* replies in the device's own name, to questions that it was asked, a few times each, of so many objects;
* objects of a reply up to the most bytes that an answer of this fleet can have (see reply_limit.py).

All of it is in memory, and bounded by the number of registered devices.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, field

_REQUESTS_A_SECOND, _REQUESTS_AT_ONCE = 10.0, 200.0
_REQUESTS_AT_A_TIME = 4
_REPLIES_TO_A_QUESTION = 3  # its connection may break
_REMEMBERED = 64  # questions and sessions of a device

OBJECT_LIMIT_BYTES = (5 << 20) + (1 << 16)  # Flower's chunks have 5 MiB
REQUEST_LIMIT_BYTES = 256 << 10  # of every other route
_LEAST_BYTES_A_SECOND = 16 << 10
_PATIENCE_S = 20.0
IN_FLIGHT_LIMIT_BYTES = 64 << 20  # bodies of all devices that are being read


@dataclass
class _Device:
    """What one device has asked for lately."""

    tokens: float = _REQUESTS_AT_ONCE
    refilled_s: float = 0.0
    at_a_time: int = 0
    replies: OrderedDict[str, int] = field(default_factory=OrderedDict)  # by the question's message
    pushed_bytes: OrderedDict[str, int] = field(default_factory=OrderedDict)  # by session


class Allowances:
    """The allowances of all devices, by key."""

    def __init__(self) -> None:
        self._devices: dict[bytes, _Device] = {}
        self._in_flight_bytes = 0

    def keep(self, keys: frozenset[bytes]) -> None:
        """Forget devices that are registered no more."""
        self._devices = {key: device for key, device in self._devices.items() if key in keys}

    def start(self, key: bytes, body_bytes: int) -> bool:
        """Whether a request may be read now; `end` has to follow."""
        device, now = self._of(key), time.monotonic()
        device.tokens = min(_REQUESTS_AT_ONCE, device.tokens + (now - device.refilled_s) * _REQUESTS_A_SECOND)
        device.refilled_s = now
        if device.tokens < 1 or device.at_a_time >= _REQUESTS_AT_A_TIME:
            return False
        if self._in_flight_bytes + body_bytes > IN_FLIGHT_LIMIT_BYTES:
            return False
        device.tokens -= 1
        device.at_a_time += 1
        self._in_flight_bytes += body_bytes
        return True

    def end(self, key: bytes, body_bytes: int) -> None:
        """A request that was started has been answered."""
        self._of(key).at_a_time -= 1
        self._in_flight_bytes -= body_bytes

    def replies(self, key: bytes, question: str) -> bool:
        """Whether a device may reply to a question once more."""
        count = _count(self._of(key).replies, question, 1)
        return count <= _REPLIES_TO_A_QUESTION

    def pushes(self, key: bytes, session: str, size: int, *, limit_bytes: int) -> bool:
        """Whether a device may push so many bytes more in a session."""
        return _count(self._of(key).pushed_bytes, session, size) <= limit_bytes

    def _of(self, key: bytes) -> _Device:
        return self._devices.setdefault(key, _Device(refilled_s=time.monotonic()))


def seconds_for(size: int) -> float:
    """How long the body of a request may take."""
    return _PATIENCE_S + size / _LEAST_BYTES_A_SECOND


def _count(counts: OrderedDict[str, int], name: str, more: int) -> int:
    """Add to a count, and forget the one that was not added to for longest where there are too many."""
    counts[name] = counts.pop(name, 0) + more
    while len(counts) > _REMEMBERED:
        counts.popitem(last=False)
    return counts[name]

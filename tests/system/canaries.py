"""Looks for private examples in bytes that have left a device, however they may have been written there.

    sent = b"".join(bytes_of(reply) for reply in replies)
    assert leaks(sent, [canary_x, "a secret word"]) == []

An array has leaked where some of its consecutive values, eight or all if there are fewer, stand in the bytes
in any of ENCODINGS; a text where it stands there in any of the usual codes.
"""

from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Canary = Array | str
CONSECUTIVE = 8  # values


def canary_examples(count: int, shape: tuple[int, ...], *, seed: int = 0) -> npt.NDArray[np.float32]:
    """Examples [count, *shape] of numbers that nothing else has, of full precision."""
    return np.random.default_rng([seed, 0xCA9A]).uniform(0.5, 2.0, (count, *shape)).astype(np.float32)


def leaks(sent: bytes, canaries: Sequence[Canary]) -> list[str]:
    """What has leaked, in words: which canary, in which encoding, and where in the bytes."""
    found = []
    for number, canary in enumerate(canaries):
        for name, pattern in patterns(canary):
            if (place := sent.find(pattern)) >= 0:
                found.append(f"canary {number} as {name} at byte {place}")
                break
    return found


def patterns(canary: Canary) -> Iterator[tuple[str, bytes]]:
    """Every way in which (a part of) the canary may be written, by name."""
    if isinstance(canary, str):
        for code in ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le"):
            yield from _also_as_text(code, canary.encode(code))
        return
    values = np.asarray(canary).ravel()
    width = min(CONSECUTIVE, len(values))
    for start in range(len(values) - width + 1):
        part = values[start : start + width]
        for name, encode in ENCODINGS.items():
            if (pattern := encode(part)) is not None:
                yield from _also_as_text(name, pattern)
        for name, text in _decimals(part):
            yield name, text.encode()


def _number_type(name: str) -> Callable[[Array], bytes | None]:
    def encode(values: Array) -> bytes | None:
        kind = np.dtype(name)
        if kind.kind in "iu" and (values.dtype.kind not in "iu" or values.max() > np.iinfo(kind).max):
            return None
        return values.astype(kind).tobytes()

    return encode


def _varints(values: Array) -> bytes | None:
    """As protobuf packs whole numbers."""
    if values.dtype.kind not in "iu" or values.min() < 0:
        return None
    packed = bytearray()
    for value in map(int, values):
        while value >= 0x80:
            packed.append(value & 0x7F | 0x80)
            value >>= 7
        packed.append(value)
    return bytes(packed)


ENCODINGS: dict[str, Callable[[Array], bytes | None]] = {
    name: _number_type(name)
    for name in ("<f4", ">f4", "<f8", ">f8", "<f2", ">f2", "<i8", ">i8", "<i4", ">i4", "<u2", ">u2")
} | {"varints": _varints}


def _decimals(values: Array) -> Iterator[tuple[str, str]]:
    """As numbers in words: JSON, CSV, numpy's and Python's own."""
    as_float64 = [repr(value) for value in values.astype(np.float64).tolist()]
    own = [str(value) for value in values]
    short = [f"{value:.6g}" for value in values.tolist()]
    for style, numbers in (("float64", as_float64), ("own", own), ("6 digits", short)):
        for mark in (", ", ",", " ", "\n"):
            yield f"decimal text ({style}, {mark!r})", mark.join(numbers)


def _also_as_text(name: str, pattern: bytes) -> Iterator[tuple[str, bytes]]:
    yield name, pattern
    yield f"{name} in hexadecimal", pattern.hex().encode()
    for before in range(3):
        # Base64 of a longer run depends on where in it these bytes begin; what its ends share is cut off.
        code = base64.b64encode(bytes(before) + pattern)
        cut = code[-(-8 * before // 6) : 8 * (before + len(pattern)) // 6]
        yield f"{name} in base64", cut


class Tap:
    """What has gone through a relay: to the one who listens behind it, and back from there."""

    def __init__(self) -> None:
        self._to, self._back = bytearray(), bytearray()

    @property
    def to(self) -> bytes:
        return bytes(self._to)

    @property
    def back(self) -> bytes:
        return bytes(self._back)


@contextmanager
def relayed(listener: socket.socket, target: str | tuple[str, int]) -> Iterator[Tap]:
    """Relay the connections of a listening socket to `target`, a Unix socket's path or host and port."""
    tap, open_sockets = Tap(), [listener]

    def copy(source: socket.socket, sink: socket.socket, record: bytearray) -> None:
        with suppress(OSError):  # an end has gone
            while content := source.recv(1 << 16):
                record += content
                sink.sendall(content)
            sink.shutdown(socket.SHUT_WR)

    def accept() -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX if isinstance(target, str) else socket.AF_INET)
            open_sockets.extend((near, far))
            far.connect(target)
            for ends in ((near, far, tap._to), (far, near, tap._back)):
                threading.Thread(target=copy, args=ends, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield tap
    finally:
        for each in open_sockets:
            # What waits in accept or recv wakes up at a shutdown, not at a close.
            for end in (lambda s=each: s.shutdown(socket.SHUT_RDWR), each.close):
                with suppress(OSError):
                    end()


@contextmanager
def relayed_unix(path: Path, target: Path) -> Iterator[Tap]:
    """Relay from a Unix socket at `path` to the one at `target`."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    with relayed(listener, str(target)) as tap:
        yield tap

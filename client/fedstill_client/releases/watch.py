"""How long a service's answers take, by package, and whether one ended the process: for a release's report.

All of it is one page of a file in the home, mapped into memory: to note an answer writes no file, the page
outlives the process, and another process reads it. It is lost only with the machine's power.

    page = 2 packages, the one in use first: version u32, answers under way u32, answers u64, 248 x float32 ms

Times of more than 248 answers are a sample of them, each answer as likely in it as any other (Vitter 1985,
"Random sampling with a reservoir", algorithm R).
"""

from __future__ import annotations

import mmap
import random
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from fedstill_client.home import AgentHome

_SAMPLES = 248
_HEAD = struct.Struct("<IIQ")
_SLOT_BYTES = _HEAD.size + 4 * _SAMPLES
_FILE_BYTES = 2 * _SLOT_BYTES


@dataclass(frozen=True)
class Latency:
    """Milliseconds of a package's answers: the median, and the 95th percentile; 0 where there were none."""

    median_ms: float = 0.0
    p95_ms: float = 0.0


class AnswerWatch:
    """Notes the answers of a home's service; one service has one watch."""

    def __init__(self, home: AgentHome) -> None:
        """Open the page of a home.

        Raises:
            OSError: It cannot be made.
        """
        with home.answer_times.open("a+b") as file:
            file.truncate(_FILE_BYTES)
            self._page = mmap.mmap(file.fileno(), _FILE_BYTES)
        self._lock = threading.Lock()

    def use(self, version: int) -> None:
        """Note answers of this package version from now on; those of the one before are kept."""
        with self._lock:
            first, second = self._page[:_SLOT_BYTES], self._page[_SLOT_BYTES:]
            if _HEAD.unpack_from(first)[0] == version:
                return
            went_back = _HEAD.unpack_from(second)[0] == version
            fresh = second if went_back else _HEAD.pack(version, 0, 0) + bytes(4 * _SAMPLES)
            self._page[:] = fresh + first

    def take_crash(self) -> int:
        """The package with which the process before ended in the middle of an answer; 0 where it did not.

        It is told once.
        """
        with self._lock:
            version, under_way, answers = _HEAD.unpack_from(self._page)
            _HEAD.pack_into(self._page, 0, version, 0, answers)
        return int(version) if under_way else 0

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Time an answer; one that fails is not counted."""
        self._change_under_way(1)
        started = time.perf_counter()
        try:
            yield
            self._keep(1000 * (time.perf_counter() - started))
        finally:
            self._change_under_way(-1)

    def _change_under_way(self, by: int) -> None:
        with self._lock:
            version, under_way, answers = _HEAD.unpack_from(self._page)
            _HEAD.pack_into(self._page, 0, version, max(under_way + by, 0), answers)

    def _keep(self, took_ms: float) -> None:
        with self._lock:
            version, under_way, answers = _HEAD.unpack_from(self._page)
            place = answers if answers < _SAMPLES else random.randrange(answers + 1)
            if place < _SAMPLES:
                struct.pack_into("<f", self._page, _HEAD.size + 4 * place, took_ms)
            _HEAD.pack_into(self._page, 0, version, under_way, answers + 1)


def latencies(home: AgentHome) -> dict[int, Latency]:
    """What was noted, by package version: of the package in use, and of the one before."""
    try:
        content = home.answer_times.read_bytes()
    except OSError:
        return {}
    found = {}
    for start in range(0, len(content) - _SLOT_BYTES + 1, _SLOT_BYTES):
        version, _, answers = _HEAD.unpack_from(content, start)
        times = np.frombuffer(content, "<f4", min(answers, _SAMPLES), start + _HEAD.size)
        if version and len(times) and np.isfinite(times).all():
            median, p95 = (float(ms) for ms in np.percentile(times, [50, 95]))
            found[version] = Latency(median, p95)
    return found

"""How long single answers take, one after another, and how much that varies."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Run = Callable[[int], object]
"""Answers the example of this turn; only the clock looks at what comes out."""

_WARM_UP, _FEWEST, _MOST = 5, 10, 20_000


@dataclass(frozen=True, kw_only=True)
class MeasuredLatency:
    """Microseconds of single answers.

    Attributes:
        answers: How many were timed; with fewer than 100, p99_us is the slowest.
        busy_processes: That kept the cores busy meanwhile.
        p50_us: Half of the answers took at most this.
        p95_us: 95 % did.
        p99_us: 99 % did.
        mean_us: Their mean.
        jitter_us: The mean difference between one answer and the next (RFC 3550 of packets).
    """

    answers: int
    busy_processes: int
    p50_us: float
    p95_us: float
    p99_us: float
    mean_us: float
    jitter_us: float


def latency_of(run: Run, *, seconds: float, busy_processes: int = 0) -> MeasuredLatency:
    """Time single answers for about so long; a few are answered before the clock counts, and ten at least.

    Args:
        run: What answers.
        seconds: How long.
        busy_processes: How many processes keep the cores busy, for the record.
    """
    until = time.perf_counter() + seconds
    for turn in range(_WARM_UP):
        run(turn)
        if time.perf_counter() > until:
            break
    times: list[float] = []
    while len(times) < _FEWEST or (time.perf_counter() < until and len(times) < _MOST):
        started = time.perf_counter()
        run(len(times))
        times.append(time.perf_counter() - started)
    return latency_of_times(times, busy_processes=busy_processes)


def latency_of_times(times: Sequence[float], *, busy_processes: int = 0) -> MeasuredLatency:
    """What seconds of single answers, in their order, come to."""
    micro = 1e6 * np.asarray(times, np.float64)
    p50, p95, p99 = np.quantile(micro, (0.5, 0.95, 0.99), method="higher")
    steps = np.abs(np.diff(micro))
    return MeasuredLatency(
        answers=len(micro),
        busy_processes=busy_processes,
        p50_us=float(p50),
        p95_us=float(p95),
        p99_us=float(p99),
        mean_us=float(micro.mean()),
        jitter_us=float(steps.mean()) if len(steps) else 0.0,
    )

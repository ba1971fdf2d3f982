"""How many examples a second a graph answers, by how many it is given at a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

BATCHES = (1, 2, 4, 8, 16, 32, 64)
_SLOWER = 4.0  # times its share that one batch may take before larger ones are left out


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """Examples a second in batches of one size, and how many batches were timed."""

    batch: int
    examples_per_second: float
    batches: int


def throughput_of(
    run: Callable[[int], object], *, seconds: float, most: int = BATCHES[-1]
) -> tuple[Throughput, ...]:
    """Time batches of 1, 2, 4 and so on up to 64.

    Args:
        run: Answers so many examples at once.
        seconds: For all sizes together, about.
        most: The largest batch that fits into memory.

    Returns:
        By size; where one batch takes long, larger ones are left out.
    """
    sizes = [size for size in BATCHES if size <= most]
    share = seconds / len(BATCHES)
    found = []
    for size in sizes:
        run(size)  # the first of a size lays out memory
        started, count = time.perf_counter(), 0
        while count < 2 or time.perf_counter() - started < share:
            run(size)
            count += 1
            if time.perf_counter() - started > _SLOWER * share:
                break
        taken = time.perf_counter() - started
        found.append(Throughput(batch=size, examples_per_second=count * size / taken, batches=count))
        if taken > _SLOWER * share:
            break
    return tuple(found)

"""The energy of an answer: read from the processor where it lets itself be read, else estimated.

RAPL (running average power limit) counts the joules of the whole package, of all that runs on it meanwhile.
Where the counter cannot be read, the figure is CPU seconds times a stated power, and says so.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from fedstill_proto.arrays import FloatArray

from fedstill_server.inspection.corruption import Answer

RAPL = Path("/sys/class/powercap/intel-rapl:0")
_LEAST_SECONDS, _MOST_SECONDS = 0.2, 2.0


@dataclass(frozen=True, kw_only=True)
class Energy:
    """The energy of answering one example at a time; `how` is where the joules come from.

    `watts` is the mean power while it answered.
    """

    microjoules_per_answer: float
    cpu_microseconds_per_answer: float
    watts: float
    how: str


def energy_of(
    answer: Answer, x: FloatArray, *, watts: float, rapl: Path = RAPL, seconds: float = _LEAST_SECONDS
) -> Energy:
    """Measure the energy of answers to single examples.

    Args:
        answer: What answers.
        x: Examples [n, *shape].
        watts: The power of the processor under load, where no counter can be read.
        rapl: The counter.
        seconds: At least so long, and until all examples were answered once, but for 2 s at most.
    """
    before, cpu, wall = _joules(rapl), time.process_time(), time.perf_counter()
    answers, taken = 0, 0.0
    while not answers or taken < seconds or (answers < len(x) and taken < _MOST_SECONDS):
        answer(x[answers % len(x) : answers % len(x) + 1])
        answers += 1
        taken = time.perf_counter() - wall
    busy = time.process_time() - cpu
    after = _joules(rapl)
    if before is not None and after is not None and after >= before:  # the counter wraps around
        joules, how = after - before, "measured by RAPL, the whole processor package"
    else:
        joules = busy * watts
        how = f"estimated: CPU seconds times a stated {watts:g} W; no energy counter was read"
    return Energy(
        microjoules_per_answer=1e6 * joules / answers,
        cpu_microseconds_per_answer=1e6 * busy / answers,
        watts=joules / taken,
        how=how,
    )


def _joules(rapl: Path) -> float | None:
    try:
        return int((rapl / "energy_uj").read_text()) / 1e6
    except (OSError, ValueError):
        return None

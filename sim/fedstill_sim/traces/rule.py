"""`TraceRule`: by which trace a simulated fleet lives, and how its devices work in it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fedstill_server.config.codec import ConfigError
from fedstill_server.config.fleet import CohortRule

from fedstill_sim.traces.columns import CHARGING, FAIL, INTERRUPTED, RESUME, WHEN, FleetTrace, Floats
from fedstill_sim.traces.generated import GENERATED, parse_generator
from fedstill_sim.traces.pace import TracePace, least_devices
from fedstill_sim.traces.reading import TraceError, read_trace
from fedstill_sim.traces.schedule import TraceSchedule
from fedstill_sim.traces.work import RoundArithmetic

SETUP_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class TraceRule:
    """A fleet's life in virtual time.

    Attributes:
        source: A trace's folder or file, or the generator: "generated:churn=0.1".
        digest: SHA-256 of the fleet's trace, once it has been read; a run that goes on needs the same.
        when: In which sessions a device may be asked: while it is charging, or whenever it is online.
        interrupted: What becomes of the work of a device whose session ends: it fails, or resumes later.
        rounds_a_day: So many rounds a day at most; None is no limit.
        least_devices: Devices that have to be there when a round begins; 0 is as many as it waits for, or
            half.
        round_pause: Seconds from the end of a round to the beginning of the next.
        device_seconds: Seconds that the median device computes for a round, as measured; None counts the
            arithmetic.
        setup_seconds: Seconds of a round that are neither arithmetic nor bytes.
    """

    source: str
    digest: str = ""
    when: str = CHARGING
    interrupted: str = FAIL
    rounds_a_day: int | None = None
    least_devices: int = 0
    round_pause: float = 0.0
    device_seconds: float | None = None
    setup_seconds: float = SETUP_SECONDS

    def __post_init__(self) -> None:
        if self.when not in WHEN:
            raise ConfigError(f"when: {self.when!r} is not one of {', '.join(WHEN)}")
        if self.interrupted not in INTERRUPTED:
            raise ConfigError(f"interrupted: {self.interrupted!r} is not one of {', '.join(INTERRUPTED)}")
        if not 0 <= self.setup_seconds < math.inf:
            raise ConfigError(f"setup_seconds: {self.setup_seconds!r} is not a number of 0 or more")
        if not 0 <= self.round_pause < math.inf:
            raise ConfigError(f"round_pause: {self.round_pause!r} is not a number of 0 or more")

    def trace(self, devices: int, *, seed: int) -> FleetTrace:
        """The trace of a fleet of so many devices; of a larger trace, the seed draws them.

        Raises:
            TraceError: It has a hole, is of too few devices, or is not the one that the run began with.
        """
        if self.source.partition(":")[0] == GENERATED:
            trace = parse_generator(self.source, where="--trace").generate(devices, seed=seed)
        else:
            whole = read_trace(Path(self.source))
            if whole.devices < devices:
                raise TraceError(
                    f"{self.source}: device {whole.devices + 1} of {devices} is missing: the trace is of "
                    f"{whole.devices}; take --devices {whole.devices} at most, or a larger trace"
                )
            trace = whole.sample(devices, seed=seed)
        if self.digest and trace.digest() != self.digest:
            raise TraceError(
                f"{self.source}: is not the trace that this run began with; restore it, or start a new run"
            )
        return trace

    def compute_s(self, trace: FleetTrace, work: RoundArithmetic | None) -> Floats:
        """Seconds that each device computes for a round [devices].

        Args:
            trace: The fleet's.
            work: The arithmetic of a round; not needed where `device_seconds` is measured.
        """
        if self.device_seconds is not None:
            return self.setup_seconds + self.device_seconds / trace.speed
        assert work is not None
        return self.setup_seconds + work.total / trace.gflops

    def schedule(self, trace: FleetTrace, work: RoundArithmetic | None) -> TraceSchedule:
        """Who is there when, and how long work takes."""
        return TraceSchedule.of(
            trace, self.compute_s(trace, work), when=self.when, resumes=self.interrupted == RESUME
        )

    def pace(self, cohort: CohortRule, devices: int) -> TracePace:
        """When rounds may begin."""
        return TracePace(
            rounds_a_day=self.rounds_a_day,
            least_devices=least_devices(self.least_devices, cohort, devices),
            pause_s=self.round_pause,
        )

    def check(self, trace: FleetTrace, cohort: CohortRule) -> None:
        """Refuse a trace in which no round would ever begin.

        Raises:
            TraceError: At no time as many devices are there as a round needs.
        """
        windows = trace.windows(self.when)
        needed = self.pace(cohort, trace.devices).least_devices
        looks = np.arange(0.0, min(trace.span_s, 28 * 86_400.0), 1800.0)
        there = [int(windows.there(at).sum()) for at in looks]
        if max(there) < needed:
            raise TraceError(
                f"--trace {self.source}: a round needs {needed} devices at a time, and at most {max(there)} "
                f"are there {'and charging ' if self.when == CHARGING else ''}at once; lower --least-devices "
                "or --goal-count, or take a larger fleet"
            )

"""What earlier runs of the same kind took on this machine; kept in its cache, and no matter of any result.

A kind is a command without what an estimate scales by: devices, rounds, the seed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shlex
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fedstill_proto.errors import FedstillError

from fedstill_sim.folder import cache_folder
from fedstill_sim.results.json_files import read_json, write_json
from fedstill_sim.results.run_result import BaselineResult, RunResult

_SCALED = ("--devices", "--rounds", "--seed")  # each with a value
_KEPT = 8  # observations of a kind


@dataclass(frozen=True, kw_only=True)
class ObservedRounds:
    """What the rounds of a run or a baseline took.

    Attributes:
        preparing_s: Seconds before the first round, and after the last.
        first_round_s: Seconds of the first round.
        round_s: Seconds of another; of the first where there was no other.
    """

    preparing_s: float
    first_round_s: float
    round_s: float

    @classmethod
    def of(cls, result: RunResult | BaselineResult) -> ObservedRounds:
        """Read those of a run, or of a baseline with all its phases."""
        seconds, phases = result.timing.round_seconds, result.timing.phase_seconds
        spent = phases["rounds"] if isinstance(result, RunResult) else result.timing.total_seconds
        return cls(
            preparing_s=max(0.0, spent - sum(seconds)),
            first_round_s=seconds[0],
            round_s=statistics.fmean(seconds[1:] or seconds),
        )


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What a run took.

    Attributes:
        devices: Of its fleet.
        processes: Worker processes that trained them; 0 where the run itself did.
        run: Its own rounds.
        phases: Seconds of its other phases, by name.
        baselines: The rounds of its baselines.
        asked: Devices that a round asked, on average.
        uplink: Bytes that a device sent in a round.
        first_downlink: Bytes that a device got in the first round.
        downlink: Bytes that it got in another.
        memory_bytes: Peak of all processes.
        disk_bytes: Of its folder.
    """

    devices: int
    processes: int
    run: ObservedRounds
    phases: Mapping[str, float] = field(default_factory=dict)
    baselines: Mapping[str, ObservedRounds] = field(default_factory=dict)
    asked: float
    uplink: float
    first_downlink: float
    downlink: float
    memory_bytes: float
    disk_bytes: float

    @classmethod
    def of(cls, result: RunResult, folder: Path) -> Observation:
        """Read a run's, which lies in a folder."""
        rounds, engine = result.rounds, result.engine
        asked = [max(1, one.asked) for one in rounds]
        down = [one.downlink_bytes / of for one, of in zip(rounds, asked, strict=True)]
        other = {
            name: seconds
            for name, seconds in result.timing.phase_seconds.items()
            if name != "rounds" and not name.startswith("baseline ")
        }
        return cls(
            devices=result.data.devices,
            processes=engine.processes,
            run=ObservedRounds.of(result),
            phases=other,
            baselines={name: ObservedRounds.of(one) for name, one in result.baselines.items()},
            asked=statistics.fmean(one.asked for one in rounds),
            uplink=sum(one.uplink_bytes for one in rounds) / sum(asked),
            first_downlink=down[0],
            downlink=statistics.fmean(down[1:] or down),
            memory_bytes=engine.peak_memory_mb * 1e6,
            disk_bytes=folder_bytes(folder),
        )

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Observation:
        """Read what `dataclasses.asdict` has written."""
        baselines = {name: ObservedRounds(**one) for name, one in document["baselines"].items()}
        return cls(**{**document, "run": ObservedRounds(**document["run"]), "baselines": baselines})


class Observations:
    """The observations of one kind of run."""

    def __init__(self, command: str) -> None:
        """Open those of a command, as `command_line` writes it."""
        self._file = cache_folder() / "costs" / f"{_kind(command)}.json"

    def read(self) -> list[Observation]:
        """Return what is known, the newest last; nothing where the file is missing or spoilt."""
        try:
            return [Observation.from_json(one) for one in read_json(self._file)]
        except (FedstillError, OSError, ValueError, TypeError, KeyError, AttributeError):
            return []

    def note(self, *new: Observation) -> None:
        """Keep observations in place of those of as many devices; a cache that cannot be written is none."""
        devices = {one.devices for one in new}
        kept = [one for one in self.read() if one.devices not in devices]
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_json(self._file, [dataclasses.asdict(one) for one in [*kept, *new][-_KEPT:]])
        except OSError:
            return


def folder_bytes(folder: Path) -> int:
    """Return what the files of a folder take, what links point to aside."""
    total = 0
    for place, _, files in os.walk(folder):
        for name in files:
            total += os.lstat(Path(place) / name).st_size
    return total


def _kind(command: str) -> str:
    words = shlex.split(command)
    kept, skip = [], False
    for word in words:
        if not skip and word not in _SCALED:
            kept.append(word)
        skip = not skip and word in _SCALED
    return hashlib.sha256(repr((kept, _processor())).encode()).hexdigest()[:16]


def _processor() -> tuple[str, int]:
    try:
        lines: Sequence[str] = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = ()
    return next((line for line in lines if line.startswith("model name")), ""), os.cpu_count() or 1

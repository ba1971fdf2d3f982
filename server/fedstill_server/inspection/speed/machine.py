"""The machine that something was measured on: no figure of time means anything without it."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

import onnxruntime as ort
import psutil

_CPUINFO = Path("/proc/cpuinfo")
_LOOK_S = 0.2


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What measured.

    Attributes:
        processor: Its name, as the system says it.
        cores: Those that this process may use.
        threads: Those that an answer used.
        system: The operating system and its version.
        runtime: The version of ONNX Runtime.
        busy: Share of all cores that other work took just before: near 0 is an idle machine.
    """

    processor: str
    cores: int
    threads: int
    system: str
    runtime: str
    busy: float

    def __str__(self) -> str:
        """One line."""
        return (
            f"{self.processor}, {self.cores} cores, {self.threads} used; {self.system}, ONNX Runtime "
            f"{self.runtime}; other work took {self.busy:.0%} of the cores before"
        )


def this_machine(*, threads: int = 1) -> Machine:
    """Look at the machine, for a fifth of a second."""
    return Machine(
        processor=_processor(),
        cores=usable_cores(),
        threads=threads,
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        runtime=ort.__version__,
        busy=psutil.cpu_percent(interval=_LOOK_S) / 100,
    )


def usable_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(named), platform.processor() or platform.machine() or "unknown")

"""A run's cost in words: the first line that a run prints, and the table of a dry run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from fedstill_sim.costs.estimate import CostEstimate, estimated
from fedstill_sim.costs.observed import Observations
from fedstill_sim.request import RunRequest, baselines_of, command_line
from fedstill_sim.results.readable import counted, readable_bytes, readable_seconds
from fedstill_sim.workers.pool import usable_cores

_SMALL_FLEET = 128  # devices, whose baselines other processes make beside the run


def announced(request: RunRequest) -> str:
    """Say what a run is going to do and how long that takes, in a line, before data are read."""
    baselines, rounds = baselines_of(request), _rounds(request)
    what = "" if request.devices is None else f"{counted(request.devices, 'device')}, "
    beside = f", beside {' and '.join(baselines)}" if baselines else ""
    data = request.dataset or request.data or "data in memory"
    estimate = _known(request, rounds, baselines)
    if estimate is None:
        takes = "how long it takes is known after its first round, or before by --dry-run"
    else:
        takes = f"about {readable_seconds(estimate.total_seconds)}"
    return f"{request.method} on {data}: {what}{counted(rounds, 'round')}{beside}; {takes}"


def expected_phases(command: str, *, devices: int, rounds: int, baselines: Sequence[str]) -> dict[str, float]:
    """The seconds of a run's phases as runs of its kind took them; nothing where there were none."""
    estimate = estimated(Observations(command).read(), devices=devices, rounds=rounds, baselines=baselines)
    return {} if estimate is None else dict(estimate.seconds)


def as_document(estimate: CostEstimate) -> dict[str, Any]:
    """An estimate as JSON."""
    return {**dataclasses.asdict(estimate), "total_seconds": estimate.total_seconds}


def print_estimate(console: Console, estimate: CostEstimate) -> None:
    """Print an estimate as a table of phases, and a line of memory, bytes and disk."""
    devices, rounds = counted(estimate.devices, "device"), counted(estimate.rounds, "round")
    table = Table(
        title=f"{devices}, {rounds} on this machine",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("phase", no_wrap=True)
    table.add_column("about", justify="right", no_wrap=True)
    for name, seconds in estimate.seconds.items():
        table.add_row(name, readable_seconds(seconds))
    together = "in all, baselines beside the rounds" if estimate.beside else "in all"
    table.add_row(f"[bold]{together}[/]", f"[bold]{readable_seconds(estimate.total_seconds)}[/]")
    console.print(table)
    console.print(
        f"Memory about {readable_bytes(estimate.peak_memory_bytes)}; sent "
        f"{readable_bytes(estimate.uplink_bytes)} up and {readable_bytes(estimate.downlink_bytes)} down; "
        f"disk about {readable_bytes(estimate.disk_bytes)}. All but the seconds within a factor of two.",
        highlight=False,
        soft_wrap=True,
    )


def _rounds(request: RunRequest) -> int:
    return request.rounds or request.simulation.defaults(request.dataset).rounds


def _known(request: RunRequest, rounds: int, baselines: tuple[str, ...]) -> CostEstimate | None:
    observations = Observations(command_line(request)).read()
    if not observations:
        return None
    devices = request.devices or observations[-1].devices
    alone = request.processes is not None or devices >= _SMALL_FLEET or not baselines
    return estimated(
        observations,
        devices=devices,
        rounds=rounds,
        baselines=baselines,
        beside=0 if alone else min(usable_cores() - 1, len(baselines)),
    )

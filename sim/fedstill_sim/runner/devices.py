"""A run's rounds on virtual devices, by either engine, and the students that the devices end with."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from fedstill_proto.arrays import Parameters
from fedstill_server.methods import build_method
from fedstill_server.plugins import search_current_folder
from fedstill_server.rounds.events import Collected, Event, RoundFinished, RunStarted, subscribe
from fedstill_server.rounds.pacing import AtOnce
from fedstill_server.rounds.round_record import RoundRecord
from fedstill_server.rounds.run_loop import RunLoop
from fedstill_server.rounds.run_store import RunStore
from fedstill_server.tasks import load_public, load_test

from fedstill_sim.attacks.adversaries import Adversaries
from fedstill_sim.config import RunConfig
from fedstill_sim.data.fleet import FleetData, load_fleet
from fedstill_sim.engine.cohort import CohortEngine
from fedstill_sim.engine.grid import InProcessGrid
from fedstill_sim.engine.kept_students import StudentRows, keep_only
from fedstill_sim.engine.memory import peak_memory_mb
from fedstill_sim.engine.pending_replies import PendingReplies
from fedstill_sim.folder import BASELINES_FOLDER, DATA_FOLDER, DEVICES_FOLDER
from fedstill_sim.progress import RunProgress
from fedstill_sim.results.device_columns import MeasuredStore
from fedstill_sim.results.json_files import read_json, write_json
from fedstill_sim.results.run_result import EngineResult
from fedstill_sim.runner.in_time import VirtualFleet, passes_time
from fedstill_sim.runner.installed import packages_installed
from fedstill_sim.runner.samples import keeping_devices, measured_devices
from fedstill_sim.runner.summarize import (
    KeptDevices,
    device_rounds_per_second,
    last_evaluated,
    round_result,
)
from fedstill_sim.secure_sums.devices import SumDevices
from fedstill_sim.stacks.eligible import MESSAGES, STACKS
from fedstill_sim.stacks.fleet import StackedFleet
from fedstill_sim.stacks.fleet_columns import ColumnsStore
from fedstill_sim.stacks.open_fleet import OpenFleet
from fedstill_sim.workers.pool import usable_cores
from fedstill_sim.workers.remote import RemoteExecutor

ENGINE_FILE = "engine.json"


@dataclass(frozen=True)
class ResourceUse:
    """The resources that an engine used; no worker processes if it worked in the run's own process."""

    processes: int
    peak_memory_mb: float
    path: str = MESSAGES


@dataclass(frozen=True, kw_only=True)
class CompletedRounds:
    """The rounds of a run, or of a baseline, once all of them are committed."""

    folder: Path
    config: RunConfig
    stack_sizes: dict[str, int]
    records: Sequence[RoundRecord]
    engine: EngineResult


def run_rounds(
    folder: Path,
    config: RunConfig,
    progress: RunProgress,
    *,
    label: str,
    stack_sizes: dict[str, int],
    executor: Executor | None = None,
) -> CompletedRounds:
    """Run the rounds that are left of a run.

    Args:
        folder: The run, or a baseline of it.
        config: Its configuration.
        progress: Told of each round.
        label: What the progress calls the run.
        stack_sizes: Devices that one run of the training graph trains together, by family.
        executor: What makes the devices' rounds; by default processes of this machine.
    """
    total = config.fleet.rounds
    done = len(_records(folder))
    if done < total:
        progress.phase(
            f"{label}: " + (f"going on after round {done}" if done else "preparing teacher and students"),
            name="" if done or folder.parent.name == BASELINES_FOLDER else "preparation",
        )
        with packages_installed(folder), subscribe(_following(progress, label)):
            used = _ENGINES[config.simulation.engine.name](folder, config, stack_sizes, executor)
        write_json(folder / ENGINE_FILE, dataclasses.asdict(used))
    records = _records(folder)
    return CompletedRounds(
        folder=folder,
        config=config,
        stack_sizes=stack_sizes,
        records=records,
        engine=_engine_result(folder, config, stack_sizes, records),
    )


@contextmanager
def run_workers(config: RunConfig, executor: Executor | None = None) -> Iterator[Executor | None]:
    """What makes a run's calls: the given executor, or the cluster that the run names; None is this machine.

    Raises:
        ClusterError: The cluster is not there, or cannot do the run's work.
    """
    engine = config.simulation.engine
    if executor is not None or engine.cluster is None:
        yield executor
        return
    from fedstill_sim.cluster.ray_executor import ray_executor

    with ray_executor(engine.cluster, workers=engine.processes) as workers:
        yield workers


def devices_with_students(run: CompletedRounds, names: Sequence[str]) -> list[int]:
    """Return the devices that have taken part, and so have a student of their own."""
    columns = ColumnsStore(run.folder / DEVICES_FOLDER, devices=len(names))
    if columns.exists:
        data = load_fleet(run.folder / DATA_FOLDER)
        keeps = StudentRows.open(run.folder, data.families).are_kept
        return np.flatnonzero(columns.last().installed & keeps).tolist()
    store = RunStore(run.folder)
    try:
        last = store.latest()
    finally:
        store.close()
    installed = last.installed if last else frozenset()
    return [device for device, name in enumerate(names) if name in installed]


def kept_devices(run: CompletedRounds, data: FleetData) -> KeptDevices:
    """What a run has kept of its devices in columns."""
    last, folder = last_evaluated(run.records), run.folder / DEVICES_FOLDER
    columns = ColumnsStore(folder, devices=data.devices)
    measured = None
    if last is not None and not last.devices:
        measured = MeasuredStore(folder).read(last.round)
    return KeptDevices(
        measured=measured, summaries_counted=columns.last().counted if columns.exists else None
    )


def students_of(run: CompletedRounds, devices: Sequence[int]) -> Parameters:
    """Return the final students [n, *shape] of devices of one family."""
    return _READERS[run.config.simulation.engine.name](run, devices)


def own_students(run: CompletedRounds, data: FleetData) -> dict[int, Parameters]:
    """Return the final student of each device that took part, by the device's number."""
    own = {}
    there = np.array(devices_with_students(run, data.device_names), np.int64)
    for family in data.families.names:
        devices = there[data.families.is_of(family)[there]].tolist()
        stack = students_of(run, devices) if devices else {}
        for place, device in enumerate(devices):
            own[device] = {name: array[place] for name, array in stack.items()}
    return own


def _run_cohort(
    folder: Path, config: RunConfig, stack_sizes: dict[str, int], executor: Executor | None
) -> ResourceUse:
    """Run the project's own engine, by the path that the run can take."""
    search_current_folder()
    public = load_public(folder, config.fleet)
    method = build_method(config.fleet, public)
    if config.path(method) == MESSAGES:
        return _run_messages(folder, config, stack_sizes, executor)
    store, data = RunStore(folder), load_fleet(folder / DATA_FOLDER)
    keep_only(folder, keeping_devices(config, data))
    try:
        with OpenFleet(
            folder,
            stack_sizes=stack_sizes,
            processes=None if isinstance(executor, RemoteExecutor) else config.simulation.engine.processes,
            owner_share=config.owner_share,
            noise_seed=config.fleet.seed,
            measured=measured_devices(config, data),
            executor=executor,
        ) as fleet:
            RunLoop(
                StackedFleet(fleet, config.fleet, method),
                config.fleet,
                method,
                public=public,
                store=store,
                test=load_test(folder, config.fleet),
                pacing=AtOnce(config.fleet.rounds, config.fleet.cohort),
            ).run()
            return ResourceUse(fleet.processes, sum(fleet.peak_memory_mb), STACKS)
    finally:
        store.close()


def _run_messages(
    folder: Path, config: RunConfig, stack_sizes: dict[str, int], executor: Executor | None
) -> ResourceUse:
    """Run it behind an in-process Grid, under the server's unmodified ServerApp."""
    from fedstill_server.app import app
    from fedstill_server.run_folder import FOLDER_KEY

    simulation = config.simulation
    with CohortEngine(
        folder,
        stack_sizes=stack_sizes,
        processes=None if isinstance(executor, RemoteExecutor) else simulation.engine.processes,
        owner_share=config.owner_share,
        noise_seed=config.fleet.seed,
        executor=executor,
    ) as engine:
        with _fleet_grid(folder, config, engine, stack_sizes) as grid:
            app(grid, grid.context(run_config={FOLDER_KEY: str(folder)}))
        return ResourceUse(engine.processes, sum(engine.peak_memory_mb))


@contextmanager
def _fleet_grid(
    folder: Path, config: RunConfig, engine: CohortEngine, stack_sizes: dict[str, int]
) -> Iterator[InProcessGrid]:
    """Open the virtual fleet's Grid; where devices come and go, pending replies lie in the run's folder."""
    simulation, fleet = config.simulation, config.fleet
    handlers = engine.handlers
    if simulation.attack is not None:
        handlers = Adversaries(simulation.attack, fleet, engine.data, folder).among(handlers)
    if fleet.secure_sums is not None:
        handlers = SumDevices(engine.data.device_names, folder, noise_seed=fleet.seed).among(handlers)
    # Who stands between the engine and the Grid reads tasks, too.
    grid = InProcessGrid(devices=simulation.devices, handlers=engine.told.among(handlers))
    if not passes_time(config):
        yield grid
        return
    pending = PendingReplies(folder)
    over = False
    try:
        virtual = VirtualFleet(folder, config, engine.data, stack_sizes)
        virtual.follow(grid, pending, _records(folder))
        yield grid
        virtual.keep_work(pending)
        over = True
    finally:
        pending.close(remove=over)


def _run_flower(
    folder: Path, config: RunConfig, stack_sizes: dict[str, int], executor: Executor | None
) -> ResourceUse:
    """Run Flower's own simulation, with the ClientApp of a real device."""
    from fedstill_sim.runner.flower_engine import run_flower_simulation

    simulation = config.simulation
    run_flower_simulation(folder, processes=simulation.engine.processes, owner_share=config.owner_share)
    processes = usable_cores() if simulation.engine.processes is None else simulation.engine.processes
    return ResourceUse(processes, peak_memory_mb())


def _cohort_students(run: CompletedRounds, devices: Sequence[int]) -> Parameters:
    with CohortEngine(run.folder, stack_sizes=run.stack_sizes, processes=0) as engine:
        return engine.students(devices, after_round=run.config.fleet.rounds)


def _flower_students(run: CompletedRounds, devices: Sequence[int]) -> Parameters:
    from fedstill_sim.runner.flower_engine import flower_students

    return flower_students(run.folder, devices)


_ENGINES: dict[str, Callable[[Path, RunConfig, dict[str, int], Executor | None], ResourceUse]] = {
    "cohort": _run_cohort,
    "flower": _run_flower,
}
_READERS: dict[str, Callable[[CompletedRounds, Sequence[int]], Parameters]] = {
    "cohort": _cohort_students,
    "flower": _flower_students,
}


def _following(progress: RunProgress, label: str) -> Callable[[Event], None]:
    def follow(event: Event) -> None:
        if isinstance(event, RunStarted):
            progress.rounds(label, total=event.rounds, done=event.first_round - 1)
        elif isinstance(event, Collected):
            progress.devices_done(label, done=event.replied, total=event.asked)
        elif isinstance(event, RoundFinished):
            progress.round_done(label, round_result(event.record))

    return follow


def _records(folder: Path) -> list[RoundRecord]:
    store = RunStore(folder)
    try:
        store.latest()  # forgets rounds whose state is not intact, which are then run again
        return store.records()
    finally:
        store.close()


def _engine_result(
    folder: Path, config: RunConfig, stack_sizes: dict[str, int], records: Sequence[RoundRecord]
) -> EngineResult:
    path = folder / ENGINE_FILE
    # A run that was killed after its last round's commit has none.
    used = ResourceUse(**read_json(path)) if path.exists() else ResourceUse(0, 0.0)
    return EngineResult(
        name=config.simulation.engine.name,
        processes=used.processes,
        stack_sizes=stack_sizes,
        device_rounds_per_second=device_rounds_per_second(records),
        peak_memory_mb=used.peak_memory_mb,
        path=used.path,
    )

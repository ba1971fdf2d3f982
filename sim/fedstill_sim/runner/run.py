"""One run, from its configuration to its result: every phase can be killed and done again.

A phase leaves its result in the run's folder, whole or not at all; what is done again comes out the same.
The rounds are the server's own: it commits each, and goes on after the last committed one.
"""

from __future__ import annotations

import dataclasses
import functools
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from fedstill_client.model.placed import computing_on
from fedstill_proto.messages import RoundTask
from fedstill_server.methods import build_method
from fedstill_server.rounds.events import Event, RunStarted, subscribe
from fedstill_server.rounds.preparation import PREPARATIONS
from fedstill_server.rounds.run_store import RunStore
from fedstill_server.state import FleetState
from fedstill_server.tasks import load_public

from fedstill_sim.callbacks.interface import Callback, CallbackProgress, RunStart
from fedstill_sim.config import (
    RunConfig,
    baseline_config,
    configured_data,
    data_request,
    read_config,
    requested_data,
    resolve,
    write_config,
)
from fedstill_sim.costs.observed import Observation, Observations
from fedstill_sim.costs.words import expected_phases
from fedstill_sim.data.fleet import FleetData, load_fleet, save_fleet
from fedstill_sim.engine.kept_students import drop_students
from fedstill_sim.folder import BASELINES_FOLDER, CONFIG_FILE, DATA_FOLDER, claim_folder, file_name
from fedstill_sim.privacy.budget import spent_privacy
from fedstill_sim.progress import RunProgress, SilentProgress
from fedstill_sim.report.run_report import REPORT_FILE, write_report
from fedstill_sim.request import RunRequest
from fedstill_sim.results.device_results import listed
from fedstill_sim.results.json_files import read_json, write_json
from fedstill_sim.results.run_result import (
    RESULT_FILE,
    BaselineResult,
    RunResult,
    TradeoffPoint,
    read_result,
    write_result,
)
from fedstill_sim.runner.artifacts import prepare_artifacts
from fedstill_sim.runner.attacked import attack_success, poison
from fedstill_sim.runner.beside import BaselineEnd, BaselineJob, BaselinesBeside, processes_beside
from fedstill_sim.runner.devices import (
    CompletedRounds,
    devices_with_students,
    kept_devices,
    own_students,
    run_rounds,
    run_workers,
    students_of,
)
from fedstill_sim.runner.energy import run_energy
from fedstill_sim.runner.export_students import export_students, keep_graphs
from fedstill_sim.runner.footprint import check_run
from fedstill_sim.runner.phases import PhaseTimer
from fedstill_sim.runner.remote_progress import RemoteProgress
from fedstill_sim.runner.summarize import (
    attack_result,
    baseline_result,
    data_result,
    device_results,
    final_result,
    round_result,
    timing,
)
from fedstill_sim.runner.target_run import measured_target
from fedstill_sim.runner.tradeoff import tradeoff_curve
from fedstill_sim.runner.versions import versions
from fedstill_sim.tasks import simulation_of

STACK_SIZES_FILE = "stack_sizes.json"
TRADEOFF_FILE = "tradeoff.json"
EVALUATION_FILE = "evaluation.json"


def start_run(request: RunRequest, folder: Path, *, force: bool) -> None:
    """Write a run's configuration and its data into a folder; a request that cannot be met claims none.

    Args:
        request: What was asked for.
        folder: The run's folder.
        force: Replace a run that the folder holds.
    """
    data = requested_data(request)
    config = resolve(request, data)
    claim_folder(folder, force=force)
    write_config(config, folder)
    keep_data(folder, data)


def continue_run(
    folder: Path,
    progress: RunProgress,
    *,
    report: bool,
    label: str | None = None,
    callbacks: Sequence[Callback] = (),
    executor: Executor | None = None,
) -> RunResult:
    """Do what is left of a run; a finished one only gets its report.

    Args:
        folder: The run.
        progress: Told of phases and rounds.
        report: Whether report.html is written.
        label: What the progress calls the run; by default its method.
        callbacks: Told of the run's own rounds; of a run that was finished before they are told nothing.
        executor: What makes the devices' rounds (see fedstill_sim/workers); by default processes of this
            machine, or the cluster that the run's configuration names.

    Returns:
        What is in result.json.

    Raises:
        ClusterError: The cluster is not there, or cannot do the run's work.
    """
    path = folder / RESULT_FILE
    if path.exists():
        result = read_result(path)
    else:
        result = _make_result(folder, progress, label=label, callbacks=callbacks, executor=executor)
    if report:
        progress.phase("writing the report", name="report")
        write_report(result, folder / REPORT_FILE)
    return result


def _make_result(
    folder: Path,
    progress: RunProgress,
    *,
    label: str | None,
    callbacks: Sequence[Callback],
    executor: Executor | None,
) -> RunResult:
    config = read_config(folder)
    label = label or config.fleet.method.name
    start = RunStart(
        method=config.fleet.method.name, rounds=config.fleet.rounds, done=0, config=config.to_json()
    )
    progress.expect(
        expected_phases(
            config.simulation.command,
            devices=config.simulation.devices,
            rounds=config.fleet.rounds,
            baselines=config.simulation.baselines,
        )
    )
    followed = CallbackProgress(progress, callbacks, label=label, start=start)
    if executor is None and config.simulation.engine.cluster is not None:
        progress.phase(f"joining the cluster ({config.simulation.engine.cluster})")
    on_device = computing_on(config.simulation.engine.device)
    with on_device, followed.watch(), run_workers(config, executor) as workers:
        result = _Run(folder, config, followed, label=label, executor=workers).result()
        result = write_result(result, folder / RESULT_FILE)
        Observations(config.simulation.command).note(Observation.of(result, folder))
        if config.simulation.keep_students == "none":
            for one in (folder, *sorted((folder / BASELINES_FOLDER).glob("*"))):
                drop_students(one)
        followed.finish(result)
    return result


class _Run:
    """The phases of one run, in order."""

    def __init__(
        self,
        folder: Path,
        config: RunConfig,
        progress: RunProgress,
        *,
        label: str,
        executor: Executor | None,
    ) -> None:
        self._folder = folder
        self._executor = executor
        self._progress = progress
        self._config = config
        self._label = label
        self._phases = PhaseTimer(folder)

    def result(self) -> RunResult:
        """Run the rounds, export the students, run the baselines, and put the result together."""
        data = self._data()
        with self._baselines_beside(data) as beside:
            run = self._rounds(self._folder, self._config, label=self._label, phases=self._phases)
            with self._phase("export", "exporting the students to ONNX Runtime"):
                state = _final_state(run)
                students = export_students(
                    self._folder,
                    data,
                    state.students,
                    with_student=np.array(devices_with_students(run, data.device_names), np.int64),
                    personal=functools.partial(students_of, run),
                    constraints=self._config.simulation.constraints.encode() or None,
                )
            if beside.going_on:
                self._progress.phase("finishing the baselines")
            made = beside.finished()
        baselines = {
            method: self._baseline(method, data, progress=SilentProgress() if method in made else None)
            for method in self._config.simulation.baselines
        }
        tradeoff = self._tradeoff(run, data, state)
        evaluation = self._evaluation(run, data)
        success = attack_success(run, data, state)
        difference = max(student.max_abs_logit_difference for student in students.values())
        devices = device_results(data, run.records, kept_devices(run, data))
        return RunResult(
            method=self._config.fleet.method.name,
            seed=self._config.fleet.seed,
            final=final_result(run.records, max_abs_logit_difference=difference),
            rounds=tuple(round_result(record) for record in run.records),
            baselines=baselines,
            tradeoff=tradeoff,
            students=students,
            data=data_result(data),
            devices=listed(devices),
            energy=run_energy(
                self._folder,
                self._config,
                data,
                stack_sizes=run.stack_sizes,
                records=list(run.records),
                counted=devices.columns.summaries_counted,
            ),
            engine=run.engine,
            timing=timing(run.records, self._seconds(baselines)),
            config=self._config.to_json(),
            versions=versions(),
            privacy=spent_privacy(self._config.fleet, RunStore(self._folder), run.records),
            evaluation=evaluation,
            attack=attack_result(
                self._config.simulation.attack,
                data,
                run.records,
                seed=self._config.fleet.seed,
                success=success,
            ),
        )

    @contextmanager
    def _phase(self, name: str, text: str) -> Iterator[None]:
        self._progress.phase(text, name=name)
        with self._phases.time(name):
            yield

    def _data(self) -> FleetData:
        """Return the fleet's data, which is in <run>/data since the first start, unless that was killed."""
        if not (self._folder / DATA_FOLDER).exists():
            with self._phase("data", "reading the data"):
                keep_data(self._folder, configured_data(self._config))
        return load_fleet(self._folder / DATA_FOLDER)

    @contextmanager
    def _baselines_beside(self, data: FleetData) -> Iterator[BaselinesBeside]:
        """Have other processes make the baselines as soon as the run's own rounds begin."""
        methods = self._config.simulation.baselines
        processes = processes_beside(self._config, data) if self._executor is None else 0
        with BaselinesBeside(
            self._folder, methods, self._progress, processes=processes, serve=serve_baselines
        ) as beside:

            def follow(event: Event) -> None:
                if isinstance(event, RunStarted):
                    beside.begin()

            with subscribe(follow):
                yield beside

    def _rounds(
        self,
        folder: Path,
        config: RunConfig,
        *,
        label: str,
        phases: PhaseTimer,
        progress: RunProgress | None = None,
    ) -> CompletedRounds:
        told = progress or self._progress
        with phases.time("teacher and first students"):
            self._start(folder, config)
        told.phase(f"{label}: building the training graphs", name="artifacts" if label == self._label else "")
        with phases.time("artifacts"):
            stack_sizes = build_artifacts(folder, config)
            poison(folder, config)
        if folder == self._folder:  # whose footprint holds those of its baselines
            data = load_fleet(folder / DATA_FOLDER, is_checked=True)
            check_run(folder, config, data, stack_sizes=stack_sizes)
        with phases.time("rounds"):
            return run_rounds(
                folder,
                config,
                told,
                label=label,
                stack_sizes=stack_sizes,
                executor=self._executor,
            )

    def _start(self, folder: Path, config: RunConfig) -> None:
        """Commit round 0, where the task makes it of more than the server has."""
        store = RunStore(folder)
        try:
            if store.latest() is None:
                simulation = simulation_of(config.fleet.task.name)
                state = simulation.start(folder, config.fleet, data_request(config), self._told)
                if state is not None:
                    store.commit(0, state)
        finally:
            store.close()

    def _told(self, what: str, done: int, total: int) -> None:
        self._progress.phase(f"{what}: {done} of {total}")

    def _baseline(
        self, method: str, data: FleetData, *, alone: bool = False, progress: RunProgress | None = None
    ) -> BaselineResult:
        """Run the same fleet under another method, in a folder of its own that shares the data.

        `alone` keeps it to this process.
        """
        folder = self._folder / BASELINES_FOLDER / file_name(method)
        if not (folder / CONFIG_FILE).exists():
            write_config(baseline_config(self._config, method), folder)
        if not (folder / DATA_FOLDER).is_symlink():
            (folder / DATA_FOLDER).symlink_to(Path("..") / ".." / DATA_FOLDER, target_is_directory=True)
        phases = PhaseTimer(folder)
        config = read_config(folder)
        if alone:
            engine = dataclasses.replace(config.simulation.engine, processes=0)
            simulation = dataclasses.replace(config.simulation, engine=engine)
            config = dataclasses.replace(config, simulation=simulation)
        run = self._rounds(folder, config, label=method, phases=phases, progress=progress)
        return baseline_result(
            method,
            data,
            run.records,
            engine=run.engine,
            seconds=phases.seconds,
            kept=kept_devices(run, data),
        )

    def _tradeoff(
        self, run: CompletedRounds, data: FleetData, state: FleetState
    ) -> tuple[TradeoffPoint, ...]:
        weights = self._config.simulation.tradeoff
        tasks = _last_tasks(run, state) if weights else {}
        if not tasks:
            return ()
        path = self._folder / TRADEOFF_FILE
        if not path.exists():
            with self._phase("tradeoff", "weighing personal against global accuracy"):
                points = tradeoff_curve(
                    self._folder,
                    data,
                    tasks,
                    weights=weights,
                    codec=self._config.fleet.downlink,
                    stack_sizes=run.stack_sizes,
                    owner_share=self._config.owner_share,
                    processes=self._config.simulation.engine.processes,
                )
                write_json(path, [dataclasses.asdict(point) for point in points])
        return tuple(TradeoffPoint(**point) for point in read_json(path))

    def _evaluation(self, run: CompletedRounds, data: FleetData) -> dict[str, Any]:
        """Measure what the task measures after the rounds, beside accuracy."""
        simulation = simulation_of(self._config.fleet.task.name)
        if data.target.is_single and not simulation.evaluating:
            return {}
        path = self._folder / EVALUATION_FILE
        if not path.exists():
            with self._phase("evaluation", simulation.evaluating or "measuring what students say"):
                students, fleets = own_students(run, data), _final_state(run).students
                fleet, wanted = self._config.fleet, data_request(self._config)
                if data.target.is_single:
                    figures = simulation.evaluate(fleet, wanted, data, students, fleets, self._told)
                else:
                    figures = measured_target(fleet, data, students, fleets)
                write_json(path, figures)
        document: dict[str, Any] = read_json(path)
        return document

    def _seconds(self, baselines: Mapping[str, BaselineResult]) -> dict[str, float]:
        of_baselines = {f"baseline {name}": run.timing.total_seconds for name, run in baselines.items()}
        return self._phases.seconds | of_baselines


def serve_baselines(pipe: Connection) -> None:
    """Run in a process: make each baseline that comes, and say when it is over."""
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        PREPARATIONS.take_over(job.prepared)
        try:
            if job.method is None:
                _make_graphs(job)
            else:
                make_baseline(job.run_folder, job.method, RemoteProgress(pipe, job.method))
        # The run does it again, and says what is wrong.
        except Exception:
            pipe.send(BaselineEnd(failed=True))
        else:
            pipe.send(BaselineEnd(failed=False))


def _make_graphs(job: BaselineJob) -> None:
    """Put the inference graphs of a run's students into the cache, where its export finds them."""
    fleet = read_config(job.run_folder).fleet
    for prepared in job.prepared[-1:]:
        keep_graphs(fleet, prepared.state.students)


def make_baseline(run_folder: Path, method: str, progress: RunProgress) -> None:
    """Make a baseline of a run in this process alone, or what is left of it; its folder has the outcome."""
    run = _Run(run_folder, read_config(run_folder), progress, label=method, executor=None)
    run._baseline(method, load_fleet(run_folder / DATA_FOLDER), alone=True)


def keep_data(folder: Path, data: FleetData) -> None:
    """Write a run's data, whole or not at all."""
    partial = folder / f"{DATA_FOLDER}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    save_fleet(data, partial)
    partial.rename(folder / DATA_FOLDER)


def build_artifacts(folder: Path, config: RunConfig) -> dict[str, int]:
    """Build the training artifacts that are not there yet; the stack sizes stay those of the first start."""
    path = folder / STACK_SIZES_FILE
    sizes: dict[str, int] | None = read_json(path) if path.exists() else None
    if config.simulation.engine.name == "flower":
        sizes = dict.fromkeys(config.fleet.families, 1)  # each device is a client of its own
    sizes = prepare_artifacts(folder, config.fleet, devices=config.simulation.devices, stack_sizes=sizes)
    write_json(path, sizes)
    return sizes


def _final_state(run: CompletedRounds) -> FleetState:
    store = RunStore(run.folder)
    try:
        last = store.latest()
    finally:
        store.close()
    assert last is not None
    assert last.round == run.config.fleet.rounds
    return last.state


def _last_tasks(run: CompletedRounds, state: FleetState) -> dict[str, RoundTask]:
    """Return by family what the server would ask of devices next, with its own student to start from."""
    fleet = run.config.fleet
    method = build_method(fleet, load_public(run.folder, fleet))
    tasks = {
        family: dataclasses.replace(
            method.task(state, round_number=fleet.rounds + 1, family=family, newcomer=True),
            parameters=state.students[family],
            start=None,
        )
        for family in fleet.families
    }
    return tasks if all(task.soft_targets is not None for task in tasks.values()) else {}

"""The configured fleet's own run, watched: the tasks that the server really sent to one device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fedstill_proto.codec.api import TASK_LIMIT_BYTES, decode_task
from fedstill_proto.errors import FedstillError
from fedstill_proto.flower_records import unpack
from fedstill_proto.messages import RoundTask
from fedstill_server.rounds.run_store import RunStore
from fedstill_server.run_folder import FOLDER_KEY
from fedstill_server.state import FleetState
from flwr.app import RecordDict

from fedstill_sim.audit.progress import AuditProgress
from fedstill_sim.config import RunConfig, write_config
from fedstill_sim.data.fleet import FleetData, load_fleet
from fedstill_sim.engine.cohort import CohortEngine, Reply
from fedstill_sim.engine.grid import InProcessGrid
from fedstill_sim.folder import DATA_FOLDER
from fedstill_sim.runner.installed import packages_installed
from fedstill_sim.runner.run import build_artifacts, keep_data

_REPLY_LIMIT_BYTES = 1 << 28


class AuditError(FedstillError):
    """A configuration cannot be audited; the text says why, and what to do."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ObservedRound:
    """A round in which the watched device was asked.

    Attributes:
        task: What the server sent to it, encoded, with its soft labels whole.
        answer: What it sent, encoded; None where it failed.
        state: What the server's tasks of the round were made from.
    """

    task: bytes
    answer: bytes | None
    state: FleetState

    @property
    def decoded(self) -> RoundTask:
        """The task as the device reads it."""
        return decode_task(self.task)


@dataclass(frozen=True, kw_only=True, eq=False)
class ObservedRun:
    """A run of the fleet, as whoever watches one of its devices sees it.

    Attributes:
        folder: The run's folder, with its data and artifacts.
        config: The run's configuration.
        data: The fleet's data.
        stack_sizes: Devices that a stack holds, by family.
        device: The number of the watched device.
        rounds: The rounds in which it was asked.
    """

    folder: Path
    config: RunConfig
    data: FleetData
    stack_sizes: dict[str, int]
    device: int
    rounds: Sequence[ObservedRound]

    @property
    def family(self) -> str:
        """The student family of the watched device."""
        return self.data.families[self.device]


def observe_run(
    data: FleetData, config: RunConfig, folder: Path, *, device: int, progress: AuditProgress
) -> ObservedRun:
    """Run the fleet as it is configured, under the server's own app, and watch one device.

    Args:
        data: The fleet's data.
        config: Its configuration.
        folder: A new folder for the run.
        device: The number of the device.
        progress: Told of each round.

    Raises:
        AuditError: The device was never asked.
    """
    from fedstill_server.app import app

    write_config(config, folder)
    keep_data(folder, data)
    stack_sizes = build_artifacts(folder, config)
    seen: list[ObservedRound] = []
    with CohortEngine(
        folder,
        stack_sizes=stack_sizes,
        processes=config.simulation.engine.processes,
        owner_share=config.owner_share,
        noise_seed=config.fleet.seed,
    ) as engine:

        def train(devices: Sequence[int], contents: Sequence[RecordDict]) -> Sequence[Reply]:
            replies = engine.handlers["train"](devices, contents)
            for number, content, reply in zip(devices, contents, replies, strict=True):
                if number == device:
                    seen.append(_observed(folder, content, reply))
            progress.step()
            return replies

        handlers = engine.told.among({**engine.handlers, "train": train})
        grid = InProcessGrid(devices=data.devices, handlers=handlers)
        with packages_installed(folder):
            app(grid, grid.context(run_config={FOLDER_KEY: str(folder)}))
    if not seen:
        raise AuditError(
            f"device {data.device_names[device]!r} was asked in no round of the run; --watch another, "
            "or let more devices take part"
        )
    return ObservedRun(
        folder=folder,
        config=config,
        data=load_fleet(folder / DATA_FOLDER),
        stack_sizes=stack_sizes,
        device=device,
        rounds=seen,
    )


def _observed(folder: Path, content: RecordDict, reply: Reply) -> ObservedRound:
    task = unpack(content, "RoundTask", size_limit_bytes=TASK_LIMIT_BYTES)
    store = RunStore(folder)
    try:
        state = store.state_after(decode_task(task).round - 1)
    finally:
        store.close()
    assert state is not None  # the server has just made the task from it
    return ObservedRound(task=task, answer=answer_bytes(reply), state=state)


def answer_bytes(reply: Reply) -> bytes | None:
    """The encoded answer in a reply; None in an error."""
    if not isinstance(reply, RecordDict):
        return None
    return unpack(reply, "SoftLabelSummary", size_limit_bytes=_REPLY_LIMIT_BYTES)

"""The rounds of a real fleet, as its ServerApp runs them: with nodes, relays, a schedule and generations."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

# Before flwr: it switches flwr's telemetry and update check off.
import fedstill_proto  # noqa: F401  # isort: skip
from flwr.serverapp import Grid

from fedstill_server.config.fleet import FleetConfig
from fedstill_server.config.schedule import Schedule
from fedstill_server.fleet.bounded_grid import bounded
from fedstill_server.fleet.folder import FleetFolder
from fedstill_server.fleet.generations import in_force, settled
from fedstill_server.fleet.nodes import read_nodes
from fedstill_server.fleet.releasing import (
    ReleaseNotes,
    StageQuestions,
    has_students_to_take_over,
    switched_off,
)
from fedstill_server.fleet.replication import copies_commits
from fedstill_server.fleet.round_notes import RoundNotes
from fedstill_server.relay.relayed_grid import RelayedGrid
from fedstill_server.releases.release import ReleaseFolder
from fedstill_server.rounds.events import subscribe
from fedstill_server.rounds.fleet_run import FleetRun
from fedstill_server.rounds.inquiry import Inquiry
from fedstill_server.rounds.roster import NodeRegister
from fedstill_server.rounds.run_store import RunStore
from fedstill_server.rounds.scheduled import FleetView, Scheduled
from fedstill_server.run_folder import read_enrolled, read_fleet_config, read_generation
from fedstill_server.tasks import load_public, load_test


def serve_fleet(grid: Grid, folder: Path) -> None:
    """Run all rounds that the fleet's folder has not seen yet.

    Args:
        grid: Reaches the devices.
        folder: The fleet's.
    """
    with settled(folder):
        config = read_fleet_config(folder)
        FleetFolder(folder).digests.check()
        public, test = load_public(folder, config), load_test(folder, config)
    store = RunStore(folder, on_commit=copies_commits(FleetFolder(folder)))
    try:
        with ExitStack() as stack:
            # A node is who its key says, not who it says it is.
            registered: NodeRegister = functools.partial(read_nodes, FleetFolder(folder).nodes)
            grid = bounded(grid, folder, registered)
            if config.secure_sums is None:  # whose devices have to be registered here
                grid = relayed = RelayedGrid(grid, registered)
                registered = relayed.registered
            notes = ReleaseNotes(folder)
            stack.callback(notes.close)
            inquiry = Inquiry(registered, StageQuestions(folder), notes.keep)
            pacing = pacing_of(folder, config, store, registered, inquiry.look)
            stack.enter_context(subscribe(RoundNotes(folder)))
            FleetRun(
                grid,
                config,
                public=public,
                test=test,
                store=store,
                registered=registered,
                enrolled=functools.partial(read_enrolled, folder),
                pacing=pacing,
            ).run()
    finally:
        store.close()


def pacing_of(
    folder: Path,
    config: FleetConfig,
    store: RunStore,
    registered: NodeRegister,
    meanwhile: Callable[[Grid], None],
) -> Scheduled:
    """The pace of a real fleet's rounds: by its schedule, and until another generation is in force."""
    view = FleetView(
        schedule=functools.partial(Schedule.read, folder, continuous=config.continuous),
        registered=lambda: len(registered()),
        last_records=store.last_records,
        held=functools.partial(switched_off, folder),
        superseded=lambda: read_generation(folder) != config.generation or has_students_to_take_over(folder),
        outstays=lambda: ReleaseFolder(folder).on_its_way() is not None,
        meanwhile=meanwhile,
        in_force=functools.partial(in_force, folder, config.generation),
    )
    return Scheduled(config, view)

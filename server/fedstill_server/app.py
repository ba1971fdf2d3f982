"""The Flower ServerApp.

The run's folder is named by the run's configuration, `fedstill-run`, or by the environment, FEDSTILL_RUN;
what the run does is in its config.json, under "fleet".
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from pathlib import Path

# Before flwr: it switches flwr's telemetry and update check off.
import fedstill_proto  # noqa: F401  # isort: skip
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedstill_server.config.codec import ConfigError
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
from fedstill_server.plugins import search_current_folder
from fedstill_server.relay.connection import serve_relay
from fedstill_server.relay.folder import RelayFolder
from fedstill_server.relay.relayed_grid import RelayedGrid
from fedstill_server.releases.release import ReleaseFolder
from fedstill_server.rounds.events import subscribe
from fedstill_server.rounds.fleet_run import FleetRun
from fedstill_server.rounds.inquiry import Inquiry
from fedstill_server.rounds.roster import NodeRegister
from fedstill_server.rounds.run_store import RunStore
from fedstill_server.rounds.scheduled import FleetView, Scheduled
from fedstill_server.run_folder import (
    FOLDER_KEY,
    FOLDER_VARIABLE,
    read_enrolled,
    read_fleet_config,
    read_generation,
)
from fedstill_server.tasks import load_public, load_test

__all__ = ["app", "run_folder"]

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run all rounds that the folder has not seen yet."""
    search_current_folder()
    folder = run_folder(context)
    if RelayFolder.is_at(folder):
        serve_relay(grid, folder)
        return
    is_fleet = FleetFolder.is_at(folder)
    with settled(folder) if is_fleet else nullcontext():
        config = read_fleet_config(folder)
        if is_fleet:
            FleetFolder(folder).digests.check()
        public, test = load_public(folder, config), load_test(folder, config)
    store = RunStore(folder, on_commit=copies_commits(FleetFolder(folder)) if is_fleet else lambda: None)
    try:
        # In a real fleet a node is who its key says, not who it says it is.
        registered: NodeRegister | None = None
        pacing = None
        with ExitStack() as stack:
            if is_fleet:
                registered = functools.partial(read_nodes, FleetFolder(folder).nodes)
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


def run_folder(context: Context) -> Path:
    """The folder of the run that Flower started; raises ConfigError where nothing names it."""
    folder = context.run_config.get(FOLDER_KEY) or os.environ.get(FOLDER_VARIABLE)
    if not folder:
        raise ConfigError(
            f"the server does not know its run's folder; start it with --run-config '{FOLDER_KEY}=\"/path\"' "
            f"or set {FOLDER_VARIABLE}"
        )
    return Path(str(folder))

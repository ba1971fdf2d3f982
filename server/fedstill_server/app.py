"""The Flower ServerApp.

The run's folder is named by the run's configuration, `fedstill-run`, or by the environment, FEDSTILL_RUN;
what the run does is in its config.json, under "fleet".
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

# Before flwr: it switches flwr's telemetry and update check off.
import fedstill_proto  # noqa: F401  # isort: skip
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedstill_server.config.codec import ConfigError
from fedstill_server.fleet.folder import FleetFolder
from fedstill_server.plugins import search_current_folder
from fedstill_server.relay.folder import RelayFolder
from fedstill_server.rounds.fleet_run import FleetRun
from fedstill_server.rounds.pacing import PacedGrid
from fedstill_server.rounds.run_store import RunStore
from fedstill_server.run_folder import FOLDER_KEY, FOLDER_VARIABLE, read_enrolled, read_fleet_config
from fedstill_server.tasks import load_public, load_test

__all__ = ["app", "run_folder"]

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run all rounds that the folder has not seen yet."""
    search_current_folder()
    folder = run_folder(context)
    # What only a real fleet needs takes two seconds to import; most runs are simulated.
    if RelayFolder.is_at(folder):
        from fedstill_server.relay.connection import serve_relay

        serve_relay(grid, folder)
    elif FleetFolder.is_at(folder):
        from fedstill_server.real_fleet import serve_fleet

        serve_fleet(grid, folder)
    else:
        _run_simulated(grid, folder)


def _run_simulated(grid: Grid, folder: Path) -> None:
    """Run the rounds of a simulated fleet, at once or as its Grid says; nodes are who they say they are."""
    config = read_fleet_config(folder)
    public, test = load_public(folder, config), load_test(folder, config)
    store = RunStore(folder)
    try:
        FleetRun(
            grid,
            config,
            public=public,
            test=test,
            store=store,
            enrolled=functools.partial(read_enrolled, folder),
            pacing=grid.pacing if isinstance(grid, PacedGrid) else None,
        ).run()
    finally:
        store.close()


def run_folder(context: Context) -> Path:
    """The folder of the run that Flower started; raises ConfigError where nothing names it."""
    folder = context.run_config.get(FOLDER_KEY) or os.environ.get(FOLDER_VARIABLE)
    if not folder:
        raise ConfigError(
            f"the server does not know its run's folder; start it with --run-config '{FOLDER_KEY}=\"/path\"' "
            f"or set {FOLDER_VARIABLE}"
        )
    return Path(str(folder))

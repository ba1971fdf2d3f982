"""A run's folder: its configuration, and how a process finds the folder."""

from __future__ import annotations

from pathlib import Path

from fedstill_proto.system.sealed import read_sealed_json

from fedstill_server.config.codec import ConfigError
from fedstill_server.config.fleet import FleetConfig
from fedstill_server.methods.checks import checked_fleet

CONFIG_FILE = "config.json"
FOLDER_KEY = "fedstill-run"
"""Where a Flower run's configuration names the folder."""
FOLDER_VARIABLE = "FEDSTILL_RUN"
"""The environment variable that names it where Flower's configuration does not."""


def read_fleet_config(folder: Path) -> FleetConfig:
    """Read the "fleet" of <folder>/config.json.

    Raises:
        ConfigError: The file is missing, or holds something that a run cannot do.
        DamagedFile: Its bytes are not those that were written.
    """
    path = folder / CONFIG_FILE
    try:
        document = read_sealed_json(path)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; is {folder} the folder of a run?") from None
    if not isinstance(document, dict) or "fleet" not in document:
        raise ConfigError(f'{path}: no "fleet"')
    where = f"{path}: fleet"
    return checked_fleet(FleetConfig.from_json(document["fleet"], where=where), where=where)

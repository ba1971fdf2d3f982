"""A run's folder: its configuration, and how a process finds the folder."""

from __future__ import annotations

import json
from pathlib import Path

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
        ConfigError: The file is missing, is not JSON, or holds something that a run cannot do.
    """
    path = folder / CONFIG_FILE
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; is {folder} the folder of a run?") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a JSON file ({error})") from None
    if not isinstance(document, dict) or "fleet" not in document:
        raise ConfigError(f'{path}: no "fleet"')
    where = f"{path}: fleet"
    return checked_fleet(FleetConfig.from_json(document["fleet"], where=where), where=where)

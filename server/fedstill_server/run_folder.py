"""A run's folder: its configuration, and how a process finds the folder."""

from __future__ import annotations

from pathlib import Path

from fedstill_proto.errors import WireError
from fedstill_proto.generation import FIRST_GENERATION
from fedstill_proto.secure_sums.enrolled import EnrolledDevices
from fedstill_proto.system.sealed import read_sealed_json

from fedstill_server.config.codec import ConfigError
from fedstill_server.config.fleet import FleetConfig
from fedstill_server.methods.checks import checked_fleet

CONFIG_FILE = "config.json"
ENROLLED_FILE = "enrolled.json"
"""The list of devices that sums go by, as the fleet's repository offers it."""
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


def read_generation(folder: Path) -> int:
    """The generation that is in force in a fleet's folder; nothing else of its configuration is read."""
    document = read_sealed_json(folder / CONFIG_FILE)
    return int(document["fleet"].get("generation", FIRST_GENERATION))


def is_continuous(folder: Path) -> bool:
    """Whether the rounds of the fleet in `folder` have no end; nothing else of its configuration is read."""
    try:
        document = read_sealed_json(folder / CONFIG_FILE)
    except FileNotFoundError:
        return True  # unless prepare says otherwise
    return bool(document["fleet"].get("continuous", False))


def read_enrolled(folder: Path) -> EnrolledDevices | None:
    """The list of devices that a run's sums go by; None where there is none yet. Raises ConfigError."""
    path = folder / ENROLLED_FILE
    try:
        return EnrolledDevices.from_bytes(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, WireError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}; publish the fleet's devices anew") from None

"""When a device may work for the fleet: eligibility.json in its home, read anew at each check."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields
from pathlib import Path

from fedstill_proto.errors import FedstillError, InvalidValue

RULES_FILE = "eligibility.json"


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What a round asks of the device; a number of 0 asks nothing of its kind."""

    external_power: bool = True  # where there is a battery, it must be charging or full
    min_battery_percent: float = 30.0
    unmetered_network: bool = True
    max_other_load: float = 0.5  # processors that other programs keep busy, as a share of all; 1 allows any
    min_free_memory_mb: float = 150.0
    min_free_disk_mb: float = 100.0
    max_temperature_c: float = 80.0  # of the processor, where it can be read

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(field.default, bool):
                if not isinstance(value, bool):
                    raise InvalidValue(field.name, f"{value!r} is neither true nor false")
            elif isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise InvalidValue(field.name, f"{value!r} is not a number of 0 or more")
        if self.max_other_load > 1:
            raise InvalidValue("max_other_load", f"{self.max_other_load} is not a share from 0 to 1")
        if self.min_battery_percent > 100:
            raise InvalidValue("min_battery_percent", f"{self.min_battery_percent} is above 100")

    @classmethod
    def read(cls, folder: Path) -> Rules:
        """The rules in a device's folder; the defaults where there are none."""
        file = folder / RULES_FILE
        try:
            given = json.loads(file.read_bytes())
            if not isinstance(given, dict):
                raise FedstillError("it holds no object.")
            unknown = given.keys() - {field.name for field in fields(cls)}
            if unknown:
                known = ", ".join(field.name for field in fields(cls))
                raise FedstillError(f"unknown rules {sorted(unknown)}; there are {known}.")
            return cls(**given)
        except FileNotFoundError:
            return cls()
        except OSError as error:
            raise FedstillError(f"{file}: cannot be read: {error.strerror}.") from None
        except (ValueError, FedstillError) as error:
            raise FedstillError(f"{file}: cannot be used: {error}") from None

"""How much a device ever reveals to its fleet: privacy.json in its home, which no server can change.

    {"epsilon": 8.0, "delta": 1e-05, "least_noise_multiplier": 1.0}

Without the file, a device does what its fleet asks. With it, nothing leaves the device but noised answers,
which cost `epsilon` at `delta` all together, for as long as the home lasts.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from fedstill_proto.errors import FedstillError, InvalidValue
from fedstill_proto.privacy import rho_of_epsilon
from fedstill_proto.system.files import replace_file

POLICY_FILE = "privacy.json"


@dataclass(frozen=True, kw_only=True)
class PrivacyPolicy:
    """A device's budget.

    Attributes:
        epsilon: What all answers together may cost, at `delta`.
        delta: The delta of the budget.
        least_noise_multiplier: The least noise of a single answer; 0 allows any.
    """

    epsilon: float
    delta: float = 1e-5
    least_noise_multiplier: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
                raise InvalidValue(field.name, f"{value!r} is not a number of 0 or more")
        if not 0 < self.epsilon <= 1e3:
            raise InvalidValue("epsilon", f"{self.epsilon!r} is not a number above 0, 1000 at most")
        if not 1e-100 <= self.delta < 1:
            raise InvalidValue("delta", f"{self.delta!r} is not a probability between 1e-100 and 1")

    @property
    def rho(self) -> float:
        """The budget in zCDP, in which answers add up."""
        return rho_of_epsilon(self.epsilon, self.delta)

    @classmethod
    def read(cls, folder: Path) -> PrivacyPolicy | None:
        """The policy in a device's folder; None where there is none. A damaged one is refused."""
        file = folder / POLICY_FILE
        try:
            given = json.loads(file.read_text(encoding="utf-8"))
            known = {field.name for field in fields(cls)}
            if not isinstance(given, dict) or not {"epsilon"} <= given.keys() <= known:
                raise FedstillError(f"give epsilon, and maybe delta, least_noise_multiplier: {given}.")
            return cls(**given)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise FedstillError(f"{file}: cannot be read: {error.strerror}.") from None
        except (ValueError, FedstillError) as error:
            raise FedstillError(f"{file}: cannot be used: {error}") from None

    def write(self, folder: Path) -> None:
        """Put it in place, whole or not at all."""
        replace_file(folder / POLICY_FILE, (json.dumps(asdict(self), indent=1) + "\n").encode())

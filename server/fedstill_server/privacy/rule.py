"""The promise of a run to its devices."""

from __future__ import annotations

from dataclasses import dataclass

from fedstill_proto.checks import MAX_UINT64, check_integer
from fedstill_proto.errors import InvalidValue
from fedstill_proto.privacy import Noising

MODES = ("central", "local", "distributed")


@dataclass(frozen=True, kw_only=True)
class PrivacyRule:
    """Device-level differential privacy (docs/privacy.md).

    Attributes:
        mode: "central": devices trust the server, which clips each answer and adds noise to their sum.
            "local": every device clips and adds the noise itself. "distributed": every device adds a part of
            the noise, and the server learns nothing but the sum, which has all of it.
        noise_multiplier: The noise, in units of what another private set can change.
        clip: The L2 norm that an answer's vector is clipped to.
        delta: The delta at which epsilon is reported.
        noise_seed: For simulations, whose noise can be drawn again; None is the operating system's
            randomness.
        measured: Whether devices count correct answers for the server, which is outside of the promise; only
            a simulation may, where no real data are at stake.
    """

    mode: str
    noise_multiplier: float
    clip: float
    delta: float = 1e-5
    noise_seed: int | None = None
    measured: bool = False

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise InvalidValue("mode", f"{self.mode!r} is not one of {', '.join(MODES)}")
        Noising(self.clip, self.noise_multiplier)
        if not (isinstance(self.delta, float) and 0 < self.delta < 1):
            raise InvalidValue("delta", f"{self.delta!r} is not a probability between 0 and 1")
        if self.noise_seed is not None:
            check_integer("noise_seed", self.noise_seed, 0, MAX_UINT64)
        elif self.measured:
            raise InvalidValue("measured", "devices of a real fleet count no correct answers; leave it out")

    @property
    def noising(self) -> Noising:
        """How an answer is clipped and noised."""
        return Noising(self.clip, self.noise_multiplier)

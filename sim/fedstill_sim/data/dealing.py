"""How examples that belong to no device are dealt out, and what is held out to test on."""

from __future__ import annotations

from dataclasses import dataclass

from fedstill_sim.data.fleet import FleetDataError
from fedstill_sim.data.own_data import OwnDataOptions
from fedstill_sim.data.pools import TEST_FRACTION

USUAL_DEVICES = 10


@dataclass(frozen=True, kw_only=True)
class Dealing:
    """Who gets what.

    Attributes:
        devices: How many; None is as many as the data name, or 10.
        dirichlet: The skew over classes; None deals at random into parts of one size.
        held_out: The share of a device's examples that it is tested on, where it brings no tests.
        public_share: The share of the examples that becomes the public set, where the data have none.
        seed: Of every draw.
        examples: Training examples of each device, drawn with replacement; None splits the pool while it
            suffices.
    """

    devices: int | None = None
    dirichlet: float | None = None
    held_out: float = TEST_FRACTION
    public_share: float = 0.0
    seed: int = 0
    examples: int | None = None

    @classmethod
    def asked(
        cls,
        reading: OwnDataOptions,
        *,
        devices: int | None,
        dirichlet: float | None,
        seed: int,
        examples: int | None = None,
    ) -> Dealing:
        """As options ask for it."""
        return cls(
            devices=devices,
            dirichlet=dirichlet,
            held_out=reading.held_out,
            public_share=reading.public_share,
            seed=seed,
            examples=examples,
        )

    @property
    def count(self) -> int:
        """How many devices share a pool."""
        return USUAL_DEVICES if self.devices is None else self.devices

    def refuse(self, where: str, *, devices: int) -> None:
        """Refuse to deal out examples whose devices are named, so many of them."""
        if self.devices not in (None, devices) or self.dirichlet is not None or self.examples is not None:
            raise FleetDataError(
                f"{where}: --devices, --dirichlet and --examples-per-device deal out examples without "
                "devices; these bring their own"
            )

    def described(self, devices: int, *, whole: bool) -> str:
        """In words, for reports."""
        if not whole:
            return f"{devices} device{'' if devices == 1 else 's'} as given"
        how = "at random" if self.dirichlet is None else f"by Dirichlet({self.dirichlet:g}) over classes"
        return f"dealt out to {self.count} devices {how}"

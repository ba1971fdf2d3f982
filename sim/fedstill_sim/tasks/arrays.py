"""Arrays in the simulator: digits, MNIST-1D, and one's own arrays, tables, pictures and windows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from fedstill_sim.data.fleet import FleetData
from fedstill_sim.tasks.interface import DataRequest, Defaults, SimulatedTask


@dataclass(frozen=True, kw_only=True)
class ArraySimulation(SimulatedTask):
    """Examples of one class each, as arrays of numbers."""

    families: ClassVar[tuple[str, ...]] = ("mlp-small", "mlp-wide", "cnn")
    reads_with_options: ClassVar[bool] = True

    def load_folder(self, wanted: DataRequest, folder: Path) -> FleetData:
        from fedstill_sim.data.dealing import Dealing
        from fedstill_sim.data.folder import load_folder

        return load_folder(
            folder,
            families=wanted.families,
            normalize=wanted.normalize,
            channels=wanted.channels,
            reading=wanted.reading,
            target=wanted.target,
            dealing=Dealing.asked(
                wanted.reading,
                devices=wanted.devices,
                dirichlet=wanted.dirichlet,
                seed=wanted.seed,
                examples=wanted.examples_per_device,
            ),
        )

    def defaults(self, dataset: str | None) -> Defaults:
        return Defaults(rounds=40) if dataset == "mnist1d" else Defaults()

"""Arrays in the simulator: digits, MNIST-1D, and folders of .npz files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from fedstill_sim.data.fleet import FleetData
from fedstill_sim.tasks.interface import DataRequest, Defaults, SimulatedTask

DEFAULT_DEVICES = 10


@dataclass(frozen=True, kw_only=True)
class ArraySimulation(SimulatedTask):
    """Examples of one class each, as arrays of numbers."""

    datasets: ClassVar[tuple[str, ...]] = ("digits", "mnist1d")
    families: ClassVar[tuple[str, ...]] = ("mlp-small", "mlp-wide", "cnn")

    def is_at(self, folder: Path) -> bool:
        return (folder / "public.npz").is_file()

    def load(self, wanted: DataRequest) -> FleetData:
        # Data sets take their time to import.
        if wanted.folder is not None:
            from fedstill_sim.data.folder import load_folder

            return load_folder(wanted.folder, families=wanted.families)
        if wanted.dataset == "mnist1d":
            from fedstill_sim.data.mnist1d import load_mnist1d as load
        else:
            from fedstill_sim.data.digits import load_digits as load
        return load(
            devices=wanted.devices or DEFAULT_DEVICES,
            dirichlet=wanted.dirichlet,
            seed=wanted.seed,
            families=wanted.families,
        )

    def defaults(self, dataset: str | None) -> Defaults:
        return Defaults(rounds=40) if dataset == "mnist1d" else Defaults()

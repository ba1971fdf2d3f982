"""What the simulator needs to know of a task, beside what the server knows: its data, its start, its figures.

A task of one's own needs nothing here where its data are data sets that name it (data/registry.py), folders
of arrays, or arrays in memory. One that reads folders of its own is a subclass, most easily of
ArraySimulation:

    class WindowSimulation(ArraySimulation):
        def is_at(self, folder: Path) -> bool:
            return (folder / "windows.parquet").is_file()

        def load_folder(self, wanted: DataRequest, folder: Path) -> FleetData:
            return my_windows(folder, seed=wanted.seed).with_families(wanted.families)

It is found under the name of the server's task, by an entry point of the group "fedstill.simulations" or by
`SIMULATIONS.register`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from fedstill_client.model.owner_share import OWNER_SHARE
from fedstill_proto.arrays import Parameters
from fedstill_proto.package.input_rule import InputRule
from fedstill_proto.package.target import TargetKind
from fedstill_server.config.fleet import FleetConfig
from fedstill_server.state import FleetState
from fedstill_server.tasks import TASKS, Task
from fedstill_server.tasks.interface import Progress

from fedstill_sim.data.fleet import FleetData
from fedstill_sim.data.own_data import OwnDataOptions
from fedstill_sim.data.registry import DATASETS


@dataclass(frozen=True, kw_only=True)
class DataRequest:
    """Which data a run is of.

    Attributes:
        dataset: The name of a data set, unless it is a folder.
        folder: Of one's own data.
        devices: How many; None is what suits the data.
        dirichlet: Skew of classes over devices; None is natural devices, or what suits the data.
        seed: Of every draw.
        families: Dealt out to devices in turn.
        reading: How one's own data are read.
        normalize: How inputs are scaled, as `InputRule.of` takes it.
        channels: Where the channels of an example are, as `InputRule.of` takes it.
        target: What a folder's labels say; a data set says it itself.
        examples_per_device: Training examples of each device, drawn with replacement; None is what suits the
            data.
    """

    dataset: str | None = None
    folder: Path | None = None
    devices: int | None = None
    dirichlet: float | None = None
    seed: int = 0
    families: tuple[str, ...]
    reading: OwnDataOptions = field(default_factory=OwnDataOptions)
    normalize: str = "auto"
    channels: str = "auto"
    target: TargetKind = TargetKind.SINGLE_LABEL
    examples_per_device: int | None = None


@dataclass(frozen=True, kw_only=True)
class Defaults:
    """What a data set gets unless the command line says otherwise."""

    rounds: int = 20
    evaluate_every: int = 1  # rounds
    owner_share: float = OWNER_SHARE
    tradeoff: bool = True  # whether personal against global accuracy can be weighed at the end


@dataclass(frozen=True, kw_only=True)
class SimulatedTask(ABC):
    """A task in the simulator.

    Attributes:
        task: The name of the server's task.
        families: The student families of a fleet where nobody says.
        unsuited: Families of the task that its rounds cannot begin with.
        compared: The methods that are compared where nobody says.
        refused: Why it takes no value of an option but the default, by the option's field.
        picks_devices: Whether a folder's devices may be fewer than it holds.
        seeds_start: Whether a run starts with what is drawn from the seed that its data are drawn from.
        reads_with_options: Whether options say how a folder or file of one's own is read and dealt out.
        evaluating: What `evaluate` does, to those who wait; nothing where it is "".
    """

    task: str
    families: ClassVar[tuple[str, ...]]
    unsuited: ClassVar[tuple[str, ...]] = ()
    compared: ClassVar[tuple[str, ...]] = ("fedstill", "public-logits", "local", "fedavg")
    refused: ClassVar[Mapping[str, str]] = {}
    picks_devices: ClassVar[bool] = False
    seeds_start: ClassVar[bool] = False
    evaluating: ClassVar[str] = ""
    reads_with_options: ClassVar[bool] = False

    def is_at(self, folder: Path) -> bool:
        """Whether a folder shows by its files that it holds data of this task; --task says it of others."""
        return False

    def load(self, wanted: DataRequest) -> FleetData:
        """The data of a fleet: of a folder of one's own, or of a data set that has a name.

        Raises:
            FedstillError: For data that no fleet can be made of.
        """
        if wanted.folder is not None:
            return self.load_folder(wanted, wanted.folder)
        assert wanted.dataset is not None  # the data of a request are one or the other
        data = DATASETS.read(
            wanted.dataset,
            devices=wanted.devices,
            dirichlet=wanted.dirichlet,
            seed=wanted.seed,
            examples_per_device=wanted.examples_per_device,
        )
        if TASKS.load(self.task).form.amounts and data.input_rule == InputRule():
            rule = InputRule.of(data.public_x, normalize=wanted.normalize, channels=wanted.channels)
            data = data.read_by(rule)
        return data.with_families(wanted.families)

    @abstractmethod
    def load_folder(self, wanted: DataRequest, folder: Path) -> FleetData:
        """The data of a fleet in a folder of one's own.

        Raises:
            FleetDataError: For data that no fleet can be made of.
        """

    def defaults(self, dataset: str | None) -> Defaults:
        """What a data set gets unless somebody says otherwise; None is a folder, or arrays in memory."""
        return Defaults()

    def server_task(self, data: FleetData) -> Task:
        """The server's task, with the options that follow from the data."""
        return TASKS.load(self.task)()

    def is_made(self, *, own: bool, distilled: bool) -> bool:
        """Whether teacher and students are made of more than the public set (see `start`).

        Args:
            own: Whether the data are one's own.
            distilled: Whether students start from a teacher that learned the public set's labels.
        """
        return False

    def start(
        self, folder: Path, fleet: FleetConfig, wanted: DataRequest, on_progress: Progress
    ) -> FleetState | None:
        """The state of round 0 of the run in `folder`; None where the server makes it of the public set."""
        return None

    def evaluate(
        self,
        fleet: FleetConfig,
        wanted: DataRequest,
        data: FleetData,
        own_students: Mapping[int, Parameters],
        fleet_students: Mapping[str, Parameters],
        on_progress: Progress,
    ) -> dict[str, Any]:
        """What the task measures after the rounds, beside accuracy, in JSON's types.

        Args:
            fleet: The run's configuration.
            wanted: The run's data.
            data: The same, read.
            own_students: The final student of each device that took part, by the device's number.
            fleet_students: The fleet's own after the rounds, by family.
            on_progress: Told of what is made anew.
        """
        return {}

    def lines_of(self, figures: dict[str, Any]) -> list[str]:
        """What `evaluate` measured, in plain words."""
        return []

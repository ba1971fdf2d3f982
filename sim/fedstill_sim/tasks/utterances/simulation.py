"""The assistant in the simulator: homes are devices, and learn what their people mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from fedstill_server.config.fleet import FleetConfig
from fedstill_server.state import FleetState
from fedstill_server.tasks.interface import Progress

from fedstill_sim.data.dealing import Dealing
from fedstill_sim.data.fleet import FleetData
from fedstill_sim.tasks.interface import DataRequest, Defaults, SimulatedTask

PUBLIC_FILE = "public.csv"


@dataclass(frozen=True, kw_only=True)
class UtteranceSimulation(SimulatedTask):
    """Home Assistant's sentences, or a folder of utterances: <user>.csv and public.csv (text,label)."""

    families: ClassVar[tuple[str, ...]] = ("ngrams", "ngrams-small")
    seeds_start: ClassVar[bool] = True
    refused: ClassVar[Mapping[str, str]] = {
        "examples_per_device": "--examples-per-device draws from a pool; what people say is theirs alone",
    }

    def is_at(self, folder: Path) -> bool:
        from fedstill_proto.readers.tables import header_of

        file = folder / PUBLIC_FILE
        return file.is_file() and set(header_of(file)) >= {"text", "label"}

    def load_folder(self, wanted: DataRequest, folder: Path) -> FleetData:
        from fedstill_sim.tasks.utterances.fleet import load_assistant_fleet

        data = load_assistant_fleet(folder, seed=wanted.seed, families=wanted.families)
        Dealing(devices=wanted.devices, dirichlet=wanted.dirichlet).refuse(str(folder), devices=data.devices)
        return data

    def defaults(self, dataset: str | None) -> Defaults:
        return Defaults(rounds=10)

    def is_made(self, *, own: bool, distilled: bool) -> bool:
        """A folder of one's own starts from the labels of its public.csv, as other data do."""
        return distilled and not own

    def start(
        self, folder: Path, fleet: FleetConfig, wanted: DataRequest, on_progress: Progress
    ) -> FleetState | None:
        """Students that have learned from the sentence model before the first round."""
        distilled = fleet.start == "distilled" and fleet.use_public_labels
        if not self.is_made(own=wanted.folder is not None, distilled=distilled):
            return None
        from fedstill_sim.tasks.utterances.start import first_state

        return first_state(folder, fleet, wanted, on_progress)

"""The keyboard in the simulator: writers are devices, and say their next words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from fedstill_proto.arrays import Parameters
from fedstill_server.config.fleet import FleetConfig
from fedstill_server.state import FleetState
from fedstill_server.tasks import Task
from fedstill_server.tasks.interface import Progress
from fedstill_server.tasks.text.task import TextTask

from fedstill_sim.data.fleet import FleetData
from fedstill_sim.folder import DATA_FOLDER
from fedstill_sim.tasks.interface import DataRequest, Defaults, SimulatedTask
from fedstill_sim.tasks.text.data import PUBLIC_FILE, VOCABULARY_FILE


@dataclass(frozen=True, kw_only=True)
class TextSimulation(SimulatedTask):
    """Shakespeare's speakers, or a folder of texts: <user>.txt and public.txt, a text a line."""

    families: ClassVar[tuple[str, ...]] = ("gru-80-224", "gru-24-96")  # the second for weak devices
    unsuited: ClassVar[tuple[str, ...]] = ("transformer", "ssm")
    compared: ClassVar[tuple[str, ...]] = ("next-words", "local", "fedavg")
    refused: ClassVar[Mapping[str, str]] = {
        "dirichlet": "--dirichlet splits classes over devices; a keyboard's devices are writers",
        "examples_per_device": "--examples-per-device draws from a pool; what people write is theirs alone",
        "engine": "--engine other than cohort runs no fleet of text; leave it out",
        "encoding": "--encoding is for classes; a keyboard's soft labels take --uplink and --downlink",
    }
    picks_devices: ClassVar[bool] = True
    seeds_start: ClassVar[bool] = True
    evaluating: ClassVar[str] = "measuring suggestions on held-out texts"

    def is_at(self, folder: Path) -> bool:
        return (folder / PUBLIC_FILE).is_file()

    def load_folder(self, wanted: DataRequest, folder: Path) -> FleetData:
        from fedstill_sim.tasks.text.fleet import load_keyboard_fleet

        return load_keyboard_fleet(folder, devices=wanted.devices, seed=wanted.seed, families=wanted.families)

    def defaults(self, dataset: str | None) -> Defaults:
        return Defaults(owner_share=0.0, evaluate_every=5, tradeoff=False)

    def server_task(self, data: FleetData) -> Task:
        from fedstill_sim.tasks.text.start import keyboard_plan

        plan = keyboard_plan(())
        return TextTask(
            vocabulary=f"{DATA_FOLDER}/{VOCABULARY_FILE}",
            step_vocabulary=data.classes,
            teacher_width=plan.width,
            teacher_state_width=plan.state_width,
        )

    def is_made(self, *, own: bool, distilled: bool) -> bool:
        return True

    def start(
        self, folder: Path, fleet: FleetConfig, wanted: DataRequest, on_progress: Progress
    ) -> FleetState:
        """Students that were distilled from the whole of the public texts."""
        from fedstill_sim.tasks.text.data import load_keyboard
        from fedstill_sim.tasks.text.start import first_state, start_keyboard

        texts = load_keyboard(wanted.folder).of(_devices(wanted))
        return first_state(fleet, start_keyboard(texts, fleet.families, on_progress=on_progress))

    def evaluate(
        self,
        fleet: FleetConfig,
        wanted: DataRequest,
        data: FleetData,
        own_students: Mapping[int, Parameters],
        fleet_students: Mapping[str, Parameters],
        on_progress: Progress,
    ) -> dict[str, Any]:
        """What suggestions are worth on texts that were held out, before and after the rounds."""
        from fedstill_sim.tasks.text.data import load_keyboard
        from fedstill_sim.tasks.text.suggestions import measured_suggestions

        texts = load_keyboard(wanted.folder).of(_devices(wanted))
        found = measured_suggestions(
            texts, fleet, data, own_students, on_progress, fleet_students=fleet_students
        )
        return found.to_json()

    def lines_of(self, figures: dict[str, Any]) -> list[str]:
        from fedstill_sim.tasks.text.evaluation import Suggestions, lines_of

        return lines_of(Suggestions.from_json(figures))


def _devices(wanted: DataRequest) -> int:
    assert wanted.devices is not None  # a run's configuration says how many
    return wanted.devices

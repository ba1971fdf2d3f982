"""Texts with classes in the simulator: a table, or a table a device, becomes rows of sub-words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from fedstill_server.tasks import Task
from fedstill_server.tasks.subwords.task import TextClassTask

from fedstill_sim.data.fleet import FleetData
from fedstill_sim.tasks.interface import DataRequest, Defaults, SimulatedTask

PUBLIC_SHARE = 0.2
"""Of a table without public texts, what becomes the public set where nobody says."""


@dataclass(frozen=True, kw_only=True)
class TextClassSimulation(SimulatedTask):
    """A table of texts and labels, or a folder of such: <device>.csv, public.csv and test.csv."""

    families: ClassVar[tuple[str, ...]] = ("hf:minilm+lora:8",)
    refused: ClassVar[Mapping[str, str]] = {
        "engine": "--engine other than cohort runs no fleet of texts; leave it out",
    }
    reads_with_options: ClassVar[bool] = True

    def load_folder(self, wanted: DataRequest, folder: Path) -> FleetData:
        from fedstill_sim.tasks.subwords.fleet import load_text_fleet

        return load_text_fleet(folder, wanted, public_share=PUBLIC_SHARE)

    def defaults(self, dataset: str | None) -> Defaults:
        return Defaults(rounds=10)

    def server_task(self, data: FleetData) -> Task:
        from fedstill_sim.tasks.subwords.fleet import described_tokenizer

        return TextClassTask(**described_tokenizer(data))

"""Next sub-words in the simulator: writers are devices, and their students causal models of Hugging Face."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from fedstill_server.tasks import Task
from fedstill_server.tasks.subwords.next_task import NextTokenTask

from fedstill_sim.data.fleet import FleetData
from fedstill_sim.tasks.interface import DataRequest, Defaults, SimulatedTask


@dataclass(frozen=True, kw_only=True)
class NextSubwordSimulation(SimulatedTask):
    """A folder of texts: <user>.txt and public.txt, a text a line."""

    families: ClassVar[tuple[str, ...]] = ()  # nobody's model is at hand
    compared: ClassVar[tuple[str, ...]] = ("next-words", "local", "fedavg")
    refused: ClassVar[Mapping[str, str]] = {
        "dirichlet": "--dirichlet splits classes over devices; these are writers",
        "examples_per_device": "--examples-per-device draws from a pool; what people write is theirs alone",
        "engine": "--engine other than cohort runs no fleet of text; leave it out",
        "encoding": "--encoding is for classes; soft labels of sub-words take --uplink and --downlink",
    }
    picks_devices: ClassVar[bool] = True

    def load_folder(self, wanted: DataRequest, folder: Path) -> FleetData:
        from fedstill_sim.tasks.subwords.next_fleet import load_writers

        return load_writers(folder, devices=wanted.devices, seed=wanted.seed, families=wanted.families)

    def defaults(self, dataset: str | None) -> Defaults:
        return Defaults(rounds=5, owner_share=0.0, evaluate_every=5, tradeoff=False)

    def server_task(self, data: FleetData) -> Task:
        from fedstill_sim.tasks.subwords.fleet import described_tokenizer

        return NextTokenTask(**described_tokenizer(data))

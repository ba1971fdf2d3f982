"""Adversaries train honestly on false labels: c becomes K - 1 - c (Fang et al. 2020, arXiv 1911.11815)."""

from __future__ import annotations

import numpy as np
from fedstill_proto.arrays import IntArray

from fedstill_sim.attacks.interface import Attack
from fedstill_sim.attacks.poisoning import with_training_examples
from fedstill_sim.data.fleet import FleetData


class LabelFlip(Attack):
    line = "each trains, honestly, on labels c that are K - 1 - c (Fang et al. 2020, arXiv 1911.11815)"

    def poisoned(self, data: FleetData, adversaries: IntArray, generator: np.random.Generator) -> FleetData:
        return with_training_examples(data, adversaries, lambda x, y: (x, data.classes - 1 - y))

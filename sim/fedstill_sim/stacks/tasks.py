"""The tasks of a round: made once for all devices that get the same, and counted as they would be sent."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from fedstill_proto.arrays import IntArray
from fedstill_proto.codec.api import decode_task, encode_task
from fedstill_proto.codec.told_labels import table_told
from fedstill_proto.messages import RoundTask
from fedstill_proto.soft_labels.base_table import BaseTable
from fedstill_server.methods import Method
from fedstill_server.rounds.base_tables import BaseTables
from fedstill_server.rounds.run_store import Checkpoint

from fedstill_sim.stacks.fleet_columns import FleetColumns
from fedstill_sim.stacks.open_fleet import OpenFleet


@dataclass(frozen=True, eq=False)
class CohortGroup:
    """Devices [n] of a cohort that do the same, and their places in it [n].

    Attributes:
        name: Names their task in the round's context.
        task: The task as they decode it.
        devices: The devices.
        places: Their places in the cohort.
    """

    name: str
    task: RoundTask
    devices: IntArray
    places: IntArray


class RoundTasks:
    """The tasks of one round, made of the state before it."""

    def __init__(self, method: Method, before: Checkpoint, number: int) -> None:
        self._method, self._before, self._number = method, before, number
        self._told: dict[bytes, BaseTable] = {}  # what the round tells, by its digest
        self.blobs: dict[str, bytes] = {}  # whole, by family and whether a device is new
        self.sent_bytes = 0

    def groups(self, fleet: OpenFleet, columns: FleetColumns, cohort: IntArray) -> list[CohortGroup]:
        """Make the tasks of a cohort, and count their bytes, each coded against what devices were told."""
        families, newcomers = fleet.family_codes[cohort].astype(np.int64), ~columns.installed[cohort]
        told = columns.bases(cohort, self._before.base_tables.told)
        kinds, kind_of = np.unique(2 * families + newcomers, return_inverse=True)
        groups = []
        for place, kind in enumerate(kinds.tolist()):
            members = np.flatnonzero(kind_of == place)
            family, newcomer = fleet.families[kind // 2], bool(kind % 2)
            name = f"{family}/{'new' if newcomer else 'own'}"
            rounds, counts = np.unique(told[members], return_counts=True)
            for base_round, count in zip(rounds.tolist(), counts.tolist(), strict=True):
                self.sent_bytes += count * len(self._encoded(family, newcomer, base_round))
            self.blobs[name] = self._encoded(family, newcomer, 0)
            groups.append(CohortGroup(name, decode_task(self.blobs[name]), cohort[members], members))
        return groups

    def tables_after(self) -> BaseTables:
        """What is held of the round, so that later tasks can be coded against it."""
        tells = list(self._told.values())
        # Of what is not the same for all devices, nobody could say later which of them was told what.
        before = self._before.base_tables
        told = before.told.told(self._number, tells[0] if len(tells) == 1 else None)
        return replace(before, told=told)

    def _encoded(self, family: str, newcomer: bool, base_round: int) -> bytes:
        method, codec = self._method, self._method.config.downlink
        made: dict[str, Any] = {"round_number": self._number, "family": family, "newcomer": newcomer}
        task = method.task(self._before.state, **made)
        tells = table_told(task.soft_targets, codec)
        if tells is not None:
            self._told[tells.levels.digest()] = tells
        table = self._before.base_tables.told.tables.get(base_round)
        return encode_task(task, codec=codec, base_round=base_round, told=table)

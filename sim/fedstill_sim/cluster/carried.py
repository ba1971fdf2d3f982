"""Devices' files, which travel with the calls that read and write them: no worker owns a device.

A call about a shard brings the students of its devices, and what they answered before; the worker's machine
has a file of the run's students, too, with holes where students are that it never saw. The call's function
finds them there and leaves the new ones, which go back with its result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_client.rounds.base_table_store import BaseTableStore
from fedstill_proto.arrays import BoolArray, FloatArray, IntArray
from fedstill_proto.system.files import replace_file

from fedstill_sim.engine.open_run import students_path
from fedstill_sim.engine.shards import TaskShard
from fedstill_sim.engine.students import SlotArray, StudentFile
from fedstill_sim.folder import DEVICES_FOLDER

STARTS = f"{DEVICES_FOLDER}/starts"


@dataclass(frozen=True)
class FamilyRows:
    """Where the students of a shard's devices [n] lie in the file of their family; -1 where none is kept."""

    family: str
    devices: int
    width: int
    rows: IntArray

    def file(self, run_folder: Path) -> StudentFile:
        """The family's students in a run's folder."""
        return StudentFile(students_path(run_folder, self.family), devices=self.devices, width=self.width)


@dataclass(frozen=True)
class DeviceFiles:
    """What devices [n] have in files.

    Attributes:
        students: Their students [n, width].
        control_variates: Their control variates [n, width].
        answers: By name, the files of what they answered; empty where there is none.
        starts: By place in the run's folder, what devices of the family started rounds from.
    """

    students: FloatArray | None = None
    control_variates: FloatArray | None = None
    answers: Mapping[str, bytes] = field(default_factory=dict)
    starts: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class CarriedShard:
    """A shard's devices, and what a call about them brings.

    Attributes:
        run_folder: The run.
        where: Where their students lie.
        names: Of the files of what they answered [n].
        slots: Where they start from [n]; None where no student is read.
        new_slots: Where new students are left; None where none are.
        stored: Whose new ones are to be sent back [n].
        starts: The places of the starts that the caller has, or has had.
        brought: What they have.
    """

    run_folder: Path
    where: FamilyRows
    names: tuple[str, ...]
    slots: SlotArray | None
    new_slots: SlotArray | None
    stored: BoolArray
    starts: frozenset[str]
    brought: DeviceFiles

    def write_brought(self) -> None:
        """Put what was brought where the call looks for it."""
        file = self.where.file(self.run_folder)
        file.create()
        if self.slots is not None and self.brought.students is not None:
            file.write(self.slots, self.where.rows, self.brought.students)
        if self.slots is not None and self.brought.control_variates is not None:
            file.control_variates.create()
            file.control_variates.write(self.slots, self.where.rows, self.brought.control_variates)
        write_answers(self.run_folder, {name: self.brought.answers.get(name, b"") for name in self.names})

    def read_left(self) -> DeviceFiles:
        """Return what the call has left."""
        starts = {
            place: path.read_bytes()
            for place, path in _starts(self.run_folder)
            if place not in self.starts and path.parent.name == self.where.family
        }
        if self.new_slots is None:
            return DeviceFiles(starts=starts)
        slots, rows = self.new_slots[self.stored], self.where.rows[self.stored]
        file = self.where.file(self.run_folder)
        control = file.control_variates if file.control_variates.exists else None
        return DeviceFiles(
            students=file.read(slots, rows),
            control_variates=None if control is None else control.read(slots, rows),
            answers=read_answers(self.run_folder, self.names),
            starts=starts,
        )

    def write_left(self, left: DeviceFiles) -> None:
        """Put what came back into this machine's files."""
        file = self.where.file(self.run_folder)
        if self.new_slots is not None and left.students is not None:
            slots, rows = self.new_slots[self.stored], self.where.rows[self.stored]
            file.write(slots, rows, left.students)
            if left.control_variates is not None:
                file.control_variates.create()
                file.control_variates.write(slots, rows, left.control_variates)
        write_answers(self.run_folder, left.answers)
        for place, content in left.starts.items():
            path = self.run_folder / place
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                replace_file(path, content)


class LaterCarried:
    """What a call brings, read from the files when the call is sent: calls that wait hold no students."""

    def __init__(self, carried: CarriedShard) -> None:
        self._carried = carried

    def made_now(self) -> CarriedShard:
        """Return it with what the files have."""
        carried, folder = self._carried, self._carried.run_folder
        file = carried.where.file(folder)
        students = control = None
        if carried.slots is not None:
            students = file.read(carried.slots, carried.where.rows)
            if file.control_variates.exists:
                control = file.control_variates.read(carried.slots, carried.where.rows)
        return replace(
            carried,
            starts=carried.starts | {place for place, _ in _starts(folder)},
            brought=DeviceFiles(students, control, read_answers(folder, carried.names)),
        )


def call_carried(work: Callable[[Any], Any], asked: Any, carried: CarriedShard) -> tuple[Any, DeviceFiles]:
    """Make a call about a shard, in a worker; return its result, and what it left of its devices."""
    carried.write_brought()
    result = work(asked)
    return result, carried.read_left()


def shard_of(asked: Any) -> tuple[TaskShard, BoolArray] | None:
    """The shard of devices that a call is about, and whose students it stores [n], if it is of any."""
    shard = asked if isinstance(asked, TaskShard) else getattr(asked, "shard", None)
    if not isinstance(shard, TaskShard):
        return None
    stored: npt.NDArray[np.bool_] | None = getattr(asked, "stored", None)
    return shard, np.ones(len(shard.devices), np.bool_) if stored is None else stored


def read_answers(run_folder: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    """The files of what devices answered, as far as there are any."""
    folder = _answers(run_folder)
    if not folder.is_dir():
        return {}
    return {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}


def write_answers(run_folder: Path, files: Mapping[str, bytes]) -> None:
    """Make files of what devices answered; an empty one removes it."""
    folder = _answers(run_folder)
    for name, content in files.items():
        if content:
            folder.mkdir(parents=True, exist_ok=True)
            replace_file(folder / name, content)
        elif folder.is_dir():
            (folder / name).unlink(missing_ok=True)


def answers_name(store: BaseTableStore, device: str) -> str:
    """The name of the file of what a device answered."""
    return store.file(device).name


def _answers(run_folder: Path) -> Path:
    return run_folder / DEVICES_FOLDER / "answers"


def _starts(run_folder: Path) -> list[tuple[str, Path]]:
    folder = run_folder / STARTS
    if not folder.is_dir():
        return []
    found = sorted(folder.rglob("start_*.safetensors"))
    return [(path.relative_to(run_folder).as_posix(), path) for path in found]

"""What a run will take of memory and disk, before it takes it, and why it cannot be where there is less.

The bytes of columns, examples and students follow from their shapes. What a process takes besides was
measured; what a message takes in the main process is estimated from one large fleet over messages. Peaks of
measured runs are within a factor of FACTOR of the estimate: a test holds both side by side, and so does
benchmarks/footprint.py.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fedstill_proto.errors import FedstillError
from fedstill_proto.package.artifact import load_artifact
from fedstill_server.methods import METHODS, build_method
from fedstill_server.rounds.sampling import goal_of
from fedstill_server.tasks import load_public

from fedstill_sim.config import RunConfig, goes_on
from fedstill_sim.data.fleet import FleetData
from fedstill_sim.folder import artifact_folder
from fedstill_sim.results.readable import readable_bytes
from fedstill_sim.stacks.eligible import MESSAGES
from fedstill_sim.workers.pool import usable_cores

FACTOR = 2.0
"""Within which estimates and measured peaks are."""

_MAIN_BYTES = 420_000_000  # a process with torch, Flower and the server's networks in it
_WORKER_BYTES = 110_000_000  # a process with ONNX Runtime and numpy
_FILE_BYTES = 6_000_000  # graphs, packages, checkpoints and reports of a run
_COLUMN_BYTES = 150  # of a device in the main process: slots, rounds, accuracies, families, offsets
_MESSAGE_BYTES = 9_000  # of a device in the main process, on the path over messages
_SLOT_FILE_BYTES = 2 * 8 + 2 * 10  # of a device: its slots, and what the server knows of it, after two rounds
_ROW_BYTES = 4  # of a row number, an int32
_CONTAINER = Path("/sys/fs/cgroup")
_COPIES = 8  # of a stack's students in a worker: weights, gradients, two of Adam's, and what the graph holds


class FootprintError(FedstillError):
    """A run needs more memory or disk than there is."""


@dataclass(frozen=True, kw_only=True)
class FleetShape:
    """What of a fleet's data decides how large a run is.

    Attributes:
        families: How many devices are of each student family.
        widths: The parameters of a student of each family.
        rows: Train and test rows of all devices.
        pool_bytes: Of all examples, the public and the test set.
        classes: How many there are.
    """

    families: Mapping[str, int]
    widths: Mapping[str, int]
    rows: int
    pool_bytes: int
    classes: int

    @classmethod
    def of(cls, data: FleetData, widths: Mapping[str, int]) -> FleetShape:
        """The shape of a fleet; `widths` are the parameters of its families (`student_widths`)."""
        arrays = (data.x, data.y, data.public_x, data.public_y, data.global_x, data.global_y)
        return cls(
            families=data.families.counts(),
            widths=dict(widths),
            rows=len(data.train.rows) + len(data.test.rows),
            pool_bytes=sum(array.nbytes for array in arrays if array is not None),
            classes=data.classes,
        )

    @property
    def devices(self) -> int:
        """How many devices there are."""
        return sum(self.families.values())


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """What a run takes at most, in bytes.

    Attributes:
        main_bytes: Memory of the main process.
        worker_bytes: Memory of each worker process, what it shares with the others included.
        processes: Worker processes; 0 works in the main process.
        disk_bytes: Of the run's folder, baselines included.
        student_bytes: That part of the disk which is the devices' students.
    """

    main_bytes: int
    worker_bytes: int
    processes: int
    disk_bytes: int
    student_bytes: int

    @property
    def memory_bytes(self) -> int:
        """Memory of all processes."""
        return self.main_bytes + self.processes * self.worker_bytes

    def __str__(self) -> str:
        """Describe it in a line."""
        workers = f", {readable_bytes(self.worker_bytes)} in each of {self.processes} workers"
        return (
            f"{readable_bytes(self.main_bytes)} of memory in the main process"
            f"{workers if self.processes else ''}; {readable_bytes(self.disk_bytes)} of disk, "
            f"{readable_bytes(self.student_bytes)} of it students"
        )


def footprint_of(
    config: RunConfig,
    shape: FleetShape,
    *,
    processes: int,
    stack_sizes: Mapping[str, int] | None = None,
    by_messages: bool = False,
) -> Footprint:
    """Estimate what a run takes.

    Args:
        config: The run's.
        shape: Of its data.
        processes: Worker processes that it will have.
        stack_sizes: By family, where they are known.
        by_messages: Whether answers travel one by one, and not as sums.
    """
    devices = shape.devices
    data_bytes = shape.pool_bytes + _ROW_BYTES * shape.rows + 17 * devices
    columns = (_COLUMN_BYTES + 4 * shape.classes) * devices
    messages = _MESSAGE_BYTES * devices if by_messages else 0
    runs = [config.fleet.method.name, *config.simulation.baselines]
    students = sum(_student_bytes(config, shape, method, by_messages=by_messages) for method in runs)
    result_bytes = (60 + 4 * shape.classes) * devices
    return Footprint(
        main_bytes=_MAIN_BYTES + columns + messages + data_bytes,
        worker_bytes=_WORKER_BYTES + data_bytes + _stack_bytes(shape, stack_sizes or {}),
        processes=processes,
        disk_bytes=_FILE_BYTES * len(runs)
        + data_bytes
        + students
        + len(runs) * (_SLOT_FILE_BYTES * devices + result_bytes),
        student_bytes=students,
    )


def _student_bytes(config: RunConfig, shape: FleetShape, method: str, *, by_messages: bool) -> int:
    """Of each student that is kept and can have trained a slot, from the second round on two, in float32.

    Control variates are as many.
    """
    own = method == config.fleet.method.name
    found = METHODS.load(method)
    on = goes_on(config.fleet) if own else config.fleet.rounds > 1 and found().goes_on
    kept, most = 1.0, config.simulation.evaluate_devices
    if not on and not by_messages and config.simulation.keep_students != "all" and most is not None:
        kept = min(1.0, most / max(1, shape.devices))
    rule, rounds = config.fleet.cohort, config.fleet.rounds
    asked = min(shape.devices, math.ceil(goal_of(rule, shape.devices) * rule.over_selection))
    trained = min(1.0, rounds * asked / max(1, shape.devices))
    rows = {family: kept * trained * count for family, count in shape.families.items()}
    copies = min(2, rounds) * (2 if method == "scaffold" else 1)
    return round(sum(4 * copies * count * shape.widths[family] for family, count in rows.items()))


def _stack_bytes(shape: FleetShape, stack_sizes: Mapping[str, int]) -> int:
    sizes = {family: stack_sizes.get(family, 32) for family in shape.widths}
    return sum(4 * _COPIES * sizes[family] * width for family, width in shape.widths.items())


def check_run(
    folder: Path, config: RunConfig, data: FleetData, *, stack_sizes: Mapping[str, int]
) -> Footprint:
    """Refuse a run, whose training artifacts are there, that takes more than there is.

    What a run that goes on has on its disk already counts as free.

    Raises:
        FootprintError: Saying what is missing, and what to do.
    """
    widths = {
        family: load_artifact(artifact_folder(folder, family, size)).manifest.parameter_count
        for family, size in stack_sizes.items()
    }
    engine = config.simulation.engine
    asked = 0 if engine.cluster is not None else engine.processes  # those of a cluster are elsewhere
    method = build_method(config.fleet, load_public(folder, config.fleet))
    footprint = footprint_of(
        config,
        FleetShape.of(data, widths),
        processes=usable_cores() if asked is None else asked,
        stack_sizes=stack_sizes,
        by_messages=config.path(method) == MESSAGES,
    )
    check_footprint(footprint, folder, disk_bytes=free_disk_bytes(folder) + _bytes_of(folder))
    return footprint


def _bytes_of(folder: Path) -> int:
    """What lies in a folder, in the disk's blocks."""
    return sum(512 * path.lstat().st_blocks for path in folder.rglob("*"))


def student_widths(config: RunConfig) -> dict[str, int]:
    """The parameters of a student of each family of a run; builds one of each, with torch."""
    from fedstill_server.families import build_student
    from fedstill_server.families.state import student_state

    fleet = config.fleet
    made = {
        family: student_state(build_student(family, fleet.input_shape, fleet.classes, target=fleet.target))
        for family in fleet.families
    }
    return {
        family: sum(array.numel() for array in (state.trainable | state.buffers).values())
        for family, state in made.items()
    }


def check_footprint(
    footprint: Footprint, folder: Path, *, memory_bytes: int | None = None, disk_bytes: int | None = None
) -> None:
    """Refuse a run that takes more than there is.

    Args:
        footprint: What it takes.
        folder: Where it is to lie; its file system's free bytes are what there is.
        memory_bytes: Memory that there is; None asks the system, and is not checked where it does not say.
        disk_bytes: Free bytes of the disk; None asks the system.

    Raises:
        FootprintError: Saying what is missing, and what to do.
    """
    memory = memory_bytes
    if memory is None and (free := free_memory_bytes()) is not None:
        memory = free + _resident_bytes()
    if memory is not None and footprint.memory_bytes > memory:
        raise FootprintError(
            f"this run takes about {readable_bytes(footprint.memory_bytes)} of memory in all processes, and "
            f"{readable_bytes(memory)} are free; take fewer --devices, or fewer --processes (it has "
            f"{footprint.processes})"
        )
    disk = free_disk_bytes(folder) if disk_bytes is None else disk_bytes
    if footprint.disk_bytes > disk:
        students = footprint.student_bytes > footprint.disk_bytes / 2
        remedy = "--keep-students sample, --baselines none, " if students else "--baselines none, "
        raise FootprintError(
            f"{folder}: this run takes about {readable_bytes(footprint.disk_bytes)} of disk, "
            f"{readable_bytes(footprint.student_bytes)} of it the devices' own students, and "
            f"{readable_bytes(disk)} are free; take {remedy}fewer --devices, or a folder on a larger disk"
        )


def free_disk_bytes(folder: Path) -> int:
    """Free bytes of the file system where a folder lies, or will."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free


def free_memory_bytes() -> int | None:
    """Memory that a new process could have, container limits regarded; None where the system does not say."""
    found = []
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        lines = (line.split() for line in meminfo.read_text().splitlines())
        found += [int(line[1]) * 1024 for line in lines if line[0] == "MemAvailable:"]
    elif hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    limit, used = (_number_in(_CONTAINER / name) for name in ("memory.max", "memory.current"))
    if limit is not None:
        found.append(max(0, limit - max(0, (used or 0) - _file_cache_bytes())))
    return min(found, default=None)


def _file_cache_bytes() -> int:
    """What of a container's memory holds files, which the system drops when it is needed."""
    try:
        lines = (line.split() for line in (_CONTAINER / "memory.stat").read_text().splitlines())
        return sum(int(value) for name, value in lines if name in ("active_file", "inactive_file"))
    except (OSError, ValueError):
        return 0


def _resident_bytes() -> int:
    """What this process has already; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return 0


def _number_in(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):  # "max", and no such file
        return None

"""`FleetData`: every example of a virtual fleet, held once, with the rows that belong to each device.

Devices own *rows* of one pool of examples, so a fleet of 10,000 devices resampled from 1,281 digits costs the
memory of 1,281 digits. Saved, each array is one `.npy` file that simulator processes map into memory; names
and families of devices are columns, too (data/columns/), so that a worker opens a million devices at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from fedstill_proto.arrays import IntArray
from fedstill_proto.errors import FedstillError, InvalidValue
from fedstill_proto.package.input_rule import InputRule, check_class_names
from fedstill_proto.package.target import SINGLE_LABEL, Target
from fedstill_proto.readers.classes import UNLABELLED
from fedstill_proto.readers.columns import TableColumns, check_columns
from fedstill_proto.system.sealed import read_sealed_json, write_sealed_json

from fedstill_sim.data.columns.families import FamilyColumn
from fedstill_sim.data.columns.names import NameColumn, NumberedNames

RowArray = npt.NDArray[np.int64] | npt.NDArray[np.int32]

PUBLIC_SET_FILE = "public.npz"
GLOBAL_TEST_FILE = "global_test.npz"
DESCRIPTION_FILE = "fleet.json"
MOST_LISTED = 1_000
"""Names of devices that are listed in fleet.json; more are a rule or a column beside it."""


class FleetDataError(FedstillError):
    """No fleet can be made of the data; the message says where, what was seen and what to do."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DeviceRows:
    """The rows of the pool that each device owns: device d owns `rows[offsets[d]:offsets[d + 1]]`.

    Attributes:
        rows: The rows of all devices, int64 or int32 [rows].
        offsets: Where each device's rows begin, and the end: int64 [devices + 1].
        below: What all rows are known to be below; None where nobody has looked.
    """

    rows: RowArray
    offsets: IntArray
    below: int | None = None

    def __post_init__(self) -> None:
        if self.offsets.ndim != 1 or len(self.offsets) < 1 or self.offsets[0] != 0:
            raise FleetDataError(
                f"device rows: offsets must be one row that starts with 0, not {self.offsets!r}"
            )
        if np.any(np.diff(self.offsets) < 0) or self.offsets[-1] != len(self.rows):
            raise FleetDataError(f"device rows: offsets must rise to the number of rows ({len(self.rows)})")

    @classmethod
    def of(cls, parts: Sequence[npt.NDArray[np.integer]]) -> DeviceRows:
        """Join one array of rows for each device."""
        offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts], dtype=np.int64)])
        rows = np.concatenate([np.empty(0, np.int64), *parts]).astype(np.int64)
        return cls(rows=rows, offsets=offsets.astype(np.int64))

    @classmethod
    def of_counts(cls, rows: RowArray, counts: npt.NDArray[np.integer]) -> DeviceRows:
        """Cut rows into as many for each device as `counts` [devices] says."""
        offsets = np.zeros(len(counts) + 1, np.int64)
        np.cumsum(counts, out=offsets[1:])
        return cls(rows=rows, offsets=offsets)

    @property
    def counts(self) -> IntArray:
        """How many rows each device owns: int64 [devices]."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, device: int) -> IntArray:
        own = self.rows[self.offsets[device] : self.offsets[device + 1]]
        return own.astype(np.int64, copy=False)

    def are_below(self, examples: int) -> bool:
        """Whether all rows are rows of so many examples."""
        if self.below is not None:
            return self.below <= examples
        return not len(self.rows) or bool(self.rows.min() >= 0 and self.rows.max() < examples)

    def __iter__(self) -> Iterator[IntArray]:
        return (self[device] for device in range(len(self)))


@dataclass(frozen=True, kw_only=True, eq=False)
class FleetData:
    """The pool, each device's train and test rows in it, the public set and the global test set.

    x: float32 [examples, *input_shape]; y: int64 [examples]; public_y is None for an unlabelled public set,
    and UNLABELLED for single examples without a label. The public set may be empty.
    Examples with a label at each place, as of text, are int64 [examples, places], and y is of the same shape.
    files: what else is kept beside the arrays, by name, such as the list of words that numbers stand for.
    device_names: different names, which need not be in memory: NumberedNames makes them when asked.
    families: the student family of each device, given as any sequence of names.
    input_rule: what made the arrays of examples as they were given; class_names: of all classes, or none.
    columns: what made the arrays of a table's rows.
    target: what a label says; with several labels an example y is int64 [examples, K] of 0 and 1, with
        numbers float32 [examples, D] in the target's own units, and classes are 2.
    """

    name: str
    description: str
    classes: int
    device_names: Sequence[str]
    families: FamilyColumn
    x: npt.NDArray[Any]
    y: npt.NDArray[Any]
    train: DeviceRows
    test: DeviceRows
    public_x: npt.NDArray[Any]
    public_y: npt.NDArray[Any] | None
    global_x: npt.NDArray[Any]
    global_y: npt.NDArray[Any]
    files: Mapping[str, bytes] = field(default_factory=dict)
    input_rule: InputRule = field(default_factory=InputRule)
    class_names: tuple[str, ...] = ()
    columns: TableColumns | None = None
    target: Target = SINGLE_LABEL

    def __post_init__(self) -> None:
        object.__setattr__(self, "families", FamilyColumn.of(self.families))
        if isinstance(self.device_names, list):
            object.__setattr__(self, "device_names", tuple(self.device_names))
        if self.classes < 2:
            raise FleetDataError(f"{self.name}: classes must be at least 2, not {self.classes}")
        try:
            self.input_rule.check(self.input_shape)
            check_class_names(self.class_names, self.target.size or self.classes)
            check_columns(self.columns, self.input_shape)
        except InvalidValue as error:
            raise FleetDataError(f"{self.name}: {error}") from None
        if not self.device_names or not _differ(self.device_names):
            raise FleetDataError(f"{self.name}: a fleet needs devices with different names")
        for name, owned in (("families", self.families), ("train", self.train), ("test", self.test)):
            if len(owned) != self.devices:
                raise FleetDataError(
                    f"{self.name}: {name} describes {len(owned)} devices, there are {self.devices}"
                )
        self._check_examples("x, y", self.x, self.y)
        self._check_examples("public set", self.public_x, self.public_y, least=UNLABELLED)
        self._check_examples("global test set", self.global_x, self.global_y)
        for name, owned in (("train", self.train), ("test", self.test)):
            if not owned.are_below(len(self.x)):
                raise FleetDataError(f"{self.name}: {name} rows must be rows of the {len(self.x)} examples")

    def _check_examples(
        self, name: str, x: npt.NDArray[Any], y: npt.NDArray[Any] | None, *, least: int = 0
    ) -> None:
        kind = self.x.dtype if self.x.dtype in (np.int64, np.float32) else np.dtype(np.float32)
        if x.dtype != kind or x.shape[1:] != self.input_shape:
            raise FleetDataError(
                f"{self.name}: {name}: examples are {x.dtype} {list(x.shape[1:])}, "
                f"the fleet's are {kind} {list(self.input_shape)}"
            )
        if y is None:
            return
        labelled = (len(x), *self.label_shape)
        if y.dtype != self.target.label_type or y.shape != labelled:
            raise FleetDataError(
                f"{self.name}: {name}: labels must be {self.target.label_type} {list(labelled)}, "
                f"not {y.dtype} {list(y.shape)}"
            )
        if self.target.is_regression:
            if not np.isfinite(y).all():
                raise FleetDataError(f"{self.name}: {name}: a label is not finite")
            return
        if len(y) and not least <= y.min() <= y.max() < self.classes:
            raise FleetDataError(
                f"{self.name}: {name}: labels {y.min()} to {y.max()}, there are {self.classes} classes"
            )

    @property
    def devices(self) -> int:
        """How many devices there are."""
        return len(self.device_names)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return tuple(self.x.shape[1:])

    @property
    def label_shape(self) -> tuple[int, ...]:
        """Shape of one example's labels: () is one class, or there is one at each place of the example."""
        if not self.target.is_single:
            return self.target.label_shape
        return self.input_shape if self.y.shape == self.x.shape else ()

    def class_counts(self, first: int = 0, last: int | None = None) -> IntArray:
        """Training examples of the devices from `first` to before `last`, by class: int64 [n, classes].

        Examples with a label at each place have no classes.
        """
        last = self.devices if last is None else last
        devices, offsets = last - first, self.train.offsets
        if self.label_shape:
            return np.zeros((devices, 0), np.int64)
        rows = self.train.rows[offsets[first] : offsets[last]]
        device_of_row = np.repeat(np.arange(devices), np.diff(offsets[first : last + 1]))
        cell = device_of_row * self.classes + self.y[rows]
        return np.bincount(cell, minlength=devices * self.classes).reshape(devices, self.classes)

    def read_by(self, rule: InputRule) -> FleetData:
        """The fleet as a network reads it, where the arrays hold examples as they are given."""
        if rule.changes_nothing:
            return replace(self, input_rule=rule)
        x, public_x, global_x = map(rule.apply, (self.x, self.public_x, self.global_x))
        return replace(self, x=x, public_x=public_x, global_x=global_x, input_rule=rule)

    def with_families(self, families: Sequence[str]) -> FleetData:
        """Deal student families out in turn: device i gets family i modulo their number."""
        if not families:
            raise FleetDataError(f"{self.name}: a fleet needs at least one student family")
        return replace(self, families=FamilyColumn.in_turn(families, devices=self.devices))


_ARRAYS = ("x", "y", "public_x", "public_y", "global_x", "global_y")
_ROWS = ("train", "test")
_DESCRIBED = ("name", "description", "classes", "class_names")
_NAME_FILES = ("device_names", "device_names_offsets")
_FAMILY_FILE = "families"


def save_fleet(data: FleetData, folder: Path) -> None:
    """Write a fleet as .npy files, and its shared sets as the .npz files that servers and devices read."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {name: getattr(data, name) for name in _ARRAYS}
    for name in _ROWS:
        owned: DeviceRows = getattr(data, name)
        narrow = owned.rows.astype(np.int32, copy=False) if len(data.x) < 1 << 31 else owned.rows
        arrays |= {f"{name}_rows": narrow, f"{name}_offsets": owned.offsets}
    names, columns = _described_names(data.device_names)
    arrays |= columns
    arrays[_FAMILY_FILE] = data.families.codes
    for name, array in arrays.items():
        if array is not None:
            np.save(folder / f"{name}.npy", array)
    public: dict[str, Any] = {"x": data.public_x, "y": data.public_y}
    np.savez(folder / PUBLIC_SET_FILE, **{name: part for name, part in public.items() if part is not None})
    np.savez(folder / GLOBAL_TEST_FILE, x=data.global_x, y=data.global_y)
    description = {name: getattr(data, name) for name in _DESCRIBED}
    for name, content in data.files.items():
        (folder / name).write_bytes(content)
    description |= {
        "device_names": names,
        "families": data.families.names,
        "files": list(data.files),
        "input_rule": asdict(data.input_rule),
        "columns": None if data.columns is None else asdict(data.columns),
        "target": data.target.document(),
    }
    write_sealed_json(folder / DESCRIPTION_FILE, description)


def load_fleet(folder: Path, *, is_checked: bool = False) -> FleetData:
    """Open the fleet that `save_fleet` wrote; its arrays stay in their files until they are read.

    Args:
        folder: The fleet's.
        is_checked: Whether another process has looked all rows through, and this one need not: a worker.

    Raises:
        FleetDataError: The folder holds no fleet.
    """
    path = folder / DESCRIPTION_FILE
    if not path.is_file():
        raise FleetDataError(f"{path}: no such file; a fleet's data is written there when a run starts")
    description = read_sealed_json(path, remedy="run again")

    columns = description.get("columns")

    def array(name: str) -> Any:
        return np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)

    x = array("x")
    train, test = (
        DeviceRows(
            # Plain arrays over the mapped memory: numpy's memmap class is slower, and no smaller.
            rows=np.asarray(array(f"{name}_rows")),
            offsets=np.asarray(array(f"{name}_offsets")),
            below=len(x) if is_checked else None,
        )
        for name in _ROWS
    )
    return FleetData(
        name=description["name"],
        description=description["description"],
        classes=description["classes"],
        device_names=_read_names(description["device_names"], array),
        families=FamilyColumn(description["families"], np.asarray(array(_FAMILY_FILE))),
        x=x,
        y=array("y"),
        train=train,
        test=test,
        public_x=array("public_x"),
        public_y=array("public_y") if (folder / "public_y.npy").exists() else None,
        global_x=array("global_x"),
        global_y=array("global_y"),
        files={name: (folder / name).read_bytes() for name in description["files"]},
        input_rule=InputRule.from_document(description.get("input_rule", {})),
        class_names=tuple(description.get("class_names", ())),
        columns=None if columns is None else TableColumns.from_document(columns),
        target=Target.from_document(description.get("target", {})),
    )


def _differ(names: Sequence[str]) -> bool:
    """Whether no two names are the same; those of a rule never are, and those of a column were before."""
    return isinstance(names, NumberedNames | NameColumn) or len(set(names)) == len(names)


def _described_names(names: Sequence[str]) -> tuple[Any, dict[str, npt.NDArray[Any]]]:
    """What fleet.json says of the names of devices, and the columns beside it."""
    if isinstance(names, NumberedNames):
        return {"prefix": names.prefix, "devices": len(names)}, {}
    if len(names) <= MOST_LISTED:
        return list(names), {}
    column = names if isinstance(names, NameColumn) else NameColumn.of(names)
    return {"devices": len(names)}, dict(zip(_NAME_FILES, (column.text, column.offsets), strict=True))


def _read_names(described: Any, array: Callable[[str], Any]) -> Sequence[str]:
    """The names that `_described_names` describes."""
    if isinstance(described, list):
        return tuple(described)
    if "prefix" in described:
        return NumberedNames(described["devices"], prefix=described["prefix"])
    return NameColumn(*(np.asarray(array(name)) for name in _NAME_FILES))

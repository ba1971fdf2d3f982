"""`FleetData`: every example of a virtual fleet, held once, with the rows that belong to each device.

Devices own *rows* of one pool of examples, so a fleet of 10,000 devices resampled from 1,281 digits costs the
memory of 1,281 digits. Saved, each array is one `.npy` file that simulator processes map into memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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

PUBLIC_SET_FILE = "public.npz"
GLOBAL_TEST_FILE = "global_test.npz"
DESCRIPTION_FILE = "fleet.json"


class FleetDataError(FedstillError):
    """No fleet can be made of the data; the message says where, what was seen and what to do."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DeviceRows:
    """The rows of the pool that each device owns: device d owns `rows[offsets[d]:offsets[d + 1]]`.

    Attributes:
        rows: The rows of all devices, int64 [rows].
        offsets: Where each device's rows begin, and the end: int64 [devices + 1].
    """

    rows: IntArray
    offsets: IntArray

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

    @property
    def counts(self) -> IntArray:
        """How many rows each device owns: int64 [devices]."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, device: int) -> IntArray:
        return self.rows[self.offsets[device] : self.offsets[device + 1]]

    def __iter__(self) -> Iterator[IntArray]:
        return (self[device] for device in range(len(self)))


@dataclass(frozen=True, kw_only=True, eq=False)
class FleetData:
    """The pool, each device's train and test rows in it, the public set and the global test set.

    x: float32 [examples, *input_shape]; y: int64 [examples]; public_y is None for an unlabelled public set,
    and UNLABELLED for single examples without a label. The public set may be empty.
    Examples with a label at each place, as of text, are int64 [examples, places], and y is of the same shape.
    files: what else is kept beside the arrays, by name, such as the list of words that numbers stand for.
    families: the student family of each device.
    input_rule: what made the arrays of examples as they were given; class_names: of all classes, or none.
    columns: what made the arrays of a table's rows.
    target: what a label says; with several labels an example y is int64 [examples, K] of 0 and 1, with
        numbers float32 [examples, D] in the target's own units, and classes are 2.
    """

    name: str
    description: str
    classes: int
    device_names: tuple[str, ...]
    families: tuple[str, ...]
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
        if self.classes < 2:
            raise FleetDataError(f"{self.name}: classes must be at least 2, not {self.classes}")
        try:
            self.input_rule.check(self.input_shape)
            check_class_names(self.class_names, self.target.size or self.classes)
            check_columns(self.columns, self.input_shape)
        except InvalidValue as error:
            raise FleetDataError(f"{self.name}: {error}") from None
        if not self.device_names or len(set(self.device_names)) != len(self.device_names):
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
            if len(owned.rows) and not 0 <= owned.rows.min() <= owned.rows.max() < len(self.x):
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

    def class_counts(self) -> IntArray:
        """Training examples of each device by class: int64 [devices, classes].

        Examples with a label at each place have no classes.
        """
        if self.label_shape:
            return np.zeros((self.devices, 0), np.int64)
        device_of_row = np.repeat(np.arange(self.devices), self.train.counts)
        cell = device_of_row * self.classes + self.y[self.train.rows]
        return np.bincount(cell, minlength=self.devices * self.classes).reshape(self.devices, self.classes)

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
        dealt = tuple(families[device % len(families)] for device in range(self.devices))
        return replace(self, families=dealt)


_ARRAYS = ("x", "y", "public_x", "public_y", "global_x", "global_y")
_ROWS = ("train", "test")
_DESCRIBED = ("name", "description", "classes", "device_names", "families", "class_names")


def save_fleet(data: FleetData, folder: Path) -> None:
    """Write a fleet as .npy files, and its shared sets as the .npz files that servers and devices read."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {name: getattr(data, name) for name in _ARRAYS}
    for name in _ROWS:
        owned: DeviceRows = getattr(data, name)
        arrays |= {f"{name}_rows": owned.rows, f"{name}_offsets": owned.offsets}
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
        "files": list(data.files),
        "input_rule": asdict(data.input_rule),
        "columns": None if data.columns is None else asdict(data.columns),
        "target": data.target.document(),
    }
    write_sealed_json(folder / DESCRIPTION_FILE, description)


def load_fleet(folder: Path) -> FleetData:
    """Open the fleet that `save_fleet` wrote; its arrays stay in their files until they are read.

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

    return FleetData(
        name=description["name"],
        description=description["description"],
        classes=description["classes"],
        device_names=tuple(description["device_names"]),
        families=tuple(description["families"]),
        x=array("x"),
        y=array("y"),
        train=DeviceRows(rows=array("train_rows"), offsets=array("train_offsets")),
        test=DeviceRows(rows=array("test_rows"), offsets=array("test_offsets")),
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

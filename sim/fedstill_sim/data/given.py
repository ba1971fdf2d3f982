"""A fleet's data as somebody gives them, in arrays and labels of any kind, and what becomes of them.

Every reader of one's own data (files, tables, arrays in memory) makes a GivenFleet; `fleet_of` checks it,
numbers its classes, and makes the FleetData that runs are of.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from fedstill_proto.arrays import IntArray
from fedstill_proto.errors import InvalidValue
from fedstill_proto.package.input_rule import InputRule
from fedstill_proto.package.target import SINGLE_LABEL, Target, TargetKind
from fedstill_proto.package.target_labels import target_reader
from fedstill_proto.readers.arrays import Array
from fedstill_proto.readers.classes import UNLABELLED, LabelNames, check_labels, label_array, names_of_labels
from fedstill_proto.readers.columns import TableColumns
from fedstill_proto.readers.errors import DataError
from fedstill_proto.readers.given import GivenExamples, check_examples, check_whole, class_numbers

from fedstill_sim.data.columns.families import FamilyColumn
from fedstill_sim.data.dealing import Dealing
from fedstill_sim.data.fleet import FleetData, FleetDataError
from fedstill_sim.data.pools import DeviceSplit, device_names, hold_out_each, split_pool
from fedstill_sim.data.splits import hold_out, iid_split


@dataclass(frozen=True, kw_only=True, eq=False)
class GivenDevice:
    """A device: what it trains on, and what it is tested on, where it has that.

    Attributes:
        name: Of the device.
        train: Its examples, with labels.
        test: None holds a part of `train` out; one without rows means that the device is not tested.
        family: Of its student; "" is dealt out in turn.
    """

    name: str
    train: GivenExamples
    test: GivenExamples | None = None
    family: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class GivenFleet:
    """A fleet as it is given.

    Attributes:
        name: What reports call the data.
        description: A sentence on the data, for reports.
        parts: All examples of devices, with labels.
        devices: The rows of each device, counted through all parts; None until they are dealt out.
        public: What everybody may see; None is nothing.
        test: What every student is tested on; None is what devices are tested on.
        families: Of the devices' students; () deals them out in turn.
        columns: How the examples were made of a table's columns.
    """

    name: str
    description: str
    parts: Sequence[GivenExamples]
    devices: DeviceSplit | None
    public: GivenExamples | None = None
    test: GivenExamples | None = None
    families: tuple[str, ...] = ()
    columns: TableColumns | None = None


def fleet_of_devices(devices: Sequence[GivenDevice], given: GivenFleet, dealing: Dealing) -> GivenFleet:
    """Give a fleet its devices, each a part of its examples to be tested on where it brings no tests.

    Args:
        devices: At least one.
        given: All else; its parts and devices are replaced.
        dealing: How much is held out, and which.

    Raises:
        FleetDataError: For a device without an example, or two of one name.
    """
    if not devices:
        raise FleetDataError(f"{given.name}: no devices; a fleet needs at least one")
    trains: list[IntArray] = []
    tests: list[IntArray] = []
    for number, device in enumerate(devices):
        _check_whole(device.train)
        rows = np.arange(len(device.train))
        if not len(rows):
            raise FleetDataError(f"{device.train.where}: holds no example to learn from")
        if device.test is not None or not dealing.held_out or len(rows) < 2:
            trains.append(rows)
            tests.append(rows[:0])
        else:
            train, test = hold_out(rows, fraction=dealing.held_out, seed=(dealing.seed, number))
            trains.append(train)
            tests.append(test)
    parts = [
        device.train.rows(train) if len(test) else device.train
        for device, train, test in zip(devices, trains, tests, strict=True)
    ]
    parts += [
        device.train.rows(held) if device.test is None else device.test
        for device, held in zip(devices, tests, strict=True)
    ]
    owned = _consecutive([len(part) for part in parts])
    split = DeviceSplit(
        names=[device.name for device in devices],
        train=owned[: len(devices)],
        test=owned[len(devices) :],
        description="as given",
    )
    families = tuple(device.family for device in devices)
    return dataclasses.replace(given, parts=parts, devices=split, families=families if any(families) else ())


def fleet_of_pool(pool: GivenExamples, given: GivenFleet, dealing: Dealing) -> GivenFleet:
    """Deal a pool of examples out to devices.

    Args:
        pool: The examples, with labels.
        given: All else; its parts and devices are replaced, and a public set is cut off where it has none.
        dealing: To how many, and how.

    Raises:
        FleetDataError: The pool does not suffice.
    """
    _check_whole(pool)
    rows, public = np.arange(len(pool)), given.public
    if public is None and dealing.public_share:
        rows, cut = hold_out(rows, fraction=dealing.public_share, seed=(dealing.seed, 0x9B))
        public = pool.rows(cut)
    if dealing.examples is not None and dealing.dirichlet is None:
        raise FleetDataError(
            f"{pool.where}: --examples-per-device draws from the pool by Dirichlet over classes; give "
            "--dirichlet, such as 0.5, too"
        )
    if dealing.dirichlet is None:
        if dealing.count > len(rows):
            raise FleetDataError(
                f"{pool.where}: {len(rows)} examples cannot be dealt out to {dealing.count} devices"
            )
        train = [rows[part] for part in iid_split(len(rows), devices=dealing.count, seed=dealing.seed)]
        test = [part[:0] for part in train]
        if dealing.held_out and min(map(len, train)) > 1:
            train, test = hold_out_each(train, fraction=dealing.held_out, seed=dealing.seed)
        split = DeviceSplit(
            names=device_names(dealing.count), train=train, test=test, description="dealt out at random"
        )
    else:
        labels = check_labels(np.asarray(pool.y), where=pool.where, rows=len(pool))
        kinds, numbers = np.unique(labels, return_inverse=True)
        split = split_pool(
            rows,
            numbers.astype(np.int64),
            classes=len(kinds),
            devices=dealing.count,
            alpha=dealing.dirichlet,
            seed=dealing.seed,
            examples=dealing.examples,
        )
    return dataclasses.replace(given, parts=[pool], devices=split, public=public)


def fleet_of(
    given: GivenFleet,
    *,
    classes: int | None = None,
    families: Sequence[str] = ("",),
    normalize: str = "auto",
    channels: str = "auto",
    target: TargetKind = TargetKind.SINGLE_LABEL,
) -> FleetData:
    """Check a fleet as it is given, and number its classes.

    Args:
        given: The fleet.
        classes: How many there are, where somebody says: labels are then their numbers.
        families: Dealt out in turn to devices that have none of their own.
        normalize: How inputs are scaled, as `InputRule.of` takes it; columns of a table are scaled already.
        channels: Where the channels of an example are, as `InputRule.of` takes it.
        target: What labels say.

    Raises:
        FleetDataError: Naming the place, the row and the value that does not fit, and what to do.
    """
    try:
        data = _checked(given, classes, target)
    except DataError as error:
        raise FleetDataError(str(error)) from None
    rule = InputRule()
    if given.columns is None:
        public = given.parts[0].x[:0] if given.public is None else given.public.x
        try:
            rule = InputRule.of(public, normalize=normalize, channels=channels)
        except InvalidValue as error:
            raise FleetDataError(f"{given.name}: {error}") from None
    return dataclasses.replace(data, families=_families(data.families, families)).read_by(rule)


def _families(own: FamilyColumn, families: Sequence[str]) -> FamilyColumn:
    """Deal families out in turn to devices that have none of their own."""
    if own.names == ("",):
        return FamilyColumn.in_turn(families, devices=len(own))
    return FamilyColumn.of([each or families[turn % len(families)] for turn, each in enumerate(own)])


def _checked(given: GivenFleet, classes: int | None, kind: TargetKind) -> FleetData:
    assert given.devices is not None  # every reader deals examples out
    shared = [part for part in (given.public, given.test) if part is not None]
    first = given.parts[0]
    for part in (*given.parts, *shared):
        check_examples(part, first)
    labelled = [part for part in (*given.parts, *shared) if part.y is not None and len(part)]
    read: _LabelReader = (
        _classes(given, labelled, classes)
        if kind.is_class
        else target_reader(labelled, kind, public=given.public, where=given.name)
    )
    x = _joined([part.x for part in given.parts if len(part)])
    y = np.concatenate([read(part) for part in given.parts])
    public, test = given.public, given.test
    train_rows, test_rows = given.devices.train_rows, given.devices.test_rows
    public_x = np.zeros((0, *x.shape[1:]), x.dtype) if public is None else public.x
    public_y = None if public is None or public.y is None else read(public, unlabelled=True)
    if kind.is_class and public_y is not None and np.all(public_y == UNLABELLED):
        public_y = None
    if test is not None:
        global_x, global_y = test.x, read(test)
    else:
        rows = np.unique(test_rows.rows)
        if not len(rows):
            raise FleetDataError(
                f"{given.name}: no examples to measure on: there is no test set, and no device has test "
                "examples; give one of the two"
            )
        global_x, global_y = x[rows], y[rows]
    return FleetData(
        name=given.name,
        description=given.description,
        classes=read.classes,
        class_names=read.class_names,
        columns=given.columns,
        target=read.target,
        device_names=given.devices.names,
        families=FamilyColumn.of(given.families)
        if given.families
        else FamilyColumn.in_turn(("",), devices=len(given.devices.names)),
        x=_narrow(x),
        y=y,
        train=train_rows,
        test=test_rows,
        public_x=_narrow(public_x),
        public_y=public_y,
        global_x=_narrow(global_x),
        global_y=global_y,
    )


class _LabelReader(Protocol):
    """How labels become what a network learns, and what they are labels of."""

    @property
    def classes(self) -> int: ...

    @property
    def class_names(self) -> tuple[str, ...]: ...

    @property
    def target(self) -> Target: ...

    def __call__(self, part: GivenExamples, /, *, unlabelled: bool = False) -> Array: ...


@dataclass(frozen=True)
class _ClassReader:
    names: LabelNames
    target: Target = SINGLE_LABEL

    @property
    def classes(self) -> int:
        return self.names.classes

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.names.names

    def __call__(self, part: GivenExamples, /, *, unlabelled: bool = False) -> Array:
        return class_numbers(part, self.names, unlabelled=unlabelled)


def _classes(given: GivenFleet, labelled: Sequence[GivenExamples], classes: int | None) -> _ClassReader:
    for part in labelled:
        check_labels(label_array(part.y, where=part.labels), where=part.labels, rows=len(part))
    return _ClassReader(_names(given, labelled, classes))


def _names(given: GivenFleet, labelled: Sequence[GivenExamples], classes: int | None) -> LabelNames:
    """The classes of all labels; an error names the one place that shows it, where there is one."""
    labels = [np.asarray(part.y) for part in labelled]
    for part, each in zip(labelled, labels, strict=True):
        if classes is not None:
            names_of_labels([each], where=part.labels, classes=classes)
    return names_of_labels(labels, where=given.name, classes=classes)


def _narrow(x: Array) -> Array:
    return np.ascontiguousarray(x, np.float32)


def _check_whole(part: GivenExamples) -> None:
    try:
        check_whole(part)
    except DataError as error:
        raise FleetDataError(str(error)) from None


def _joined(arrays: Sequence[Array]) -> Array:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _consecutive(sizes: Sequence[int]) -> list[IntArray]:
    return list(np.split(np.arange(sum(sizes), dtype=np.int64), np.cumsum(sizes)[:-1]))

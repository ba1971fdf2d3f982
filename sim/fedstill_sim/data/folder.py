"""Data of one's own: what lies in a folder says of which form it is.

    client_<i>.npz, public.npz, global_test.npz    arrays: x_train, y_train, x_test, y_test of device i
    <device>.npz, public.npz, test.npz             the same, or x and y
    <device>/x.npy and y.npy, public/, test/       the same in files of one array
    <device>/<class>/<example>, public/, test/     pictures, or windows of measurements, a file each
    <class>/<example>, public/, test/              the same, dealt out to devices
    <device>.csv, public.csv, test.csv             tables, or .parquet

A device brings its own tests, has a part of its examples held out, or is not tested (see dealing.py). The
public set may be missing, and its labels, too. Anything else in a folder is ignored.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from fedstill_proto.errors import unknown_name
from fedstill_proto.package.target import TargetKind
from fedstill_proto.readers.arrays import read_arrays
from fedstill_proto.readers.errors import DataError
from fedstill_proto.readers.example_files import example_files
from fedstill_proto.readers.given import (
    X_FILE,
    GivenExamples,
    examples_in,
    given_files,
    given_folder,
    is_table,
    joined_examples,
)
from fedstill_proto.readers.tables import read_table
from fedstill_server.families import FAMILIES

from fedstill_sim.data.dealing import Dealing
from fedstill_sim.data.fleet import FleetData, FleetDataError
from fedstill_sim.data.given import GivenDevice, GivenFleet, fleet_of, fleet_of_devices, fleet_of_pool
from fedstill_sim.data.own_data import OwnDataOptions
from fedstill_sim.data.splits import hold_out
from fedstill_sim.data.table_fleets import PUBLIC, TEST, table_fleet

FAMILIES_FILE = "families.csv"
_CLIENT_FILE = re.compile(r"client_(\d+)\.npz")
NO_ROWS = np.zeros(0, np.int64)


def load_folder(
    folder: Path,
    *,
    families: Sequence[str] = ("mlp-small",),
    reading: OwnDataOptions | None = None,
    dealing: Dealing | None = None,
    classes: int | None = None,
    normalize: str = "auto",
    channels: str = "auto",
    target: TargetKind = TargetKind.SINGLE_LABEL,
) -> FleetData:
    """Load the fleet that a folder, or a table, describes.

    Args:
        folder: The folder, or a file that is a table or a .npz of examples to deal out.
        families: Dealt out in turn to devices that have none of their own.
        reading: How tables and pictures are read.
        dealing: How examples that belong to no device are dealt out.
        classes: How many there are, where labels do not say.
        normalize: How inputs are scaled, as `InputRule.of` takes it.
        channels: Where the channels of an example are, as `InputRule.of` takes it.
        target: What labels say.

    Raises:
        FleetDataError: A file is missing or does not fit; the message names the file and the field.
    """
    reading, dealing = reading or OwnDataOptions(), dealing or Dealing()
    try:
        given = _given(folder, reading, dealing)
    except DataError as error:
        raise FleetDataError(str(error)) from None
    return fleet_of(
        given, classes=classes, families=families, normalize=normalize, channels=channels, target=target
    )


def _given(path: Path, reading: OwnDataOptions, dealing: Dealing) -> GivenFleet:
    if path.is_file():
        if is_table(path):
            return table_fleet(path, reading, dealing)
        return fleet_of_pool(examples_in(path, read_arrays(path)), _named(path, dealing, whole=True), dealing)
    if not path.is_dir():
        raise FleetDataError(f"{path}: not a folder, and not a file")
    entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    if any(_CLIENT_FILE.fullmatch(entry.name) for entry in entries):
        return _of_clients(path, dealing)
    if any(entry.suffix == ".npz" for entry in entries):
        return _of_archives(path, dealing)
    if any(is_table(entry) and entry.name != FAMILIES_FILE for entry in entries):
        return table_fleet(path, reading, dealing)
    if any(entry.is_dir() for entry in entries):
        return _of_folders(path, reading, dealing)
    raise FleetDataError(
        f"{path}: holds no client_<i>.npz, and nothing else of devices; give each a .npz, a table or a folder"
    )


def _named(path: Path, dealing: Dealing, *, devices: int = 0, whole: bool = False) -> GivenFleet:
    name = path.resolve().name
    return GivenFleet(
        name=name,
        description=f"{name}: {dealing.described(devices, whole=whole)}",
        parts=(),
        devices=None,
        public=_shared(path, PUBLIC),
        test=next((found for name in TEST if (found := _shared(path, name)) is not None), None),
    )


def _shared(path: Path, name: str) -> GivenExamples | None:
    """The public set or the test set of a folder of arrays."""
    file = path / f"{name}.npz"
    return examples_in(file, read_arrays(file)) if file.is_file() else None


def _of_clients(folder: Path, dealing: Dealing) -> GivenFleet:
    numbered = sorted(
        (int(match[1]), path) for path in folder.iterdir() if (match := _CLIENT_FILE.fullmatch(path.name))
    )
    width = len(str(numbered[-1][0]))
    return _of_files(folder, {f"client-{number:0{width}d}": path for number, path in numbered}, dealing)


def _of_archives(folder: Path, dealing: Dealing) -> GivenFleet:
    shared = (PUBLIC, *TEST)
    files = {file.stem: file for file in sorted(folder.glob("*.npz")) if file.stem not in shared}
    if not files:
        raise FleetDataError(f"{folder}: holds no client_<i>.npz; each device needs one (client_0.npz, ...)")
    return _of_files(folder, files, dealing)


def _of_files(folder: Path, files: dict[str, Path], dealing: Dealing) -> GivenFleet:
    devices = []
    for name, file in files.items():
        arrays = read_arrays(file)
        if "x_train" not in arrays:
            train, test = examples_in(file, arrays), None
        else:
            train = examples_in(file, arrays, x="x_train", y="y_train")
            test = train.rows(NO_ROWS)  # without tests of its own, none
            if "x_test" in arrays or "y_test" in arrays:
                test = examples_in(file, arrays, x="x_test", y="y_test")
        devices.append(GivenDevice(name=name, train=train, test=test))
    return _of_devices(folder, devices, _named(folder, dealing, devices=len(devices)), dealing)


def _of_folders(folder: Path, reading: OwnDataOptions, dealing: Dealing) -> GivenFleet:
    """<device>/<class>/<example>, <device>/x.npy, or <class>/<example>; some of them public/ and test/."""
    inside = {each.name: each for each in sorted(folder.iterdir()) if each.is_dir() and each.name[0] != "."}
    public, test = inside.pop(PUBLIC, None), next((inside.pop(name) for name in TEST if name in inside), None)
    named = dataclasses.replace(
        _named(folder, dealing, devices=len(inside)),
        public=None if public is None else given_folder(public, pictures=reading.pictures),
        test=None if test is None else given_folder(test, pictures=reading.pictures),
    )
    if set(inside) == {"train"}:  # as torchvision's ImageFolder has it, beside test/
        inside = {each.name: each for each in sorted(inside["train"].iterdir()) if each.is_dir()}
    flat = {
        name: files
        for name, each in inside.items()
        if not (each / X_FILE).is_file() and (files := example_files(each))
    }
    if flat and len(flat) == len(inside):
        described = dataclasses.replace(
            named, description=f"{named.name}: {dealing.described(0, whole=True)}"
        )
        pool = given_files(str(folder), flat, pictures=reading.pictures)
        return fleet_of_pool(pool, described, dealing)
    if flat:
        other = next(name for name in inside if name not in flat)
        raise FleetDataError(
            f"{folder}: {next(iter(flat))} holds examples, and {other} does not; give "
            "<device>/<class>/<example> throughout, or <class>/<example>"
        )
    devices = [_device(name, each, reading) for name, each in inside.items()]
    return _of_devices(folder, devices, named, dealing)


def _device(name: str, folder: Path, reading: OwnDataOptions) -> GivenDevice:
    parts = {each.name: each for each in folder.iterdir() if each.is_dir()}
    if set(parts) == {"train", "test"}:
        train, test = (given_folder(parts[part], pictures=reading.pictures) for part in ("train", "test"))
        return GivenDevice(name=name, train=train, test=test)
    return GivenDevice(name=name, train=given_folder(folder, pictures=reading.pictures))


def _of_devices(
    folder: Path, devices: Sequence[GivenDevice], given: GivenFleet, dealing: Dealing
) -> GivenFleet:
    """Devices that data name, with a public share of each where the data have no public set."""
    dealing.refuse(str(folder), devices=len(devices))
    families = _families(folder, [device.name for device in devices])
    chosen = [dataclasses.replace(one, family=families.get(one.name, "")) for one in devices]
    if given.public is None and dealing.public_share:
        shares = []
        for number, device in enumerate(chosen):
            rows, cut = hold_out(
                np.arange(len(device.train)), fraction=dealing.public_share, seed=(dealing.seed, number, 0x9B)
            )
            shares.append(device.train.rows(cut))
            chosen[number] = dataclasses.replace(device, train=device.train.rows(rows))
        given = dataclasses.replace(given, public=joined_examples(shares))
    return fleet_of_devices(chosen, given, dealing)


def _families(folder: Path, devices: Sequence[str]) -> dict[str, str]:
    """The student family of each device that families.csv (device,family) names."""
    file = folder / FAMILIES_FILE
    if not file.is_file():
        return {}
    table = read_table(file)
    found = dict(zip(table.texts("device"), table.texts("family"), strict=True))
    for device in found:
        if device not in devices:
            raise unknown_name(f"{file}: device", device, devices)
    FAMILIES.require([*found.values()], where=f"{file}: family")
    return found

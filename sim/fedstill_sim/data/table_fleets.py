"""Fleets of tables: with a column that names devices, of rows that are dealt out, or a table a device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from fedstill_proto.readers.columns import columns_of
from fedstill_proto.readers.given import GivenExamples, given_table, is_table
from fedstill_proto.readers.tables import Table, joined, read_table

from fedstill_sim.data.dealing import Dealing
from fedstill_sim.data.fleet import FleetDataError
from fedstill_sim.data.given import GivenDevice, GivenFleet, fleet_of_devices, fleet_of_pool
from fedstill_sim.data.own_data import OwnDataOptions
from fedstill_sim.data.splits import hold_out

PUBLIC, TEST = "public", ("test", "global_test")


def table_fleet(path: Path, reading: OwnDataOptions, dealing: Dealing) -> GivenFleet:
    """The fleet of a table, or of a folder of tables: <device>.csv, public.csv and test.csv, or .parquet.

    Raises:
        FedstillError: Naming the file, and the row or column that does not fit.
    """
    tables, whole = read_tables(path)
    return fleet_of_tables(path.name, tables, reading, dealing, whole=whole)


def read_tables(path: Path) -> tuple[dict[str, Table], bool]:
    """The tables of a file or folder by their names, and whether the one table is everybody's."""
    if path.is_file():
        return {path.stem: read_table(path)}, True
    files = sorted(file for file in path.iterdir() if is_table(file) and file.name != "families.csv")
    return {file.stem: read_table(file) for file in files}, False


def fleet_of_tables(
    name: str,
    tables: Mapping[str, Table],
    reading: OwnDataOptions,
    dealing: Dealing,
    *,
    whole: bool = False,
    examples_of: Callable[[Table], GivenExamples] | None = None,
) -> GivenFleet:
    """The fleet of tables by name, of which "public" and "test" are everyone's.

    Args:
        name: What reports call the data.
        tables: Of devices, unless a column names these.
        reading: How they are read.
        dealing: How rows are dealt out that no device is named for.
        whole: Whether the one table is everybody's.
        examples_of: What makes examples of a table, where its columns do not.

    Raises:
        FedstillError: Naming the file, and the row or column that does not fit.
    """
    beside = tuple(column for column in (reading.device_column, reading.family_column) if column)
    by_device: dict[str, list[Table]] = {}
    families: dict[str, str] = {}
    for stem, table in tables.items():
        shared = stem == PUBLIC or stem in TEST
        here = beside if not shared else tuple(column for column in beside if column in table.columns)
        read = reading.checked(table, without=here)
        if not reading.device_column or shared:
            by_device.setdefault(stem, []).append(read)
            owners = {stem: np.arange(len(table))}
        else:
            owners = _owners(table, reading.device_column)
            for device, rows in owners.items():
                by_device.setdefault(device, []).append(read.part(rows.tolist()))
        if reading.family_column and not shared:
            families |= _families(table, reading.family_column, owners)
    test = [part for stem in TEST for part in by_device.pop(stem, [])]
    public = by_device.pop(PUBLIC, [])
    if not by_device:
        raise FleetDataError(f"{name}: no table of a device beside those of the public set and the test set")
    private = {device: joined(parts) for device, parts in by_device.items()}
    if not public and dealing.public_share and (reading.device_column or not whole):
        for number, (device, table) in enumerate(private.items()):
            kept, cut = hold_out(
                np.arange(len(table)), fraction=dealing.public_share, seed=(dealing.seed, number, 0x9B)
            )
            private[device] = table.part(kept.tolist())
            public.append(table.part(cut.tolist()))
    columns = None
    if examples_of is None:
        shown = joined(public or list(private.values()))
        columns = columns_of(shown, label=reading.label_column, missing=reading.missing)
        examples_of = partial(given_table, columns=columns)
    given = GivenFleet(
        name=name,
        description=f"{name}: {dealing.described(len(private), whole=whole and not reading.device_column)}",
        parts=(),
        devices=None,
        public=examples_of(joined(public)) if public else None,
        test=examples_of(joined(test)) if test else None,
        columns=columns,
    )
    if whole and not reading.device_column:
        (pool,) = private.values()
        return fleet_of_pool(examples_of(pool), given, dealing)
    dealing.refuse(name, devices=len(private))
    devices = [
        GivenDevice(name=device, train=examples_of(table), family=families.get(device, ""))
        for device, table in private.items()
    ]
    return fleet_of_devices(devices, given, dealing)


def _owners(table: Table, column: str) -> dict[str, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """The rows of each device, in the order in which a person sorts their names."""
    names = np.array(table.texts(column), np.str_)
    if (names == "").any():
        row = int(np.argmax(names == ""))
        raise FleetDataError(f"{table.where(row, column)} is empty; name the row's device, or remove the row")
    kinds = sorted(
        set(names.tolist()), key=lambda name: (len(name), name) if name.isdecimal() else (1 << 16, name)
    )
    return {kind: np.flatnonzero(names == kind) for kind in kinds}


def _families(table: Table, column: str, owners: Mapping[str, np.ndarray]) -> dict[str, str]:
    texts, found = table.texts(column), {}
    for device, rows in owners.items():
        named = {texts[int(row)] for row in rows}
        if len(named) > 1:
            told = " and ".join(sorted(named)[:2])
            raise FleetDataError(
                f"{table.name}: column {column!r}: device {device} has {told}; give all its rows one family"
            )
        found[device] = named.pop()
    return found

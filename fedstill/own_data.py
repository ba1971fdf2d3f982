"""Fleets of one's own data: folders and tables that are read, and arrays that are dealt out."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from fedstill_proto.errors import unknown_name
from fedstill_proto.package.target import TargetKind
from fedstill_proto.package.target_labels import target_kind
from fedstill_proto.readers.errors import DataError
from fedstill_proto.readers.tables import Table, read_table, table_of
from fedstill_server.config.options import options_of
from fedstill_sim.data.dealing import Dealing
from fedstill_sim.data.fleet import FleetDataError
from fedstill_sim.data.folder import load_folder
from fedstill_sim.data.given import GivenFleet, fleet_of, fleet_of_pool
from fedstill_sim.data.own_data import OwnDataOptions
from fedstill_sim.data.table_fleets import fleet_of_tables
from fedstill_sim.tasks import load_data, simulation_of, task_of_data
from fedstill_sim.tasks.interface import DataRequest

from fedstill.examples import counted, given_pair
from fedstill.fleet import Fleet, Source

_DEALT = ("public_share", "held_out", "classes", "normalize", "channels")


def read_folder(
    path: Path | str,
    *,
    devices: int | None,
    dirichlet: float | None,
    classes: int | None,
    seed: int,
    scaling: Mapping[str, str],
    target: str,
    reading: Mapping[str, Any],
) -> Fleet:
    """The fleet of a folder or file; see `fedstill.datasets.folder`."""
    options, place = asked_reading(reading), Path(path).absolute()
    dealing = Dealing.asked(options, devices=devices, dirichlet=dirichlet, seed=seed)
    task = task_of_data(None, place)
    if not simulation_of(task).reads_with_options:
        if options != OwnDataOptions() or dealing != Dealing(seed=seed) or classes is not None or scaling:
            raise FleetDataError(f"{place}: data of {task} take no option but the seed; leave the others out")
        wanted = DataRequest(folder=place, seed=seed, families=("",))
        return Fleet(load_data(wanted, task=task), Source(folder=str(place), seed=seed))
    data = load_folder(
        place,
        families=("",),
        reading=options,
        dealing=dealing,
        classes=classes,
        target=target_kind(target),
        **checked_scaling(scaling),
    )
    plain = options == OwnDataOptions() and dealing == Dealing() and classes is None
    plain = plain and data.target.is_single
    return Fleet(data, Source(folder=str(place)) if plain and not scaling else Source())


def read_tables(
    tables: Mapping[str, Any],
    *,
    devices: int | None,
    dirichlet: float | None,
    classes: int | None,
    seed: int,
    target: str,
    reading: Mapping[str, Any],
) -> Fleet:
    """The fleet of a table, beside a public one and one to test on; see `fedstill.datasets.table`."""
    options = asked_reading(reading)
    dealing = Dealing.asked(options, devices=devices, dirichlet=dirichlet, seed=seed)
    read = {name: as_table(name, given) for name, given in tables.items() if given is not None}
    name = read["table"].name
    try:
        given = fleet_of_tables(name, read, options, dealing, whole=True)
    except DataError as error:
        raise FleetDataError(str(error)) from None
    return Fleet(fleet_of(given, classes=classes, target=target_kind(target)))


def dealt_arrays(
    x: Any,
    y: Any,
    *,
    shared: Mapping[str, Any],
    devices: int,
    dirichlet: float | None,
    seed: int,
    dealt: Mapping[str, Any],
) -> Fleet:
    """The fleet of arrays that are dealt out; see `fedstill.datasets.arrays`."""
    for name in dealt:
        if name not in _DEALT:
            raise unknown_name("arrays: option", name, _DEALT)
    options = OwnDataOptions(**{name: value for name, value in dealt.items() if name in _DEALT[:2]})
    dealing = Dealing.asked(options, devices=devices, dirichlet=dirichlet, seed=seed)
    kind, public = TargetKind.SINGLE_LABEL, shared["public"]
    pool = given_pair("arrays", (x, y), kind)
    given = GivenFleet(
        name="arrays",
        description=f"arrays: {counted(len(pool), 'example')} {dealing.described(0, whole=True)}",
        parts=(),
        devices=None,
        public=None if public is None else given_pair("public", public, kind, unlabelled=True),
        test=None if shared["test"] is None else given_pair("test", shared["test"], kind),
    )
    try:
        whole = fleet_of_pool(pool, given, dealing)
    except DataError as error:
        raise FleetDataError(str(error)) from None
    return Fleet(fleet_of(whole, **{name: value for name, value in dealt.items() if name in _DEALT[2:]}))


class _Scaling(TypedDict, total=False):
    normalize: str
    channels: str


def checked_scaling(scaling: Mapping[str, str]) -> _Scaling:
    """How inputs are scaled, by name; raises UnknownName for what says something else."""
    for name in scaling:
        if name not in _Scaling.__annotations__:
            raise unknown_name("scaling", name, list(_Scaling.__annotations__))
    return {**scaling}  # type: ignore[typeddict-item]


def asked_reading(reading: Mapping[str, Any]) -> OwnDataOptions:
    """How data are read, of options by name.

    Raises:
        UnknownName: For an option that there is not.
    """
    known = [one.name for one in options_of(OwnDataOptions)]
    for name in reading:
        if name not in known:
            raise unknown_name("option", name, known)
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in reading.items()
    }
    return OwnDataOptions(**values)


def as_table(where: str, given: Any) -> Table:
    """A table of a file, a mapping of columns, a data frame, or a table of pyarrow or datasets.

    Raises:
        FleetDataError: For anything else.
    """
    try:
        if isinstance(given, str | Path):
            return read_table(Path(given))
        if isinstance(given, Mapping):
            return table_of(where, {name: list(values) for name, values in given.items()})
        if hasattr(given, "column_names"):  # pyarrow's tables and those of datasets
            names = list(given.column_names)
            return table_of(where, {name: _listed(given[name]) for name in names})
        if hasattr(given, "columns") and hasattr(given, "to_dict"):  # data frames
            return table_of(where, {name: _listed(given[name]) for name in given.columns})
    except DataError as error:
        raise FleetDataError(str(error)) from None
    raise FleetDataError(
        f"{where}: {type(given).__name__} is no table; give a file, a data frame, or columns by name"
    )


def _listed(column: Any) -> list[Any]:
    for method in ("to_pylist", "tolist"):
        if hasattr(column, method):
            return list(getattr(column, method)())
    return list(column)


def with_class_names(fleet: Fleet, names: tuple[str, ...]) -> Fleet:
    """The fleet with the names of its classes, where there are as many."""
    if len(names) != fleet.data.classes:
        return fleet
    return Fleet(dataclasses.replace(fleet.data, class_names=names), fleet.source)
